"""The gateway against its peers: rate and added latency, on one core each, in one run.

    python -m bench.gateway [--seconds 3] [--repeats 5]

A valid token, GET, 1 KB of answer; one connection and thirty-two. Subjects take turns within every
round, so that a noisy neighbour troubles all of them; the median over rounds counts, and the spread is
shown. The subject has one processor core, everything else another.
"""

import argparse
import asyncio
import os
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from .gateway_load import Load, Measured, wrk_script
from .gateway_subjects import Credentials, Subject, missing_programs, standing
from .report import Series, Target, table, write

CONNECTIONS = (1, 32)
ORIGIN, GATEWAY, HAPROXY, NGINX, FASTAPI = range(5)


@dataclass(frozen=True)
class Run(Measured):
    """A measurement with what it cost: microseconds on the processor per request.

    On a machine that others use as well, the cost is steadier than the rate: it does not count the time
    the subject was kept waiting. A million by the cost is the rate that one core of its own would give.
    """

    cost: float


Results = dict[tuple[int, int], list[Run]]
"""By subject and number of connections."""


async def measure(seconds: float, repeats: int) -> tuple[list[Subject], Results]:
    """All subjects, `repeats` rounds."""
    subject_core, other_core = sorted(os.sched_getaffinity(0))[:2]
    results: Results = {}
    with tempfile.TemporaryDirectory(prefix="quill-bench-") as name:
        directory = Path(name)
        credentials = Credentials.made_in(directory)
        script = wrk_script(directory / "load.lua", credentials.token)
        async with standing(
            directory, credentials, subject_core=subject_core, other_core=other_core
        ) as subjects:
            for subject in subjects:
                await Load(script, 8, 1, other_core).put_on(subject.url)
            for turn in range(repeats):
                for connections in CONNECTIONS:
                    load = Load(script, connections, seconds, other_core)
                    for offset in range(len(subjects)):
                        index = (turn + offset) % len(subjects)
                        run = await _run(load, subjects[index])
                        results.setdefault((index, connections), []).append(run)
    return subjects, results


async def _run(load: Load, subject: Subject) -> Run:
    before = subject.processor_seconds()
    measured = await load.put_on(subject.url)
    spent = subject.processor_seconds() - before
    return Run(**asdict(measured), cost=spent * 1e6 / measured.requests)


def added_latency(results: Results, index: int, connections: int) -> Series:
    """Median latency beyond the origin's own, round by round, in microseconds."""
    pairs = zip(results[index, connections], results[ORIGIN, connections], strict=True)
    return Series(tuple(subject.p50 - origin.p50 for subject, origin in pairs))


def rate(results: Results, index: int, connections: int) -> Series:
    """Requests a second."""
    return Series(tuple(each.rate for each in results[index, connections]))


def ratio(results: Results, index: int, other: int, connections: int) -> Series:
    """The rate of one subject as a share of another's in the same round."""
    pairs = zip(results[index, connections], results[other, connections], strict=True)
    return Series(tuple(one.rate / two.rate for one, two in pairs))


def cost(results: Results, index: int, connections: int) -> Series:
    """Microseconds on the processor per request."""
    return Series(tuple(each.cost for each in results[index, connections]))


def capacity_ratio(results: Results, index: int, other: int, connections: int) -> float:
    """What a core of its own would give one subject, as a share of what it would give the other."""
    return cost(results, other, connections).median / cost(results, index, connections).median


def targets(results: Results) -> list[Target]:
    """What was promised."""
    added = {
        (index, connections): added_latency(results, index, connections).median
        for index in (GATEWAY, HAPROXY)
        for connections in CONNECTIONS
    }
    return [
        Target("rate / HAProxy RS256, c=32", ratio(results, GATEWAY, HAPROXY, 32).median, 0.35),
        Target("rate / FastAPI + httpx, c=32", ratio(results, GATEWAY, FASTAPI, 32).median, 10),
        Target("added p50 / HAProxy's, c=1", added[GATEWAY, 1] / added[HAPROXY, 1], 2, at_least=False),
        Target("added p50 / HAProxy's, c=32", added[GATEWAY, 32] / added[HAPROXY, 32], 2, at_least=False),
    ]


def printed(subjects: list[Subject], results: Results) -> str:
    """The table."""
    header = ["", "c", "req/s", "spread", "/ HAProxy", "added p50 µs", "p50 µs", "p99 µs", "CPU µs/req"]
    rows = []
    for connections in CONNECTIONS:
        for index, subject in enumerate(subjects):
            rates = rate(results, index, connections)
            runs = results[index, connections]
            rows.append(
                [
                    subject.name,
                    str(connections),
                    f"{rates.median:,.0f}",
                    f"±{rates.spread / 2:.0%}",
                    f"{ratio(results, index, HAPROXY, connections).median:.2f}",
                    f"{added_latency(results, index, connections).median:,.0f}" if index else "",
                    f"{Series(tuple(each.p50 for each in runs)).median:,.0f}",
                    f"{Series(tuple(each.p99 for each in runs)).median:,.0f}",
                    f"{cost(results, index, connections).median:,.1f}",
                ]
            )
    return table(header, rows)


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description="Measures the gateway against HAProxy, nginx and FastAPI.")
    parser.add_argument("--seconds", type=float, default=3, help="length of each measurement")
    parser.add_argument("--repeats", type=int, default=5, help="rounds")
    arguments = parser.parse_args()
    missing = missing_programs()
    if missing:
        print(
            f"The gateway benchmark needs {', '.join(missing)}, not installed here. On Debian: "
            "apt-get install --no-install-recommends haproxy nginx-light wrk util-linux",
            file=sys.stderr,
        )
        return 1
    if len(os.sched_getaffinity(0)) < 2:
        print("The gateway benchmark needs two processor cores: one to measure, one to ask.", file=sys.stderr)
        return 1
    subjects, results = asyncio.run(measure(arguments.seconds, arguments.repeats))
    found = targets(results)
    print(printed(subjects, results))
    print()
    for target in found:
        print(target)
    by_haproxy, by_fastapi = (capacity_ratio(results, GATEWAY, peer, 32) for peer in (HAPROXY, FASTAPI))
    print(
        f"by processor time, c=32: {by_haproxy:.2f} of HAProxy RS256, {by_fastapi:.1f} times FastAPI + httpx"
    )
    path = write(
        "gateway",
        {
            "seconds": arguments.seconds,
            "repeats": arguments.repeats,
            "runs": [
                {"subject": subjects[index].name, "connections": connections, **asdict(each)}
                for (index, connections), runs in results.items()
                for each in runs
            ],
            "targets": [{**asdict(target), "met": target.met} for target in found],
        },
    )
    print(f"\nKept in {path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
