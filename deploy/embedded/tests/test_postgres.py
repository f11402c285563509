"""The embedded PostgreSQL: what it lets in, what it keeps, what it says when it cannot."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import asyncpg
import pytest

import quill_embedded
from quill_embedded.postgres import EmbeddedPostgres, EmbeddedPostgresError
from quill_embedded.postgres_host import reachable_installation, server_account
from quill_embedded.postgres_process import Account, cluster_name, cluster_processes, launch_command

ROOT = os.geteuid() == 0
needs_root = pytest.mark.skipif(not ROOT, reason="about what root does")
needs_proc = pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="about Linux")
ORDINARY = 65534

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        number: int = probe.getsockname()[1]
        return number


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "quill" / "postgres"


@pytest.fixture
def postgres(data_dir: Path, port: int) -> Iterator[EmbeddedPostgres]:
    server = EmbeddedPostgres(data_dir, port=port)
    server.start()
    yield server
    server.stop()


async def write(server: EmbeddedPostgres, text: str) -> None:
    connection = await asyncpg.connect(server.admin_dsn())
    try:
        await connection.execute("CREATE TABLE IF NOT EXISTS note (text text UNIQUE)")
        await connection.execute("INSERT INTO note VALUES ($1)", text)
    finally:
        await connection.close()


async def notes(server: EmbeddedPostgres) -> list[str]:
    connection = await asyncpg.connect(server.admin_dsn())
    rows = await connection.fetch("SELECT text FROM note ORDER BY text")
    await connection.close()
    return [row["text"] for row in rows]


def eventually(condition: Callable[[], bool], within: float = 20) -> bool:
    deadline = time.monotonic() + within
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


async def test_data_and_password_survive_a_restart(postgres: EmbeddedPostgres) -> None:
    dsn = postgres.admin_dsn()
    await write(postgres, "kept")
    postgres.stop()
    assert postgres.pid is None
    postgres.start()
    assert postgres.admin_dsn() == dsn
    assert await notes(postgres) == ["kept"]


async def test_nobody_gets_in_without_the_password(postgres: EmbeddedPostgres) -> None:
    password = postgres.admin_dsn().split(":")[2].split("@")[0]
    for attempt in ("", "postgres", password[:-1]):
        with pytest.raises((asyncpg.InvalidPasswordError, asyncpg.InvalidAuthorizationSpecificationError)):
            await asyncpg.connect(postgres.admin_dsn().replace(password, attempt))


async def test_listens_on_loopback_only_and_has_no_socket(postgres: EmbeddedPostgres) -> None:
    connection = await asyncpg.connect(postgres.admin_dsn())
    assert await connection.fetchval("SHOW listen_addresses") == "127.0.0.1"
    assert await connection.fetchval("SHOW unix_socket_directories") == ""
    rules = await connection.fetch("SELECT type, address, auth_method FROM pg_hba_file_rules")
    assert [tuple(rule) for rule in rules] == [("host", "127.0.0.1", "scram-sha-256")]
    await connection.close()


def test_the_secret_files_are_private(postgres: EmbeddedPostgres, data_dir: Path) -> None:
    assert data_dir.stat().st_mode & 0o077 == 0
    assert data_dir.joinpath("superuser-password").stat().st_mode & 0o777 == 0o600
    assert data_dir.joinpath("cluster").stat().st_mode & 0o777 == 0o700


async def test_values_stay_out_of_the_log(postgres: EmbeddedPostgres, data_dir: Path) -> None:
    await write(postgres, "canary")
    with pytest.raises(asyncpg.UniqueViolationError):
        await write(postgres, "canary")
    connection = await asyncpg.connect(postgres.admin_dsn())
    with pytest.raises(asyncpg.DataError):
        await connection.execute("SELECT 'canary'::text::int")
    await connection.close()
    postgres.stop()
    log = data_dir.joinpath("server.log").read_text()
    assert "ready to accept connections" in log
    assert "canary" not in log


async def test_says_nothing_on_the_console(
    data_dir: Path, port: int, capfd: pytest.CaptureFixture[str]
) -> None:
    with EmbeddedPostgres(data_dir, port=port, durable=False):
        pass
    assert capfd.readouterr() == ("", "")


async def test_without_durability_nothing_is_synchronised(data_dir: Path, port: int) -> None:
    with EmbeddedPostgres(data_dir, port=port, max_connections=17, durable=False) as server:
        connection = await asyncpg.connect(server.admin_dsn())
        shown = [
            await connection.fetchval(f"SHOW {name}")
            for name in ("fsync", "full_page_writes", "synchronous_commit", "max_connections")
        ]
        await connection.close()
    assert shown == ["off", "off", "off", "17"]


async def test_the_locale_does_not_depend_on_the_machine(postgres: EmbeddedPostgres) -> None:
    connection = await asyncpg.connect(postgres.admin_dsn())
    row = await connection.fetchrow("SELECT lower('ÅSA') AS lower, 'Z' < 'a' AS bytewise")
    encoding = await connection.fetchval("SHOW server_encoding")
    await connection.close()
    assert row is not None
    assert (row["lower"], row["bytewise"], encoding) == ("åsa", True, "UTF8")


async def test_the_terminal_does_not_interrupt_it(postgres: EmbeddedPostgres) -> None:
    assert postgres.pid is not None
    assert os.getsid(postgres.pid) != os.getsid(0)


async def test_outlives_the_thread_that_started_it(data_dir: Path, port: int) -> None:
    server = EmbeddedPostgres(data_dir, port=port, durable=False)
    thread = threading.Thread(target=server.start)
    thread.start()
    thread.join()
    await write(server, "from another thread")
    server.stop()


async def test_stop_is_repeatable(data_dir: Path, port: int) -> None:
    server = EmbeddedPostgres(data_dir, port=port, durable=False)
    server.stop()
    with server:
        assert server.pid is not None
    server.stop()
    assert cluster_processes(data_dir / "cluster") == []


async def test_stop_does_not_wait_for_clients(postgres: EmbeddedPostgres) -> None:
    connection = await asyncpg.connect(postgres.admin_dsn())
    await connection.execute("BEGIN")
    began = time.monotonic()
    postgres.stop()
    assert time.monotonic() - began < 10
    connection.terminate()


def test_a_second_instance_is_refused(postgres: EmbeddedPostgres, data_dir: Path, port: int) -> None:
    with pytest.raises(
        EmbeddedPostgresError, match=r"in use by another running Quill; stop that one first\.$"
    ):
        EmbeddedPostgres(data_dir, port=port + 1).start()
    with pytest.raises(EmbeddedPostgresError, match=r"already running\.$"):
        postgres.start()
    assert postgres.pid is not None


def test_a_taken_port_is_named(data_dir: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(EmbeddedPostgresError, match=rf"^Port {port} on 127\.0\.0\.1.* in use by another"):
            EmbeddedPostgres(data_dir, port=port).start()
    EmbeddedPostgres(data_dir, port=port).stop()


def test_an_impossible_directory_is_named(tmp_path: Path, port: int) -> None:
    tmp_path.joinpath("file").touch()
    with pytest.raises(
        EmbeddedPostgresError, match=r"^PostgreSQL cannot use \S+/file\S*: not a directory\.$"
    ):
        EmbeddedPostgres(tmp_path / "file" / "postgres", port=port).start()


def test_a_cluster_of_another_version_is_named(data_dir: Path, port: int) -> None:
    cluster = data_dir / "cluster"
    cluster.mkdir(parents=True)
    cluster.joinpath("PG_VERSION").write_text("16\n")
    with pytest.raises(EmbeddedPostgresError, match=r"made by PostgreSQL 16, and this is PostgreSQL 18"):
        EmbeddedPostgres(data_dir, port=port).start()


def test_a_broken_configuration_is_quoted(data_dir: Path, port: int) -> None:
    with pytest.raises(
        EmbeddedPostgresError, match=r"^PostgreSQL did not start: .*max_connections.*server\.log\)"
    ):
        EmbeddedPostgres(data_dir, port=port, max_connections=-1, durable=False).start()


def test_the_password_is_unknown_before_the_first_start(data_dir: Path, port: int) -> None:
    with pytest.raises(
        EmbeddedPostgresError, match=r"password.*cannot be read: no such file or directory\.$"
    ):
        EmbeddedPostgres(data_dir, port=port).admin_dsn()


def test_a_first_start_that_was_cut_short_is_repeated(data_dir: Path, port: int) -> None:
    leftover = data_dir / "staging" / "cluster"
    leftover.mkdir(parents=True)
    leftover.joinpath("PG_VERSION").write_text("18\n")
    with EmbeddedPostgres(data_dir, port=port, durable=False) as server:
        assert server.pid is not None
    assert not data_dir.joinpath("staging").exists()


async def test_committed_data_survives_kill_9_of_everything(
    postgres: EmbeddedPostgres, data_dir: Path
) -> None:
    await write(postgres, "committed")
    for pid in cluster_processes(data_dir / "cluster"):
        os.kill(pid, signal.SIGKILL)
    assert eventually(lambda: postgres.pid is None)
    assert data_dir.joinpath("cluster", "postmaster.pid").exists()
    postgres.stop()
    postgres.start()
    assert await notes(postgres) == ["committed"]


@needs_proc
def test_a_recycled_process_id_does_not_prevent_a_start(data_dir: Path, port: int) -> None:
    with EmbeddedPostgres(data_dir, port=port, durable=False):
        pass
    account = server_account(data_dir / "cluster")
    bystander = subprocess.Popen(launch_command(account, ["/bin/sleep", "60"]), cwd="/")
    try:
        data_dir.joinpath("cluster", "postmaster.pid").write_text(
            f"{bystander.pid}\n/elsewhere\n0\n{port}\n\n\n"
        )
        with EmbeddedPostgres(data_dir, port=port, durable=False) as server:
            assert server.pid is not None
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


SUPERVISOR = """
import sys, time
from pathlib import Path
from quill_embedded.postgres import EmbeddedPostgres
server = EmbeddedPostgres(Path(sys.argv[1]), port=int(sys.argv[2]))
server.start()
print(server.pid, flush=True)
time.sleep(600)
"""


@needs_proc
async def test_dies_with_its_supervisor(postgres: EmbeddedPostgres, data_dir: Path, port: int) -> None:
    await write(postgres, "before")
    postgres.stop()
    with subprocess.Popen(  # noqa: ASYNC220
        [sys.executable, "-c", SUPERVISOR, str(data_dir), str(port)], stdout=subprocess.PIPE
    ) as supervisor:
        assert supervisor.stdout is not None
        pid = int(supervisor.stdout.readline())
        assert pid in cluster_processes(data_dir / "cluster")
        supervisor.kill()
    assert eventually(lambda: not cluster_processes(data_dir / "cluster"))
    postgres.start()
    assert await notes(postgres) == ["before"]


@needs_proc
async def test_an_orphan_is_stopped(postgres: EmbeddedPostgres, data_dir: Path, port: int) -> None:
    await write(postgres, "before")
    postgres.stop()
    cluster = data_dir / "cluster"
    account = server_account(cluster)
    descriptor = os.open(cluster, os.O_RDONLY)
    binary = reachable_installation(account) / "bin" / "postgres"
    command: list[str | Path] = [
        binary,
        "-D",
        f"/proc/self/fd/{descriptor}",
        "-p",
        str(port),
        "-c",
        "unix_socket_directories=",
    ]
    with subprocess.Popen(  # noqa: ASYNC220
        [*command, "-c", "listen_addresses=127.0.0.1", "-c", f"cluster_name={cluster_name(cluster)}"],
        user=account.uid if ROOT else None,
        group=account.gid if ROOT else None,
        extra_groups=[] if ROOT else None,
        pass_fds=[descriptor],
        cwd="/",
        stderr=subprocess.DEVNULL,
    ) as orphan:
        os.close(descriptor)
        assert eventually(lambda: "ready" in _read(cluster / "postmaster.pid"))
        postgres.start()
        assert orphan.wait() == 0
    assert await notes(postgres) == ["before"]


def _read(path: Path) -> str:
    return path.read_text() if path.exists() else ""


@needs_root
@needs_proc
def test_root_runs_it_as_somebody_else(postgres: EmbeddedPostgres, data_dir: Path) -> None:
    assert postgres.pid is not None
    owner = Path("/proc", str(postgres.pid)).stat().st_uid
    assert owner not in (0, -1)
    assert data_dir.joinpath("cluster").stat().st_uid == owner
    assert data_dir.stat().st_uid == 0


@pytest.fixture
def public_directory() -> Iterator[Path]:
    directory = Path(tempfile.mkdtemp(prefix="quill-public-"))
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory)


@needs_root
def test_binaries_that_the_account_cannot_reach_are_copied_once(
    tmp_path: Path, public_directory: Path
) -> None:
    original = reachable_installation(Account())
    site = original.parent.parent
    hidden = tmp_path / "site"
    for package in (original.parent.name, f"{original.parent.name}.libs"):
        if site.joinpath(package).exists():
            shutil.copytree(site / package, hidden / package, ignore=shutil.ignore_patterns("pginstall"))
    hidden.chmod(0o700)
    installed = hidden / original.relative_to(site)
    account = Account(ORDINARY, ORDINARY)
    copy = reachable_installation(account, installed=installed, caches=[tmp_path, public_directory])
    assert copy.is_relative_to(public_directory)
    made = copy.joinpath("bin", "postgres").stat()
    assert reachable_installation(account, installed=installed, caches=[public_directory]) == copy
    assert copy.joinpath("bin", "postgres").stat() == made
    with pytest.raises(EmbeddedPostgresError, match=r"cannot be reached by the account.*no room for a copy"):
        reachable_installation(account, installed=installed, caches=[tmp_path])


@needs_root
def test_a_cache_that_another_user_planted_is_not_trusted(tmp_path: Path, public_directory: Path) -> None:
    planted = public_directory / "quill-0"
    planted.mkdir()
    os.chown(planted, ORDINARY, ORDINARY)
    missing = tmp_path / "site" / "package" / "pginstall18"
    missing.joinpath("bin").mkdir(parents=True)
    missing.joinpath("bin", "postgres").touch()
    with pytest.raises(EmbeddedPostgresError, match="no room for a copy"):
        reachable_installation(Account(ORDINARY, ORDINARY), installed=missing, caches=[public_directory])
    assert list(planted.iterdir()) == []


ORDINARY_USER = """
import os, sys, urllib.parse
from pathlib import Path
from quill_embedded.postgres import EmbeddedPostgres, EmbeddedPostgresError
directory, port = Path(sys.argv[1]), int(sys.argv[2])
for durable in (False, True):
    with EmbeddedPostgres(directory / "postgres", port=port, durable=durable) as server:
        print(os.stat(f"/proc/{server.pid}").st_uid)
        try:
            EmbeddedPostgres(directory / "postgres", port=port + 1).start()
        except EmbeddedPostgresError as error:
            print(error)
