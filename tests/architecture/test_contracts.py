"""The committed contracts (OpenAPI, event schemas, AsyncAPI) are what the code produces."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_committed_contracts_are_what_the_code_produces() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "quill_cli.contracts", "--check"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, f"run `make contracts`\n{done.stdout}{done.stderr}"
