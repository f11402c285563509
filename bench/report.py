"""What a benchmark found: printed as a table, kept as JSON.

Absolute figures belong to the machine; what counts are the ratios between subjects measured in one run.
"""

import json
import platform
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

__all__ = ["Series", "Target", "table", "write"]

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Series:
    """Repeated measurements of one thing."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        """The middle one."""
        return statistics.median(self.values)

    @property
    def spread(self) -> float:
        """From the smallest to the largest, as a share of the median."""
        return (max(self.values) - min(self.values)) / self.median if self.median else 0.0


@dataclass(frozen=True)
class Target:
    """A ratio that was promised, and the one that was found."""

    name: str
    found: float
    wanted: float
    at_least: bool = True

    @property
    def met(self) -> bool:
        """Whether the promise holds."""
        return self.found >= self.wanted if self.at_least else self.found <= self.wanted

    def __str__(self) -> str:
        sign = "≥" if self.at_least else "≤"
        return (
            f"{self.name}: {self.found:.2f} (wanted {sign} {self.wanted}) {'met' if self.met else 'NOT MET'}"
        )


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Rows in columns; the first column to the left, the others to the right."""
    widths = [max(len(row[column]) for row in (header, *rows)) for column in range(len(header))]
    lines = []
    for row in (header, ["-" * width for width in widths], *rows):
        cells = [cell.rjust(width) for cell, width in zip(row, widths, strict=True)]
        cells[0] = row[0].ljust(widths[0])
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def write(name: str, document: Mapping[str, Any]) -> Path:
    """Keeps a result as `bench/results/<name>.json`, with what it was measured on."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    context = {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "system": platform.system(),
    }
    path.write_text(json.dumps({**context, **document}, indent=2) + "\n")
    return path
