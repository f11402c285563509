"""Brings the databases of the services to their newest migration, quickly when they are there already."""

import asyncio
import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import asyncpg
from alembic.script import ScriptDirectory

from quill_shared.platform.migrations import upgrade

from .provision import DatabaseUrls


class Migratable(Protocol):
    """A service, by its name and the package that holds its migrations."""

    @property
    def name(self) -> str:
        """Such as `orgs`."""

    @property
    def package(self) -> str:
        """Such as `quill_orgs`, which is also the name of the database."""


async def migrate(services: Sequence[Migratable], urls: Mapping[str, DatabaseUrls]) -> list[str]:
    """Migrates the databases that are behind; answers the names of their services.

    One after the other, because Alembic keeps the migration in hand in the module `alembic.op`.
    """
    present = await asyncio.gather(*(_present(urls[each.package].owner) for each in services))
    migrated = []
    for service, revisions in zip(services, present, strict=True):
        if revisions != _newest(service.package):
            await upgrade(service.package, urls[service.package].owner)
            migrated.append(service.name)
    return migrated


async def _present(url: str) -> frozenset[str]:
    connection = await asyncpg.connect(url.replace("postgresql+asyncpg://", "postgresql://", 1))
    try:
        rows = await connection.fetch("SELECT version_num FROM alembic_version")
        return frozenset(str(row["version_num"]) for row in rows)
    except asyncpg.UndefinedTableError:
        return frozenset()
    finally:
        await connection.close()


def _newest(package: str) -> frozenset[str]:
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise RuntimeError(f"{package} is not installed")
    return frozenset(ScriptDirectory(Path(spec.origin).parent / "migrations").get_heads())
