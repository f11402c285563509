"""Pin the artefacts of the Java servers anew, after a version in a `pom.xml` was changed.

    python -m quill_backends.relock

What Maven delivers at that moment is what every machine accepts from then on: review the difference.
"""

import sys
import tempfile
from pathlib import Path

from .applications import EHRBASE, HAPI
from .artefacts import copy_dependencies, write_lock
from .errors import BackendsError


def main() -> int:
    """Write both files `artefacts.sha256`."""
    for application in (HAPI, EHRBASE):
        with tempfile.TemporaryDirectory(prefix="quill-relock-") as directory:
            target = Path(directory)
            try:
                copy_dependencies(application.project, target, 0, _say)
            except BackendsError as error:
                print(error, file=sys.stderr)  # noqa: T201
                return 1
            count = write_lock(application.project, target / "lib")
        _say(f"{application.name} {application.version}: {count} artefacts")
    return 0


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201


if __name__ == "__main__":
    sys.exit(main())
