"""Databases and roles: each service gets a database of its own, an owner role, and an application role.

``<database>_owner`` owns the database and its schema and runs the migrations. ``<database>`` is the role of
the running service: it may connect to this one database, read and write rows, and create nothing.

The SQL is offered as text, so that other ways of setting up a server (the initialisation script of a
container, say) use the same: :data:`SERVER_STATEMENTS` once per server, then per database
:func:`role_statements`, :func:`create_statement` and, connected to it, :func:`grant_statements`.
:func:`provision` runs all of it and may be repeated at every start.
"""

import asyncio
import json
import os
import re
import secrets
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from urllib.parse import quote, urlsplit

import asyncpg

__all__ = [
    "SERVER_STATEMENTS",
    "DatabaseUrls",
    "Ownership",
    "create_statement",
    "grant_statements",
    "owner_role",
    "provision",
    "role_statements",
]

SERVER_STATEMENTS = (
    "REVOKE CONNECT, TEMPORARY ON DATABASE postgres FROM PUBLIC",
    "REVOKE CONNECT, TEMPORARY ON DATABASE template1 FROM PUBLIC",
)
"""Once per server, as superuser: the roles of the services may not open the server's own databases."""

_APPLICATION_SETTINGS = {
    "statement_timeout": "30s",
    "lock_timeout": "10s",
    "idle_in_transaction_session_timeout": "60s",
}
# 63 bytes is PostgreSQL's limit for a name, and "_owner" is added to this one.
_NAME = re.compile(r"[a-z][a-z0-9_]{0,56}")


class Ownership(StrEnum):
    """Which roles a database has."""

    SPLIT = "split"
    """An owner for the migrations and a restricted role for the application."""

    SINGLE = "single"
    """One role, named like the database, that owns it; for servers that manage their own schema."""


@dataclass(frozen=True)
class DatabaseUrls:
    """SQLAlchemy URLs (``postgresql+asyncpg://``) of one database; equal for :attr:`Ownership.SINGLE`."""

    owner: str = field(repr=False)
    app: str = field(repr=False)


def owner_role(database: str, ownership: Ownership = Ownership.SPLIT) -> str:
    """Return the name of the role that owns `database`.

    Raises:
        ValueError: `database` is not a plain lower-case name.
    """
    if not _NAME.fullmatch(database):
        raise ValueError(f"not a database name: {database!r}")
    return f"{database}_owner" if ownership is Ownership.SPLIT else database


def role_statements(database: str, passwords: Mapping[str, str]) -> list[str]:
    """Return the statements that create or correct the roles of `database`.

    Args:
        database: The name of the database.
        passwords: The password of each role to have: ``<database>_owner`` and ``<database>``, or for a single
            owner only the latter.

    Raises:
        ValueError: `database` is not a plain lower-case name.
    """
    owner_role(database)
    statements = []
    for role, password in passwords.items():
        statements += [
            f"DO $$ BEGIN CREATE ROLE {role}; EXCEPTION WHEN duplicate_object THEN NULL; END $$",
            f"ALTER ROLE {role} WITH LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS "
            f"PASSWORD {_literal(password)}",
        ]
    if len(passwords) > 1:
        for name, value in _APPLICATION_SETTINGS.items():
            statements.append(f"ALTER ROLE {database} SET {name} = {_literal(value)}")
    return statements


def create_statement(database: str, ownership: Ownership = Ownership.SPLIT) -> str:
    """Return the statement that creates `database`; it fails if there is one, and runs in no transaction."""
    return f"CREATE DATABASE {database} OWNER {owner_role(database, ownership)}"


