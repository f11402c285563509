"""The safety page is complete, and every file and test it names is there."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "safety" / "hazards.md").read_text(encoding="utf-8")
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in PAGE.splitlines()
    if re.match(r"\| \d", line)
]
STATES = ("held", "in part", "not built yet", "contract")


@cache
def functions_of(path: str) -> frozenset[str]:
    """The test functions of a file."""
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    functions = (node for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return frozenset(node.name for node in functions if node.name.startswith("test_"))


def test_every_hazard_and_every_fault_has_one_row() -> None:
    hazards = [f"{number:04}" for number in range(1, 49)]
    faults = [str(number) for number in range(1, 20)]
    assert [row[0] for row in ROWS] == hazards + faults


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_a_row_says_what_holds_and_which_test_would_fail(row: list[str]) -> None:
    _, name, state, control, tests = row
    assert name
    assert control
    assert state in STATES
    named = re.findall(r"`([^`]+\.py)::(test_\w+)`", tests)
    assert bool(named) == (state != "not built yet")
    assert [f"{path}::{test}" for path, test in named if test not in functions_of(path)] == []
    files = [text for text in re.findall(r"`([^`]+)`", control) if "/" in text or "." in text]
    assert [file for file in files if not (ROOT / file).is_file()] == []
