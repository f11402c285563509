"""Migrations: Alembic per service, run by the owner role.

QUILL_MIGRATION_DATABASE_URL=postgresql+asyncpg://… python -m quill_shared.platform.migrations quill_auth
"""

import argparse
import asyncio
import importlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, MetaData, pool, text
from sqlalchemy.ext.asyncio import create_async_engine

_LOCK = 0x5155494C_4C4D4947  # "QUILLMIG": replicas migrate one after the other


def _config(package: str) -> Config:
    module = importlib.import_module(package)
    if module.__file__ is None:
        raise RuntimeError(f"{package} is not a regular package")
    config = Config()
    config.set_main_option("script_location", str(Path(module.__file__).parent / "migrations"))
    config.set_main_option("path_separator", "os")
    return config


def _upgrade(connection: Connection, package: str) -> None:
    config = _config(package)
    script = ScriptDirectory.from_config(config)

    def steps(revision: Any, _: Any) -> Any:
        return script._upgrade_revs("head", revision)

    with EnvironmentContext(config, script, fn=steps) as environment:
        environment.configure(connection=connection, transaction_per_migration=True)
        with environment.begin_transaction():
            environment.run_migrations()


async def upgrade(package: str, url: str) -> None:
    """Brings the database at `url` (owner role) to the newest migration of `package`."""
    engine = create_async_engine(url, poolclass=pool.NullPool)
    try:
        async with engine.connect() as connection:
            await connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": _LOCK})
            await connection.commit()
            await connection.run_sync(_upgrade, package)
            await connection.commit()
    finally:
        await engine.dispose()


async def drift(url: str, metadata: Sequence[MetaData]) -> list[Any]:
    """What the tables in the database and those in the code do not agree on; empty when they do."""

    def compare(connection: Connection) -> list[Any]:
        return list(compare_metadata(MigrationContext.configure(connection), list(metadata)))  # type: ignore[arg-type]

    engine = create_async_engine(url, poolclass=pool.NullPool)
    try:
        async with engine.connect() as connection:
            return await connection.run_sync(compare)
    finally:
        await engine.dispose()


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Migrates one service's database to the newest version.")
    parser.add_argument("package", help="package of the service, e.g. quill_auth")
    arguments = parser.parse_args()
    asyncio.run(upgrade(arguments.package, os.environ["QUILL_MIGRATION_DATABASE_URL"]))


if __name__ == "__main__":
    main()