def grant_statements(database: str, ownership: Ownership = Ownership.SPLIT) -> list[str]:
    """Return the statements that decide who may do what; to be run in `database` as superuser."""
    owner = owner_role(database, ownership)
    statements = [
        f"ALTER DATABASE {database} OWNER TO {owner}",
        f"REVOKE ALL ON DATABASE {database} FROM PUBLIC",
        "REVOKE ALL ON SCHEMA public FROM PUBLIC",
    ]
    if ownership is Ownership.SINGLE:
        return statements
    application, rows = database, "SELECT, INSERT, UPDATE, DELETE"
    defaults = f"ALTER DEFAULT PRIVILEGES FOR ROLE {owner} IN SCHEMA public"
    return [
        *statements,
        f"REVOKE ALL ON DATABASE {database} FROM {application}",
        f"GRANT CONNECT ON DATABASE {database} TO {application}",
        f"GRANT USAGE ON SCHEMA public TO {application}",
        f"{defaults} GRANT {rows} ON TABLES TO {application}",
        f"{defaults} GRANT USAGE ON SEQUENCES TO {application}",
        f"GRANT {rows} ON ALL TABLES IN SCHEMA public TO {application}",
        f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {application}",
    ]


def provision(
    admin_dsn: str, databases: Mapping[str, Ownership], *, secrets_file: Path
) -> dict[str, DatabaseUrls]:
    """Create or correct the databases and their roles; existing data and passwords stay as they are.

    Runs an event loop of its own: call it through :func:`asyncio.to_thread` where one is running.

    Args:
        admin_dsn: A superuser's URL; its host and port go into the returned URLs.
        databases: The databases by name.
        secrets_file: The JSON file, readable by its owner only, that keeps the generated passwords.

    Returns:
        The URLs of each database by its name.

    Raises:
        ValueError: A name is not a plain lower-case name, or the file is not one of ours.
        OSError: The file cannot be read or written, or the server cannot be reached.
        asyncpg.PostgresError: The server refused a statement.
    """
    roles = {
        database: list(dict.fromkeys((owner_role(database, ownership), database)))
        for database, ownership in databases.items()
    }
    passwords = _passwords(secrets_file, [role for names in roles.values() for role in names])
    asyncio.run(_apply(admin_dsn, databases, roles, passwords))
    server = urlsplit(admin_dsn).netloc.rpartition("@")[2]

    def url(role: str, database: str) -> str:
        return f"postgresql+asyncpg://{role}:{quote(passwords[role], safe='')}@{server}/{database}"

    return {
        database: DatabaseUrls(owner=url(names[0], database), app=url(names[-1], database))
        for database, names in roles.items()
    }


async def _apply(
    admin_dsn: str,
    databases: Mapping[str, Ownership],
    roles: Mapping[str, list[str]],
    passwords: Mapping[str, str],
) -> None:
    server = await asyncpg.connect(admin_dsn)
    try:
        for statement in SERVER_STATEMENTS:
            await server.execute(statement)
        existing = {row["datname"] for row in await server.fetch("SELECT datname FROM pg_database")}
        for database, ownership in databases.items():
            for statement in role_statements(database, {role: passwords[role] for role in roles[database]}):
                await server.execute(statement)
            if database not in existing:
                with suppress(asyncpg.DuplicateDatabaseError):
                    await server.execute(create_statement(database, ownership))
    finally:
        await server.close()
    for database, ownership in databases.items():
        connection = await asyncpg.connect(admin_dsn, database=database)
        try:
            async with connection.transaction():
                for statement in grant_statements(database, ownership):
                    await connection.execute(statement)
        finally:
            await connection.close()


def _passwords(file: Path, roles: list[str]) -> dict[str, str]:
    """Return the passwords kept in `file`, with new ones for those of `roles` that had none."""
    try:
        kept = json.loads(file.read_text())
    except FileNotFoundError:
        kept = {}
    if not isinstance(kept, dict):
        raise ValueError(f"{file} does not hold the passwords of the database roles")
    passwords = {str(role): str(password) for role, password in kept.items()}
    missing = [role for role in roles if role not in passwords]
    if missing:
        passwords.update((role, secrets.token_urlsafe(32)) for role in missing)
        replacement = file.with_name(f"{file.name}.{os.getpid()}.new")
        descriptor = os.open(replacement, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode=0o600)
        with os.fdopen(descriptor, "w") as opened:
            json.dump(passwords, opened, indent=2, sort_keys=True)
            opened.flush()
            os.fsync(descriptor)
        replacement.rename(file)
    return passwords


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
