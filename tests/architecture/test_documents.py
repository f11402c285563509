"""The documents agree with the repository: decisions, dependencies, links."""

import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ADR = ROOT / "docs" / "adr"
DECISIONS = sorted(path for path in ADR.glob("0*.md") if not path.name.startswith("0000"))
DOCUMENTS = [
    path
    for path in ROOT.rglob("*.md")
    if not any(part.startswith(".") or part == "node_modules" for part in path.relative_to(ROOT).parts)
]


@pytest.mark.parametrize("decision", DECISIONS, ids=lambda path: path.stem)
def test_a_decision_has_its_four_parts_and_is_short(decision: Path) -> None:
    text = decision.read_text(encoding="utf-8")
    assert re.findall(r"^## (\w+)", text, re.MULTILINE) == [
        "Context",
        "Decision",
        "Consequences",
        "Alternatives",
    ]
    assert text.startswith(f"# {decision.name[:4]} ")
    assert re.search(r"^Status: (proposed|accepted|superseded by \d{4})$", text, re.MULTILINE)
    assert len(text.split()) < 700


def test_every_decision_is_in_the_index_once() -> None:
    listed = re.findall(r"\]\((\d{4}-[\w-]+\.md)\) \|", (ADR / "README.md").read_text(encoding="utf-8"))
    assert listed == [path.name for path in DECISIONS]


def test_every_dependency_has_its_reason() -> None:
    lock = runpy.run_path(str(ROOT / "deploy" / "lock.py"))
    text = (ADR / "0014-dependencies.md").read_text(encoding="utf-8")
    reasoned = [lock["canonical"](name) for name in re.findall(r"^- `([^`]+)`: \w", text, re.MULTILINE)]
    assert sorted(reasoned) == sorted({lock["canonical"](name) for name in lock["requirements"]()})


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_between_documents_lead_somewhere(document: Path) -> None:
    targets = re.findall(r"\]\(([^)#\s]+)[^)]*\)", document.read_text(encoding="utf-8"))
    local = [target for target in targets if "://" not in target and not target.startswith("mailto:")]
    assert [target for target in local if not (document.parent / target).exists()] == []