directory.joinpath("locked").mkdir(mode=0o500)
try:
    EmbeddedPostgres(directory / "locked" / "postgres", port=port).start()
except EmbeddedPostgresError as error:
    print(error)
try:
    EmbeddedPostgres(Path(sys.argv[3]), port=port).start()
except EmbeddedPostgresError as error:
    print(error)
"""


@needs_proc
def test_an_ordinary_user_runs_it_as_themselves(
    postgres: EmbeddedPostgres, data_dir: Path, public_directory: Path
) -> None:
    # Somebody else's directory, which can be entered but not written.
    foreign = public_directory / "foreign"
    foreign.mkdir(mode=0o555)
    directory = public_directory / "own"
    directory.mkdir()
    if ROOT:
        os.chown(directory, ORDINARY, ORDINARY)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    result = subprocess.run(
        [_ordinary_interpreter(), "-B", "-c", ORDINARY_USER, directory, str(port), foreign / "postgres"],
        env={"PYTHONPATH": os.pathsep.join(_import_path())},
        user=ORDINARY if ROOT else None,
        group=ORDINARY if ROOT else None,
        extra_groups=[] if ROOT else None,
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )
    uid = str(ORDINARY if ROOT else os.geteuid())
    in_use = f"The database in {directory}/postgres is in use by another running Quill; stop that one first."
    assert result.stderr == ""
    assert result.stdout.splitlines() == [
        *(uid, in_use) * 2,
        f"PostgreSQL cannot use {directory}/locked/postgres: permission denied.",
        f"PostgreSQL cannot use {foreign}/postgres: permission denied.",
    ]


def _import_path() -> list[str]:
    """Where the ordinary user's interpreter finds us and the wheel."""
    wheel = reachable_installation(Account()).parent.parent
    return [str(Path(quill_embedded.__file__).parent.parent), str(wheel)]


def _ordinary_interpreter() -> str:
    """An interpreter that the ordinary user can run; ours may lie below root's home."""
    if not ROOT:
        return sys.executable
    check = "import sys, quill_embedded.postgres; sys.exit(sys.version_info < (3, 11))"
    for candidate in (sys.executable, "/usr/local/bin/python3", "/usr/bin/python3"):
        try:
            result = subprocess.run(
                [candidate, "-B", "-c", check],
                env={"PYTHONPATH": os.pathsep.join(_import_path())},
                user=ORDINARY,
                group=ORDINARY,
                extra_groups=[],
                cwd="/",
                capture_output=True,
                check=False,
            )
        except OSError:
            continue
        if result.returncode == 0:
            return candidate
    pytest.skip("an ordinary user can run no Python 3.11 here")
