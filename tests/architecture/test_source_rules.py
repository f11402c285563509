"""Rules of the source that no linter of ours knows, each shown to catch what it is there for."""

import ast
import io
import re
import tokenize
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LONGEST_MODULE = 450
# Put together from halves, so that a search for such marks does not end here.
PROMISE = re.compile(r"\b(" + "|".join(("TO" + "DO", "FIX" + "ME", "XX" + "X", "HA" + "CK")) + r")\b")
REFUSAL = "NotImplemented" + "Error"

Rule = Callable[[ast.Module], Iterable[int]]


@cache
def sources() -> dict[Path, str]:
    """The text of every Python file of the repository by its path from the root."""
    return {
        file.relative_to(ROOT): file.read_text(encoding="utf-8")
        for top in ("shared", "gateway", "services", "deploy", "tests", "bench")
        for file in sorted((ROOT / top).rglob("*.py"))
        if not {"build", "dist", ".venv", "__pycache__"} & set(file.parts)
    }


def product() -> dict[Path, str]:
    """As `sources`, without tests and benchmarks."""
    return {file: text for file, text in sources().items() if not {"tests", "bench"} & set(file.parts)}


def offences(files: dict[Path, str], rule: Rule) -> list[str]:
    """Where `rule` is broken, as `file:line`."""
    return [f"{file}:{line}" for file, text in files.items() for line in rule(ast.parse(text))]


def called(node: ast.AST) -> str:
    """The dotted name that a call calls, or an empty text."""
    return ast.unparse(node.func) if isinstance(node, ast.Call) else ""


def commits(tree: ast.Module) -> Iterator[int]:
    """Calls of `.commit()`: the unit of work of the platform is where transactions end."""
    for node in ast.walk(tree):
        if called(node).endswith(".commit"):
            yield node.lineno  # type: ignore[attr-defined]


def naive_datetimes(tree: ast.Module) -> Iterator[int]:
    """Dates and times without a time zone, in Python and in columns."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name, keywords = called(node), {keyword.arg for keyword in node.keywords}
        kind, _, method = name.rpartition(".")
        moment = kind.split(".")[-1] == "datetime"
        if (
            (moment and method in {"utcnow", "utcfromtimestamp", "today"})
            or (kind.split(".")[-1] == "date" and method in {"today", "fromtimestamp"})
            or (moment and method == "now" and not node.args and "tz" not in keywords)
            or (moment and method == "fromtimestamp" and len(node.args) < 2 and "tz" not in keywords)
            or (name in {"datetime", "datetime.datetime"} and len(node.args) < 8 and "tzinfo" not in keywords)
            or (method in {"DateTime", "TIMESTAMP"} and "timezone" not in keywords)
        ):
            yield node.lineno
        for argument in node.args:
            if ast.unparse(argument).split(".")[-1] in {"DateTime", "TIMESTAMP"}:
                yield argument.lineno


def random_imports(tree: ast.Module) -> Iterator[int]:
    """`random`, whose numbers can be foretold: `secrets` is what we use (hazard 0022)."""
    for node in ast.walk(tree):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.level == 0:
            names = [node.module or ""]
        if any(name.split(".")[0] == "random" or name == "numpy.random" for name in names):
            yield node.lineno  # type: ignore[attr-defined]


def imports_in_functions(tree: ast.Module) -> Iterator[int]:
    """Imports that hide inside functions."""
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            for node in ast.walk(function):
                if isinstance(node, ast.Import | ast.ImportFrom):
                    yield node.lineno


def base_http_middleware(tree: ast.Module) -> Iterator[int]:
    """Starlette's BaseHTTPMiddleware, which breaks context variables and streaming."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id == "BaseHTTPMiddleware":
            yield node.lineno
        decorated = isinstance(node, ast.Call) and called(node).endswith(".middleware")
        if decorated and ast.unparse(node).endswith("('http')"):
            yield node.lineno  # type: ignore[attr-defined]


def unfinished(text: str) -> Iterator[int]:
    """Comments and docstrings that promise work, and code that refuses to do its own."""
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        prose = token.type == tokenize.COMMENT or token.string.startswith(('"""', "'''"))
        refuses = token.type == tokenize.NAME and token.string == REFUSAL
        if refuses or (prose and PROMISE.search(token.string)):
            yield token.start[0]


def test_only_the_platform_commits() -> None:
    platform = Path("shared/quill_shared/platform")
    files = {file: text for file, text in product().items() if platform not in file.parents}
    assert offences(files, commits) == []


def test_no_moment_is_without_a_time_zone() -> None:
    assert offences(product(), naive_datetimes) == []


def test_no_number_can_be_foretold() -> None:
    assert offences(sources(), random_imports) == []


def test_imports_stand_at_the_top() -> None:
    assert offences(sources(), imports_in_functions) == []


def test_middleware_is_pure_asgi() -> None:
    assert offences(sources(), base_http_middleware) == []


def test_nothing_is_left_unfinished() -> None:
    assert [f"{file}:{line}" for file, text in sources().items() for line in unfinished(text)] == []


def test_no_module_is_too_long_to_read() -> None:
    lengths = {str(file): len(text.splitlines()) for file, text in product().items()}
    assert {file: length for file, length in lengths.items() if length > LONGEST_MODULE} == {}


def test_there_is_something_to_check() -> None:
    assert len(product()) > 50


@pytest.mark.parametrize(
    ("rule", "wrong", "right"),
    [
        (commits, "await session.commit()", "await session.flush()"),
        (commits, "self.db.commit()", "commit(session)"),
        (naive_datetimes, "datetime.now()", "datetime.now(UTC)"),
        (naive_datetimes, "datetime.datetime.now()", "datetime.datetime.now(tz=UTC)"),
        (naive_datetimes, "datetime.utcnow()", "datetime.fromisoformat(text)"),
        (naive_datetimes, "date.today()", "datetime.now(UTC).date()"),
        (naive_datetimes, "datetime(2026, 1, 1)", "datetime(2026, 1, 1, tzinfo=UTC)"),
        (naive_datetimes, "datetime.fromtimestamp(0)", "datetime.fromtimestamp(0, UTC)"),
        (naive_datetimes, "mapped_column(DateTime)", "mapped_column(DateTime(timezone=True))"),
        (naive_datetimes, "sa.Column('at', sa.DateTime())", "sa.Column('at', sa.DateTime(timezone=True))"),
        (random_imports, "import random", "import secrets"),
        (random_imports, "from random import choice", "from .random import choice"),
        (imports_in_functions, "async def f():\n    import os", "import os"),
        (imports_in_functions, "class A:\n    def f(self):\n        from . import b", "from . import b"),
        (base_http_middleware, "class A(BaseHTTPMiddleware): ...", "class A: ..."),
        (base_http_middleware, "@app.middleware('http')\nasync def f(): ...", "app.middleware_stack()"),
    ],
)
def test_a_rule_catches_what_it_is_there_for(rule: Rule, wrong: str, right: str) -> None:
    assert list(rule(ast.parse(wrong)))
    assert not list(rule(ast.parse(right)))


@pytest.mark.parametrize(
    "wrong", ["x = 1  # TO" + "DO later", '"""FIX' + 'ME."""\n', "raise NotImplemented" + "Error"]
)
def test_unfinished_work_is_caught(wrong: str) -> None:
    assert list(unfinished(wrong))
    assert not list(unfinished("x = 1  # a comment\n"))
