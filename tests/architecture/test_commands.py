"""The commands that the documentation promises are there."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
EXPLAINED = set(re.findall(r"^([a-z-]+):.*## \S", MAKEFILE, re.MULTILINE))


def test_every_target_is_explained() -> None:
    targets = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))
    assert targets == EXPLAINED
    assert {"run", "test", "reset", "check", "bench", "contracts", "lock"} <= targets


def test_documents_and_ci_call_targets_that_exist() -> None:
    documents = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / ".ci" / "run"]
    for document in documents:
        text = document.read_text(encoding="utf-8")
        called = set(re.findall(r"(?:^|`|run )make ([a-z-]+)", text, re.MULTILINE))
        assert called
        assert called <= EXPLAINED, document.name


def test_the_readme_opens_with_the_two_commands() -> None:
    opening = (ROOT / "README.md").read_text(encoding="utf-8")[:1500]
    assert re.findall(r"^make \w+", opening, re.MULTILINE) == ["make run", "make test"]
