"""Databases and roles: who may open what, and what they may do there; and the test databases made of them."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest

from quill_embedded.postgres import EmbeddedPostgres
from quill_embedded.provision import (
    DatabaseUrls,
    Ownership,
    create_statement,
    grant_statements,
    provision,
    role_statements,
)
from quill_shared.platform.testing.postgres import (
    PostgresServer,
    empty_database,
    migrated_database,
    truncate_all,
)
from quill_shared.platform.testing.sockets import BlockedConnectionError

DATABASES = {
    "quill_letters": Ownership.SPLIT,
    "quill_orgs": Ownership.SPLIT,
    "quill_fhir": Ownership.SINGLE,
}


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("provision")


@pytest.fixture(scope="module")
def server(directory: Path) -> Iterator[EmbeddedPostgres]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with EmbeddedPostgres(directory / "postgres", port=port, durable=False) as postgres:
        yield postgres


@pytest.fixture(scope="module")
def secrets_file(directory: Path) -> Path:
    return directory / "roles.json"


@pytest.fixture(scope="module")
def urls(server: EmbeddedPostgres, secrets_file: Path) -> dict[str, DatabaseUrls]:
    return provision(server.admin_dsn(), DATABASES, secrets_file=secrets_file)


@asynccontextmanager
async def connected(url: str, database: str | None = None) -> AsyncIterator["asyncpg.Connection"]:
    assert url.startswith("postgresql+asyncpg://")
    connection = await asyncpg.connect(url.replace("+asyncpg", ""), database=database)
    try:
        yield connection
    finally:
        await connection.close()


@pytest.fixture
async def table(urls: dict[str, DatabaseUrls]) -> AsyncIterator[None]:
    async with connected(urls["quill_letters"].owner) as owner:
        await owner.execute("CREATE TABLE letter (id bigserial PRIMARY KEY, title text)")
        yield
        await owner.execute("DROP TABLE letter")


@pytest.mark.usefixtures("table")
async def test_the_application_reads_and_writes_what_the_owner_made(urls: dict[str, DatabaseUrls]) -> None:
    async with connected(urls["quill_letters"].app) as app:
        assert await app.fetchval("INSERT INTO letter (title) VALUES ('a') RETURNING id") == 1
        await app.execute("UPDATE letter SET title = 'b'")
        assert await app.fetchval("SELECT title FROM letter") == "b"
        await app.execute("DELETE FROM letter")
        assert await app.fetchval("SELECT count(*) FROM letter") == 0


@pytest.mark.usefixtures("table")
@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE public.own (id int)",
        "CREATE TEMPORARY TABLE own (id int)",
        "CREATE SCHEMA own",
        "CREATE VIEW own AS SELECT 1",
        "CREATE FUNCTION own() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "CREATE EXTENSION vector",
        "CREATE DATABASE own",
        "CREATE ROLE own",
        "CREATE INDEX ON letter (title)",
        "ALTER TABLE letter ADD COLUMN own int",
        "DROP TABLE letter",
        "TRUNCATE letter",
        "SELECT setval('letter_id_seq', 1000)",
        "SET ROLE quill_letters_owner",
        "SELECT pg_read_file('postgresql.conf')",
        "COPY letter TO PROGRAM 'cat'",
    ],
)
async def test_the_application_may_not(urls: dict[str, DatabaseUrls], statement: str) -> None:
    async with connected(urls["quill_letters"].app) as app:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await app.execute(statement)


@pytest.mark.parametrize("role", ["owner", "app"])
@pytest.mark.parametrize("database", ["quill_orgs", "quill_fhir", "postgres", "template1"])
async def test_a_service_cannot_open_another_database(
    urls: dict[str, DatabaseUrls], role: str, database: str
) -> None:
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="permission denied for database"):
        async with connected(getattr(urls["quill_letters"], role), database):
            pass


async def test_a_runaway_application_is_stopped(urls: dict[str, DatabaseUrls]) -> None:
    async with connected(urls["quill_letters"].app) as app, connected(urls["quill_letters"].owner) as owner:
        limits = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")
        assert [await app.fetchval(f"SHOW {limit}") for limit in limits] == ["30s", "10s", "1min"]
        assert await owner.fetchval("SHOW statement_timeout") == "0"  # A migration may take its time.


async def test_a_single_owner_manages_its_own_schema(urls: dict[str, DatabaseUrls]) -> None:
    assert urls["quill_fhir"].app == urls["quill_fhir"].owner
    async with connected(urls["quill_fhir"].app) as owner:
        assert await owner.fetchval("SELECT current_user") == "quill_fhir"
        await owner.execute("CREATE TABLE resource (id int)")
        await owner.execute("DROP TABLE resource")


@pytest.mark.usefixtures("table")
async def test_provisioning_again_changes_nothing(
    server: EmbeddedPostgres, secrets_file: Path, urls: dict[str, DatabaseUrls]
) -> None:
    async with connected(urls["quill_letters"].app) as app:
        await app.execute("INSERT INTO letter (title) VALUES ('kept')")
        again = await asyncio.to_thread(provision, server.admin_dsn(), DATABASES, secrets_file=secrets_file)
        assert again == urls
        assert await app.fetchval("SELECT title FROM letter") == "kept"
    async with connected(again["quill_letters"].app) as app:
        assert await app.fetchval("SELECT title FROM letter") == "kept"


def test_a_new_database_leaves_the_other_passwords_alone(
    server: EmbeddedPostgres, directory: Path, urls: dict[str, DatabaseUrls]
) -> None:
    file = directory / "more.json"
    file.write_text(directory.joinpath("roles.json").read_text())
    more = provision(server.admin_dsn(), {"quill_auth": Ownership.SPLIT}, secrets_file=file)
    assert more.keys() == {"quill_auth"}
    before = json.loads(directory.joinpath("roles.json").read_text())
    after = json.loads(file.read_text())
    assert after.items() > before.items()
    assert after.keys() - before.keys() == {"quill_auth", "quill_auth_owner"}


@pytest.mark.usefixtures("urls")
def test_the_passwords_are_private_and_unguessable(secrets_file: Path) -> None:
    passwords = json.loads(secrets_file.read_text())
    assert secrets_file.stat().st_mode & 0o777 == 0o600
    assert len(passwords) == 5
    assert len(set(passwords.values())) == 5
    assert min(map(len, passwords.values())) >= 40


def test_urls_do_not_show_in_representations(urls: dict[str, DatabaseUrls]) -> None:
    assert repr(urls["quill_orgs"]) == "DatabaseUrls()"


@pytest.mark.parametrize("name", ["", "Quill", "quill-orgs", "quill; DROP", "1quill", "q" * 58])
def test_only_plain_names_become_sql(name: str) -> None:
    for statements in (
        lambda: role_statements(name, {}),
        lambda: create_statement(name),
        lambda: grant_statements(name),
    ):
        with pytest.raises(ValueError, match="not a database name"):
            statements()


def test_a_password_is_quoted() -> None:
    statements = role_statements("quill_orgs", {"quill_orgs": "it's"})
    assert statements[1].endswith("PASSWORD 'it''s'")


def test_a_file_of_something_else_is_not_overwritten(server: EmbeddedPostgres, tmp_path: Path) -> None:
    file = tmp_path / "roles.json"
    file.write_text("[]")
    with pytest.raises(ValueError, match="does not hold the passwords"):
        provision(server.admin_dsn(), DATABASES, secrets_file=file)
    assert file.read_text() == "[]"


async def _migrate(url: str) -> None:
    async with connected(url) as owner:
        await owner.execute("CREATE TABLE alembic_version (version_num text)")
        await owner.execute("INSERT INTO alembic_version VALUES ('1')")
        await owner.execute("CREATE TABLE parent (id serial PRIMARY KEY, text text)")
        await owner.execute("CREATE TABLE child (id int REFERENCES parent)")


def _migrate_at_once(url: str) -> None:
    asyncio.run(_migrate(url))


async def _unexpected(url: str) -> None:
    raise AssertionError("the migrations ran twice")


async def test_a_migrated_database_is_copied_for_each_use(postgres_server: PostgresServer) -> None:
    with migrated_database(postgres_server, f"quill_copies_{postgres_server.worker}", _migrate) as first:
        async with connected(first.app_url) as app:
            assert await app.fetchval("SELECT current_database()") == first.name
            await app.execute("INSERT INTO parent DEFAULT VALUES")
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await app.execute("CREATE TABLE own (id int)")
        with migrated_database(
            postgres_server, f"quill_copies_{postgres_server.worker}", _unexpected
        ) as second:
            assert second.name != first.name
            async with connected(second.app_url) as app:
                assert await app.fetchval("SELECT count(*) FROM parent") == 0
            async with connected(second.owner_url) as owner:
                await owner.execute("CREATE TABLE own (id int)")
    with pytest.raises(asyncpg.InvalidCatalogNameError):
        async with connected(first.owner_url):
            pass


def test_migrations_may_be_plain_functions(postgres_server: PostgresServer) -> None:
    name = f"quill_plain_{postgres_server.worker}"
    with migrated_database(postgres_server, name, _migrate_at_once) as database:
        assert database.name.startswith(name)


async def test_truncating_leaves_the_migrations_and_restarts_the_sequences(
    postgres_server: PostgresServer,
) -> None:
    with migrated_database(
        postgres_server, f"quill_truncated_{postgres_server.worker}", _migrate
    ) as database:
        async with connected(database.app_url) as app:
            for emptied_already in (False, True, False):
                assert await app.fetchval("INSERT INTO parent DEFAULT VALUES RETURNING id") == 1
                await app.execute("INSERT INTO child VALUES (1)")
                if emptied_already:
                    await app.execute("DELETE FROM child")
                    await app.execute("DELETE FROM parent")
                await truncate_all(database.owner_url)
                assert await app.fetchval("SELECT count(*) FROM child") == 0
            assert await app.fetchval("SELECT version_num FROM alembic_version") == "1"


async def test_an_empty_database_is_the_owners(postgres_server: PostgresServer) -> None:
    with empty_database(postgres_server, "quill_fhir") as database:
        await truncate_all(database.owner_url)
        async with connected(database.owner_url) as owner:
            await owner.execute("CREATE TABLE resource (id int)")


def test_other_machines_are_out_of_reach() -> None:
    with socket.socket() as client, pytest.raises(BlockedConnectionError, match=r"192\.0\.2\.1"):
        client.connect(("192.0.2.1", 80))
    with socket.socket() as client, pytest.raises(BlockedConnectionError, match=r"example\.org"):
        client.connect_ex(("example.org", 80))
    with socket.create_server(("127.0.0.1", 0)) as here, socket.socket() as client:
        client.connect(here.getsockname())
