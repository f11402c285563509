"""Migrated databases for tests, from one PostgreSQL server per test run.

The root ``conftest.py`` provides the session fixture ``postgres_server`` (:class:`PostgresServer`). From it
the ``conftest.py`` of a service makes its database, migrated once per test run and copied per worker::

    @pytest.fixture(scope="session")
    def database(postgres_server: PostgresServer) -> Iterator[TestDatabase]:
        with migrated_database(postgres_server, "quill_orgs", partial(upgrade, "quill_orgs")) as database:
            yield database

    @pytest.fixture(autouse=True)
    async def clean_tables(database: TestDatabase) -> None:
        await truncate_all(database.owner_url)

Tests use ``database.app_url``: the restricted role the service runs as.
"""

import asyncio
import inspect
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol, TypeVar
from urllib.parse import urlsplit

import asyncpg

__all__ = [
    "PostgresServer",
    "TestDatabase",
    "drop_databases",
    "empty_database",
    "migrated_database",
    "truncate_all",
]

_Result = TypeVar("_Result")

_PROVISIONING = "quill tests: provisioning"
_copies = itertools.count()

_TRUNCATE = """
DO $$
DECLARE
    candidate regclass;
    used boolean;
    chosen text[];
BEGIN
    FOR candidate IN
        SELECT oid FROM pg_class
        WHERE relkind IN ('r', 'p') AND relname <> 'alembic_version'
        AND relnamespace NOT IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace)
    LOOP
        EXECUTE format('SELECT EXISTS (SELECT FROM %s)', candidate) INTO used;
        IF used OR EXISTS (
            SELECT FROM pg_sequence JOIN pg_depend ON objid = seqrelid
            WHERE refobjid = candidate AND pg_sequence_last_value(seqrelid) IS NOT NULL
        ) THEN
            chosen := chosen || candidate::text;
        END IF;
    END LOOP;
    IF chosen IS NOT NULL THEN
        EXECUTE format('TRUNCATE %s RESTART IDENTITY CASCADE', array_to_string(chosen, ', '));
    END IF;
END
$$
"""


class ProvisionedUrls(Protocol):
    """The SQLAlchemy URLs of a provisioned database."""

    @property
    def owner(self) -> str:
        """For the migrations."""

    @property
    def app(self) -> str:
        """For the service."""


@dataclass(frozen=True)
class PostgresServer:
    """The PostgreSQL server of a test run.

    Args:
        admin_dsn: The superuser's ``postgresql://`` URL.
        run: A short name for this test run; part of the name of every database made in it.
        worker: The name of this process among the run's workers.
        provision: Makes the named database with its owner role and application role.
    """

    admin_dsn: str = field(repr=False)
    run: str
    worker: str
    provision: Callable[[str], ProvisionedUrls] = field(repr=False)


@dataclass(frozen=True)
class TestDatabase:
    """One worker's own database, with SQLAlchemy URLs for its two roles."""

    __test__: ClassVar[bool] = False

    name: str
    owner_url: str = field(repr=False)
    app_url: str = field(repr=False)


@contextmanager
def migrated_database(
    server: PostgresServer, name: str, migrate: Callable[[str], Awaitable[None] | None]
) -> Iterator[TestDatabase]:
    """Yield a database of this worker with everything migrated, and drop it afterwards.

    Args:
        server: The fixture ``postgres_server``.
        name: The service's database, such as ``quill_orgs``.
        migrate: Runs the migrations on the URL it is given (the owner's); plain or async. It is called once
            per test run, by whichever worker comes first.
    """
    template = _in_a_thread(_template(server, f"{name}_{server.run}_template", migrate))
    copy = f"{name}_{server.run}_{server.worker}_{next(_copies)}"
    _in_a_thread(_copy(server, template, copy))
    try:
        yield TestDatabase(copy, _renamed(template.owner, copy), _renamed(template.app, copy))
    finally:
        _in_a_thread(_drop(server.admin_dsn, copy))


@contextmanager
def empty_database(server: PostgresServer, name: str) -> Iterator[TestDatabase]:
    """Yield a database of this worker with nothing in it, and drop it afterwards.

    For what manages its own schema; that has to use the owner's URL.
    """
    database = f"{name}_{server.run}_{server.worker}_{next(_copies)}"
    urls = _in_a_thread(_provisioned(server, database))
    try:
        yield TestDatabase(database, urls.owner, urls.app)
    finally:
        _in_a_thread(_drop(server.admin_dsn, database))


