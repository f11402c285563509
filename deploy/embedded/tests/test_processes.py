"""Processes that are started again, and whose the databases on real servers are."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from quill_embedded.configuration import Configuration
from quill_embedded.console import Console
from quill_embedded.errors import StackError
from quill_embedded.ownership import claim, claimed
from quill_embedded.processes import Part, Processes
from quill_embedded.real import reset, usual_data_dir
from quill_shared.platform.testing.postgres import PostgresServer, empty_database

WAITING = "import signal, sys, time\nsignal.signal(signal.SIGTERM, lambda *_: sys.exit(0))\n"


def part(directory: Path, code: str) -> Part:
    """A process that runs `code` after it wrote its id into a file."""
    module = directory / "module_of_a_test.py"
    module.write_text(
        f"import os\nwith open({str(directory / 'pids')!r}, 'a') as f: print(os.getpid(), file=f)\n{code}"
    )
    environment = {**os.environ, "PYTHONPATH": str(directory)}
    return Part(name="it", command=["module_of_a_test"], environment=environment, log=directory / "it.log")


def pids(directory: Path) -> list[int]:
    file = directory / "pids"
    return [int(line) for line in file.read_text().split()] if file.exists() else []


async def becomes(true: Callable[[], bool], within: float = 15.0) -> None:
    deadline = time.monotonic() + within
    while not true():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


def runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_what_ends_is_started_again_and_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    processes = Processes(Console(), stop_within=5.0)
    processes.start(part(tmp_path, f"{WAITING}time.sleep(60)"))
    await becomes(lambda: len(pids(tmp_path)) == 1)
    os.kill(pids(tmp_path)[0], signal.SIGKILL)
    await becomes(lambda: len(pids(tmp_path)) == 2)
    assert "it ended unexpectedly (SIGKILL); starting again." in capsys.readouterr().err
    assert processes.ended["it"].startswith("SIGKILL")
    await processes.stop(["it"])
    processes.close()
    assert not runs(pids(tmp_path)[1])
    assert len(pids(tmp_path)) == 2


async def test_what_does_not_end_when_told_is_killed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    processes = Processes(Console(), stop_within=0.3)
    stubborn = "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    processes.start(
        part(tmp_path, f"{stubborn}open({str(tmp_path / 'deaf')!r}, 'w').close()\ntime.sleep(60)")
    )
    await becomes((tmp_path / "deaf").exists)
    await processes.stop(["it", "nobody"])
    processes.close()
    assert not runs(pids(tmp_path)[0])
    assert "it does not end within 0 seconds; killed." in capsys.readouterr().err


def test_a_process_dies_with_the_one_that_started_it(tmp_path: Path) -> None:
    made = part(tmp_path, "import time\ntime.sleep(60)")
    starter = (
        "import asyncio, os, pathlib\n"
        "from quill_embedded.console import Console\n"
        "from quill_embedded.processes import Part, Processes\n"
        "async def main():\n"
        "    made = Part(name='it', command=['module_of_a_test'], environment=dict(os.environ), log=None)\n"
        "    Processes(Console(), stop_within=1).start(made)\n"
        "    await asyncio.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", starter], env=dict(made.environment))
    try:
        asyncio.run(becomes(lambda: len(pids(tmp_path)) == 1))
    finally:
        parent.kill()
        parent.wait()
    asyncio.run(becomes(lambda: not runs(pids(tmp_path)[0])))


async def test_the_last_words_of_what_ended_are_kept(tmp_path: Path) -> None:
    processes = Processes(Console(), stop_within=1.0)
    processes.start(part(tmp_path, "import sys\nsys.exit('Cannot start.')"))
    await becomes(lambda: "it" in processes.ended)
    await processes.stop(["it"])
    processes.close()
    assert processes.ended["it"] == "exit code 1: Cannot start."


async def test_databases_are_one_data_directorys(postgres_server: PostgresServer, tmp_path: Path) -> None:
    ours, other = (Configuration.read({"QUILL_DATA_DIR": str(tmp_path / name)}) for name in ("it's", "other"))
    keys = {"identifier_key": "one"}
    with empty_database(postgres_server, "quill_marked") as made:
        dsn, database = postgres_server.admin_dsn, made.name
        assert not await claimed(dsn, "quill_nothing", ours, None)
        assert not await claimed(dsn, database, ours, None)
        await claim(dsn, database, ours, keys)
        assert await claimed(dsn, database, ours, keys)
        assert await claimed(dsn, database, other, keys), "a directory may be moved"
        for strangers in (None, {"identifier_key": "two"}):
            with pytest.raises(StackError, match=r"belong to the Quill whose data is in .*/it's: "):
                await claimed(dsn, database, other, strangers)
        with pytest.raises(StackError, match=r"secrets\.json is not what it was"):
            await claimed(dsn, database, ours, None)


def test_the_data_is_beside_the_servers_and_goes_with_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QUILL_BACKENDS_DIR", str(tmp_path / "servers"))
    beside = usual_data_dir(os.environ)
    assert beside == tmp_path / "servers" / "quill"
    with pytest.raises(StackError, match=r"make backends-down`, then delete .*/servers\.$"):
        reset(Configuration.read({}, usual_data_dir=beside))
    with pytest.raises(StackError, match=r"/servers and .*/apart\.$"):
        reset(Configuration.read({"QUILL_DATA_DIR": str(tmp_path / "apart")}, usual_data_dir=beside))
