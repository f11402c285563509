"""A reader who knows one service knows all five: the same files everywhere, holding what their name says."""

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SERVICES = ("auth", "patients", "letters", "messaging", "orgs")
PACKAGES = {
    "quill_backends": ROOT / "deploy" / "backends",
    "quill_shared": ROOT / "shared",
    "quill_gateway": ROOT / "gateway",
    **{f"quill_{name}": ROOT / "services" / name for name in SERVICES},
    "quill_embedded": ROOT / "deploy" / "embedded",
    "quill_cli": ROOT / "deploy" / "cli",
}
APPLICATIONS = ("quill_gateway", *(f"quill_{name}" for name in SERVICES))
GRAB_BAGS = {"utils", "util", "helpers", "helper", "common", "misc", "lib", "core", "base"}

# Base classes and calls that make a module what it is, and the module (or package) they belong in.
BELONGS = {
    "APIRouter": "api",
    "Consumers": "consumers",
    "DeclarativeBase": "models",
    "Event": "events",
    "ServiceDefinition": "bootstrap",
    "PlatformSettings": "settings",
    "ServiceSettings": "settings",
}


def code(package: str) -> list[Path]:
    """The modules of one of our packages, migrations left out."""
    modules = sorted((PACKAGES[package] / package).rglob("*.py"))
    return [module for module in modules if "migrations" not in module.parts]


def made_by(tree: ast.Module) -> Iterator[str]:
    """Names of the classes a module derives from or calls at its top level."""
    for node in tree.body:
        value = node.value if isinstance(node, ast.Assign | ast.AnnAssign) else None
        names = node.bases if isinstance(node, ast.ClassDef) else [getattr(value, "func", None)]
        yield from (name.id for name in names if isinstance(name, ast.Name))


@pytest.mark.parametrize("package", PACKAGES)
def test_every_package_describes_itself(package: str) -> None:
    directory = PACKAGES[package]
    document = tomllib.loads((directory / "pyproject.toml").read_text(encoding="utf-8"))
    assert document["project"]["name"] == package.replace("_", "-")
    assert document["project"]["requires-python"] == ">=3.11"
    assert (directory / package / "py.typed").exists()
    readme = (directory / "README.md").read_text(encoding="utf-8")
    assert readme.startswith("# ")
    assert len(readme.split()) > 40, "a README says what the package is for"


@pytest.mark.parametrize("package", APPLICATIONS)
def test_every_application_has_the_same_files(package: str) -> None:
    directory = PACKAGES[package]
    assert (directory / "openapi.json").is_file()
    assert list((directory / "tests").rglob("test_*.py"))
    names = {path.name for path in (directory / package).iterdir()}
    assert {"main.py", "bootstrap.py", "settings.py"} <= names
    if package != "quill_gateway":
        assert "migrations" in names
        stems = {name.removesuffix(".py") for name in names}
        assert "models" in stems or "repository" not in stems, "what is queried has its tables in models"


def test_all_entry_points_are_equal_but_for_the_name() -> None:
    texts = {
        re.sub(
            rf"the ({package.removeprefix('quill_')} service|gateway)\b",
            "NAME",
            (PACKAGES[package] / package / "main.py").read_text(encoding="utf-8"),
        )
        for package in APPLICATIONS
    }
    assert len(texts) == 1
    assert len(texts.pop().splitlines()) <= 15


@pytest.mark.parametrize("package", APPLICATIONS)
def test_a_module_holds_what_its_name_says(package: str) -> None:
    misplaced = [
        f"{module.relative_to(ROOT)}: {name} belongs in {BELONGS[name]}.py"
        for module in code(package)
        for name in made_by(ast.parse(module.read_text(encoding="utf-8")))
        if name in BELONGS and BELONGS[name] not in {module.stem, *module.relative_to(ROOT).parent.parts}
    ]
    assert misplaced == []


def test_no_module_is_a_grab_bag() -> None:
    assert [
        str(module.relative_to(ROOT))
        for package in PACKAGES
        for module in code(package)
        if GRAB_BAGS & {module.stem, module.parent.name}
    ] == []


def test_no_package_of_the_repository_is_left_out_here() -> None:
    found = {directory.parent for directory in ROOT.glob("**/py.typed") if ".venv" not in directory.parts}
    assert found == {directory / package for package, directory in PACKAGES.items()}
