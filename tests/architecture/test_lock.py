"""The lock names everything the packages ask for, with hashes, and nothing of the machine that wrote it."""

import re
import runpy
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")
PINNED = re.compile(r"^(?P<name>[a-z0-9-]+)==(?P<version>\S+)( ; .+?)? \\$")


@pytest.fixture(scope="module")
def lock() -> dict[str, Any]:
    return runpy.run_path(str(ROOT / "deploy" / "lock.py"))


def test_every_requirement_is_locked(lock: dict[str, Any]) -> None:
    locked = {match["name"] for line in LOCK.splitlines() if (match := PINNED.match(line))}
    wanted = {lock["canonical"](requirement) for requirement in lock["requirements"]()}
    assert len(wanted) > 30
    assert wanted - locked == set(), "run `make lock`"


def test_every_package_of_the_repository_is_read(lock: dict[str, Any]) -> None:
    found = {path for path in ROOT.glob("**/pyproject.toml") if ".venv" not in path.parts}
    assert set(lock["pyprojects"]()) == found


def test_the_lock_holds_exact_versions_and_hashes_and_nothing_else() -> None:
    lines = LOCK.splitlines()
    others = [
        line
        for line in lines
        if not PINNED.match(line) and not re.fullmatch(r" {4}--hash=sha256:[0-9a-f]{64}( \\)?", line)
    ]
    assert others == lines[:2]
    assert "make lock" in others[1]
    pins = [index for index, line in enumerate(lines) if PINNED.match(line)]
    assert all(lines[index + 1].startswith("    --hash=") for index in pins)
