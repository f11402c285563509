"""Pin every third-party package that this repository names, for all supported platforms, with hashes.

Run as `make lock` (`make lock ARGS=--upgrade` for newer versions). The packages of the repository
themselves are left out: they are installed from their directories, and must never be looked for elsewhere.
"""

import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
LOCK = ROOT / "requirements.lock"


def pyprojects() -> list[Path]:
    """Return the pyproject files of the repository, the root's first."""
    directories = ("", "shared/", "gateway/", "services/*/", "deploy/*/")
    return [file for directory in directories for file in sorted(ROOT.glob(f"{directory}pyproject.toml"))]


def canonical(requirement: str) -> str:
    """Return the name in a requirement as PEP 503 compares names: `fhir.resources>=8` is `fhir-resources`."""
    name = re.match(r"[A-Za-z0-9._-]+", requirement)
    if name is None:
        raise ValueError(f"not a requirement: {requirement!r}")
    return re.sub(r"[-_.]+", "-", name[0]).lower()


def requirements() -> list[str]:
    """Return what the pyproject files ask for outside this repository: dependencies, extras and groups."""
    documents = [tomllib.loads(file.read_text(encoding="utf-8")) for file in pyprojects()]
    own = {canonical(document["project"]["name"]) for document in documents}

    def named() -> Iterator[str]:
        for document in documents:
            project = document["project"]
            yield from project.get("dependencies", [])
            for groups in (project.get("optional-dependencies", {}), document.get("dependency-groups", {})):
                for group in groups.values():
                    yield from group

    return sorted({requirement for requirement in named() if canonical(requirement) not in own})


def main() -> int:
    """Write requirements.lock and return the exit status of the resolver."""
    command = [
        *("uv", "pip", "compile", "--quiet", "--universal", "--python-version", "3.11"),
        *("--generate-hashes", "--no-emit-index-url", "--no-annotate"),
        *("--custom-compile-command", "make lock"),
        *("--output-file", LOCK.name, *sys.argv[1:], "-"),
    ]
    return subprocess.run(command, input="\n".join(requirements()), text=True, cwd=ROOT).returncode  # noqa: S603


if __name__ == "__main__":
    sys.exit(main())
