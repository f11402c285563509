"""Whose the databases on real servers are.

The servers stay when a stack stops, and any checkout finds them. What is in the databases can be read only
with the secrets in the data directory of the stack that made it, and queues and patients have one name for
all. So the servers of one `QUILL_BACKENDS_DIR` belong to one data directory: a comment on a database says
which, and another one is refused before it changes anything.
"""

import hashlib
from collections.abc import Mapping

import asyncpg

from .configuration import Configuration
from .errors import StackError

__all__ = ["claim", "claimed"]


async def claimed(
    admin_dsn: str, database: str, configuration: Configuration, keys: Mapping[str, str] | None
) -> bool:
    """Whether the databases were made by this stack; False if there are none.

    Args:
        admin_dsn: a superuser's URL.
        database: the one of them that is marked.
        keys: the secrets of this stack, or None if it has none yet.

    Raises:
        StackError: they were made by another, or the secrets are gone.
    """
    server = await asyncpg.connect(admin_dsn)
    try:
        comment = await server.fetchval(
            "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = $1",
            database,
        )
    finally:
        await server.close()
    if comment is None:
        return False
    name, _, directory = str(comment).partition(" ")
    if keys is not None and name == _name(keys):
        return True
    if directory == str(configuration.data_dir):
        raise StackError(
            f"{configuration.keys_file} is not what it was, and the databases cannot be read without it: put "
            "it back, or `make backends-down` and delete the directory of the servers."
        )
    raise StackError(
        f"The databases on these servers belong to the Quill whose data is in {directory}: start it with "
        "that QUILL_DATA_DIR, or take other servers with another QUILL_BACKENDS_DIR."
    )


async def claim(admin_dsn: str, database: str, configuration: Configuration, keys: Mapping[str, str]) -> None:
    """Marks the databases, which exist, as made by this stack."""
    text = f"{_name(keys)} {configuration.data_dir}".replace("'", "''")
    server = await asyncpg.connect(admin_dsn)
    try:
        await server.execute(f"COMMENT ON DATABASE {database} IS '{text}'")
    finally:
        await server.close()


def _name(keys: Mapping[str, str]) -> str:
    """What names a stack: says nothing of the secret, of which no two stacks have the same."""
    return hashlib.sha256(keys["identifier_key"].encode()).hexdigest()[:16]
