"""The import contracts of `.importlinter` hold, and what is imported is asked for."""

import ast
import runpy
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LOCK = runpy.run_path(str(ROOT / "deploy" / "lock.py"))
# Parts of a declared dependency that come as packages of their own.
PARTS = {
    "starlette": "fastapi",
    "pydantic-core": "pydantic",
    "cryptography": "pyjwt",
    "multidict": "aiohttp",
    "yarl": "aiohttp",
}
PROJECTS = {
    LOCK["canonical"](project["name"]): (file.parent, project)
    for file in LOCK["pyprojects"]()
    if (project := tomllib.loads(file.read_text(encoding="utf-8"))["project"])["name"] != "quill"
}


@cache
def distributions() -> dict[str, list[str]]:
    """The distributions that provide a module, by its name."""
    provided = packages_distributions().items()
    return {module: [LOCK["canonical"](name) for name in names] for module, names in provided}


def declared(name: str) -> set[str]:
    """What a project asks for, itself or through other projects of this repository."""
    names = {LOCK["canonical"](dependency) for dependency in PROJECTS[name][1]["dependencies"]}
    return names.union(*(declared(each) for each in names if each in PROJECTS))


def imported(file: Path) -> Iterator[str]:
    """The top-level modules that a file imports absolutely."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module.split(".")[0]


@pytest.mark.timeout(120)
def test_the_import_contracts_are_kept() -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 kept, 0 broken" in done.stdout, "a contract went missing from .importlinter"


@pytest.mark.parametrize("project", PROJECTS)
def test_everything_imported_is_a_declared_dependency(project: str) -> None:
    package = project.replace("-", "_")
    extras = PROJECTS[project][1].get("optional-dependencies", {}).values()
    wanted = {project} | declared(project) | {LOCK["canonical"](name) for names in extras for name in names}
    missing = set()
    for file in sorted((PROJECTS[project][0] / package).rglob("*.py")):
        for module in set(imported(file)) - sys.stdlib_module_names:
            names = distributions().get(module, [LOCK["canonical"](module)])
            if not wanted & {PARTS.get(name, name) for name in names} and not wanted & set(names):
                missing.add(f"{file.relative_to(ROOT)}: {module}")
    assert missing == set()
