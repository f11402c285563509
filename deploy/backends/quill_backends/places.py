"""Where things lie: what was downloaded, and what runs. Neither is inside a checkout."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from .errors import BackendsError

DIRECTORY_VARIABLE: Final = "QUILL_BACKENDS_DIR"
DEPLOY: Final = Path(__file__).resolve().parents[2]
"""The directory `deploy` of the checkout, which holds the launchers."""


@dataclass(frozen=True, slots=True)
class Places:
    """The directories that the backends use.

    Args:
        running: data, logs, passwords and process ids; `QUILL_BACKENDS_DIR`, by default in the user's cache.
        downloads: what was fetched and built, shared by everything of this user.
    """

    running: Path
    downloads: Path

    @classmethod
    def read(cls, environ: Mapping[str, str]) -> "Places":
        """The places that `environ` names, made by nobody yet.

        Raises:
            BackendsError: there is no home directory to keep a cache in.
        """
        cache = environ.get("XDG_CACHE_HOME", "")
        if not os.path.isabs(cache):
            try:
                cache = str(Path.home() / ".cache")
            except RuntimeError:
                raise BackendsError(
                    f"This user has no home directory: name one in {DIRECTORY_VARIABLE} and XDG_CACHE_HOME."
                ) from None
        base = Path(cache) / "quill"
        named = environ.get(DIRECTORY_VARIABLE, "")
        running = Path(named).expanduser().absolute() if named else base / "backends"
        return cls(running=running, downloads=base / "downloads")

    def make(self) -> None:
        """Makes both directories, for this user only.

        Raises:
            BackendsError: one of them cannot be made or written.
        """
        for directory in (self.running, self.downloads):
            try:
                directory.mkdir(mode=0o700, parents=True, exist_ok=True)
                if not os.access(directory, os.W_OK | os.X_OK):
                    raise PermissionError(None, "permission denied")
            except OSError as error:
                reason = (error.strerror or str(error)).lower()
                raise BackendsError(
                    f"{directory} cannot be written: {reason}; {DIRECTORY_VARIABLE} and XDG_CACHE_HOME name "
                    "other places."
                ) from None
