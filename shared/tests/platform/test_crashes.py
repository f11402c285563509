"""Kill -9 at every instant between a request and its last effect: nothing acknowledged is lost, nothing
is applied twice.
"""

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import crash_service
import pytest
from notes import note, seen
from sqlalchemy import select
from sqlalchemy.ext.asyncio import create_async_engine

from quill_shared.platform.crashpoints import CRASH_POINTS
from quill_shared.platform.testing.postgres import TestDatabase, truncate_all

NOTES = 8


def run(
    database: TestDatabase, upstream: Path, count: int, crash_at: str = ""
) -> subprocess.CompletedProcess[str]:
    """Runs the service until it is done or dead."""
    program = Path(crash_service.__file__)
    return subprocess.run(
        [sys.executable, str(program), database.app_url, str(upstream), str(count)],
        env={**os.environ, "QUILL_CRASH_AT": crash_at, "PYTHONPATH": str(program.parent)},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )


@pytest.mark.parametrize("point", [each for each in CRASH_POINTS if not each.startswith("reconciler.")])
async def test_a_crash_loses_and_doubles_nothing(database: TestDatabase, tmp_path: Path, point: str) -> None:
    await truncate_all(database.owner_url)

    first = run(database, tmp_path, NOTES, f"{point}#2")
    second = run(database, tmp_path, 0)

    assert first.returncode == -9, first.stderr
    assert second.stdout == "settled\n", second.stderr
    await assert_consistent(database, tmp_path, acknowledged=first.stdout)


async def test_a_crash_of_the_reconciler_doubles_nothing(database: TestDatabase, tmp_path: Path) -> None:
    await truncate_all(database.owner_url)

    first = run(database, tmp_path, NOTES, "intent.after_upstream#2")
    second = run(database, tmp_path, 0, "reconciler.after_upstream")
    third = run(database, tmp_path, 0)

    assert (first.returncode, second.returncode) == (-9, -9)
    assert third.stdout == "settled\n", third.stderr
    await assert_consistent(database, tmp_path, acknowledged=first.stdout)


async def assert_consistent(database: TestDatabase, upstream: Path, *, acknowledged: str) -> None:
    """What was acknowledged exists; what exists does so once here, once upstream, and was told once."""
    engine = create_async_engine(database.app_url)
    async with engine.connect() as connection:
        written = {row.id: row.version for row in await connection.execute(select(note))}
        applied = Counter(await connection.scalars(select(seen.c.note_id)))
    await engine.dispose()
    assert {line.split()[1] for line in acknowledged.splitlines() if line.startswith("ack ")} <= set(written)
    assert set(written.values()) <= {1}
    assert {each.name for each in upstream.iterdir()} == set(written)
    assert applied == Counter(set(written))
