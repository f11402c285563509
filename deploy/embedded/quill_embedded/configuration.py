"""What can be said about the embedded stack from outside, read once at start."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from .errors import StackError
from .ports import DEFAULT_BASE, Ports

_LEVELS: Final = ("DEBUG", "INFO", "WARNING", "ERROR")


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """One stack on this machine.

    Args:
        data_dir: everything it keeps; `QUILL_DATA_DIR`, default `.quill` in the working directory, with real
            servers `quill` in their directory.
        ports: counted from `QUILL_PORT`, default 8000.
        log_level: of the services; `QUILL_LOG_LEVEL`, default INFO.
        shows_logs: whether they appear on the console, besides the file.
        seeds: whether a first start makes the demonstration data.
    """

    data_dir: Path
    ports: Ports
    log_level: str = "INFO"
    shows_logs: bool = False
    seeds: bool = True

    @classmethod
    def read(
        cls,
        environ: Mapping[str, str],
        *,
        verbose: bool = False,
        seeds: bool = True,
        usual_data_dir: Path = Path(".quill"),
    ) -> "Configuration":
        """The configuration in `environ`.

        Args:
            usual_data_dir: where the data is when `environ` names no other place.

        Raises:
            StackError: a value that means nothing.
        """
        level = environ.get("QUILL_LOG_LEVEL", "").upper()
        if level and level not in _LEVELS:
            raise StackError(f"QUILL_LOG_LEVEL must be one of {', '.join(_LEVELS)}, not {level!r}.")
        return cls(
            data_dir=Path(environ.get("QUILL_DATA_DIR") or usual_data_dir).expanduser().absolute(),
            ports=Ports.parse(environ.get("QUILL_PORT") or str(DEFAULT_BASE)),
            log_level=level or "INFO",
            shows_logs=verbose or bool(level),
            seeds=seeds,
        )

    @property
    def postgres_dir(self) -> Path:
        """PostgreSQL's part of the data."""
        return self.data_dir / "postgres"

    @property
    def roles_file(self) -> Path:
        """The passwords of the database roles."""
        return self.data_dir / "databases.json"

    @property
    def keys_file(self) -> Path:
        """The keys of the services and the password of the demo accounts."""
        return self.data_dir / "secrets.json"

    @property
    def demo_file(self) -> Path:
        """What the demonstration world holds, for `quill demo`; there once it is complete."""
        return self.data_dir / "demo.json"

    @property
    def log_file(self) -> Path:
        """The log of gateway and services, JSON lines."""
        return self.data_dir / "logs" / "quill.log"

    @property
    def standins_log_file(self) -> Path:
        """The log of the FHIR and openEHR stand-ins."""
        return self.data_dir / "logs" / "standins.log"