async def truncate_all(owner_url: str) -> None:
    """Empty every table but Alembic's and restart the sequences.

    What is empty and unused is left alone: truncating costs milliseconds per table, filled or not.

    Args:
        owner_url: The owner's URL (:attr:`TestDatabase.owner_url`).

    Raises:
        asyncpg.LockNotAvailableError: A transaction that a test left open holds a table for five seconds.
    """
    connection = await asyncpg.connect(_dsn(owner_url), server_settings={"lock_timeout": "5s"})
    try:
        await connection.execute(_TRUNCATE)
    finally:
        await connection.close()


def drop_databases(admin_dsn: str, run: str) -> None:
    """Drop every database and role of the test run `run`; for a server that outlives it."""

    async def drop() -> None:
        async with _connected(admin_dsn) as connection:
            databases = await connection.fetch(
                "SELECT datname AS name FROM pg_database WHERE strpos(datname, $1) > 0", f"_{run}_"
            )
            for row in databases:
                await connection.execute(f"ALTER DATABASE {row['name']} IS_TEMPLATE false")
                await connection.execute(f"DROP DATABASE {row['name']} WITH (FORCE)")
            roles = await connection.fetch(
                "SELECT rolname AS name FROM pg_roles WHERE strpos(rolname, $1) > 0", f"_{run}_"
            )
            for row in roles:
                await connection.execute(f"DROP ROLE {row['name']}")

    _in_a_thread(drop())


async def _template(
    server: PostgresServer, name: str, migrate: Callable[[str], Awaitable[None] | None]
) -> ProvisionedUrls:
    async with _connected(server.admin_dsn) as connection, _locked(connection, name):
        urls = await _provisioned(server, name)
        # PostgreSQL's own mark for a template is set last and so says that the migrations are complete.
        if not await connection.fetchval("SELECT datistemplate FROM pg_database WHERE datname = $1", name):
            migrated = await asyncio.to_thread(migrate, urls.owner)
            if inspect.isawaitable(migrated):
                await migrated
            await connection.execute(f"ALTER DATABASE {name} IS_TEMPLATE true")
        return urls


async def _provisioned(server: PostgresServer, name: str) -> ProvisionedUrls:
    async with _connected(server.admin_dsn) as connection, _locked(connection, _PROVISIONING):
        return await asyncio.to_thread(server.provision, name)


async def _copy(server: PostgresServer, template: ProvisionedUrls, name: str) -> None:
    source = urlsplit(template.owner)
    async with _connected(server.admin_dsn) as connection:
        await connection.execute(
            f"CREATE DATABASE {name} TEMPLATE {source.path.removeprefix('/')} OWNER {source.username}"
        )
        # Privileges inside the database are copied, those on the database itself are not.
        await connection.execute(f"REVOKE ALL ON DATABASE {name} FROM PUBLIC")
        await connection.execute(f"GRANT CONNECT ON DATABASE {name} TO {urlsplit(template.app).username}")


async def _drop(admin_dsn: str, name: str) -> None:
    async with _connected(admin_dsn) as connection:
        await connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


@asynccontextmanager
async def _connected(dsn: str) -> AsyncIterator["asyncpg.Connection"]:
    connection = await asyncpg.connect(dsn)
    try:
        yield connection
    finally:
        await connection.close()


@asynccontextmanager
async def _locked(connection: "asyncpg.Connection", what: str) -> AsyncIterator[None]:
    await connection.execute("SELECT pg_advisory_lock(hashtextextended($1, 0))", what)
    try:
        yield
    finally:
        await connection.execute("SELECT pg_advisory_unlock(hashtextextended($1, 0))", what)


def _in_a_thread(coroutine: Coroutine[Any, Any, _Result]) -> _Result:
    """Run `coroutine` on a loop of its own, out of the way of the loop of a running test."""
    with ThreadPoolExecutor(max_workers=1) as executor:
        return executor.submit(asyncio.run, coroutine).result()


def _renamed(url: str, database: str) -> str:
    return f"{url.rpartition('/')[0]}/{database}"


def _dsn(url: str) -> str:
    return url.replace("postgresql+asyncpg://", "postgresql://", 1)
