"""Quill on the real servers: what it adds to HAPI's own answers, and what the servers need themselves.

    python -m bench.backends [--calls 300]

One client, one call at a time, the same call by turns straight to HAPI and through Quill (gateway, patients
service, its database, HAPI), so that a noisy neighbour troubles both. Both searches ask HAPI for a fresh
result, as Quill always does. A creation through Quill also keeps an intent, an index and an event. The
servers are started for the measurement, on data of their own, with Java's full compiler: with the quick one
HAPI would be slower than in production, which flatters Quill.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from .backends_calls import KINDS, Answer, compare
from .backends_stack import Footprint, missing_servers, standing
from .report import Series, table, write

Results = dict[tuple[str, bool], list[Answer]]
"""By kind of call and whether it went through Quill."""


def percentile(results: Results, kind: str, share: float, *, through: bool) -> float:
    """Milliseconds within which that share of the calls was answered."""
    seconds = sorted(each.seconds for each in results[kind, through])
    return seconds[min(len(seconds) - 1, int(len(seconds) * share))] * 1000


def rows(results: Results) -> list[list[str]]:
    """A line for each kind of call."""
    made = []
    for kind in KINDS:
        line = [kind, str(len(results[kind, False]))]
        for share in (0.5, 0.99):
            direct = percentile(results, kind, share, through=False)
            through = percentile(results, kind, share, through=True)
            line += [f"{direct:.1f}", f"{through:.1f}", f"{through / direct:.2f}"]
        made.append(line)
    return made


def printed(results: Results, footprints: list[Footprint]) -> str:
    """Both tables."""
    calls = ["", "calls", "HAPI p50 ms", "Quill p50 ms", "ratio", "HAPI p99 ms", "Quill p99 ms", "ratio"]
    servers = [
        [
            each.name,
            each.version,
            f"{each.first_start:.1f}",
            f"{each.later_start:.1f}" if each.later_start is not None else "",
            f"{each.mebibytes:.0f}",
        ]
        for each in footprints
    ]
    return "\n".join(
        [
            table(calls, rows(results)),
            "",
            table(["for information", "version", "first start s", "later start s", "memory MiB"], servers),
        ]
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description="Measures Quill on HAPI FHIR against HAPI FHIR alone.")
    parser.add_argument("--calls", type=int, default=300, help="of each kind, to each of the two")
    options = parser.parse_args(arguments)
    missing = missing_servers()
    if missing:
        print(
            f"What Quill adds to HAPI is not measured: there is no {', no '.join(missing)} here; "
            "`make backends` installs the real servers."
        )
        return 0
    with tempfile.TemporaryDirectory(prefix="quill-bench-") as name, standing(Path(name)) as stack:
        results = compare(stack, options.calls)
        footprints = stack.footprints()
    print(printed(results, footprints))
    path = write(
        "backends",
        {
            "calls": options.calls,
            "ratios": {
                kind: {
                    f"p{share * 100:.0f}": percentile(results, kind, share, through=True)
                    / percentile(results, kind, share, through=False)
                    for share in (0.5, 0.99)
                }
                for kind in KINDS
            },
            "milliseconds": {
                f"{kind} {'through Quill' if through else 'HAPI alone'}": {
                    "median": Series(tuple(each.seconds * 1000 for each in answers)).median,
                    "p99": percentile(results, kind, 0.99, through=through),
                }
                for (kind, through), answers in results.items()
            },
            "servers": [asdict(each) for each in footprints],
        },
    )
    print(f"\nKept in {path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
