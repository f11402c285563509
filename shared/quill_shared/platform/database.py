"""The database of a service and the unit of work on it.

One request or one message is one transaction (ADR 0001). Nobody outside this package commits: the
route class does it for requests, the dispatcher for events, the intent runner around upstream writes.
"""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from sqlalchemy import MetaData, text
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine

from .events import Event, Recorded
from .outbox import record

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}


def new_metadata() -> MetaData:
    """A metadata with predictable constraint names, for a service's declarative base."""
    return MetaData(naming_convention=NAMING)


class UnitOfWork:
    """What one request or message reads and writes, and the events it leaves behind.

    The session begins a transaction at its first use and not before, so that a request that needs no
    database takes no connection.
    """

    def __init__(self, engine: AsyncEngine, *, source: str, committed: Callable[[], None]) -> None:
        self.session = AsyncSession(engine, expire_on_commit=False, autoflush=True)
        self._source = source
        self._committed = committed
        self._published = False

    async def publish(self, event: Event, *, subject: str, sequence: int) -> Recorded:
        """Records `event` in the outbox, to leave only if this transaction commits.

        Args:
            event: the fact.
            subject: id of the aggregate it is about; events of one subject keep their order.
            sequence: the aggregate's version, rising with every event of the subject.
        """
        recorded = await record(self.session, event, source=self._source, subject=subject, sequence=sequence)
        self._published = True
        return recorded

    async def commit(self) -> None:
        """Makes everything so far durable. For this package only (a test looks).

        A commit that has begun is brought to its end even if the caller is cancelled meanwhile: whether
        it happened must not be left open.
        """
        committing = asyncio.ensure_future(self.session.commit())
        cancelled = False
        while not committing.done():
            try:
                await asyncio.wait({committing})
            except asyncio.CancelledError:
                cancelled = True
        committing.result()
        if self._published:
            self._published = False
            self._committed()
        if cancelled:
            raise asyncio.CancelledError

    async def rollback(self) -> None:
        """Forgets everything since the last commit."""
        self._published = False
        await self.session.rollback()


class Database:
    """A service's pool of connections.

    Args:
        url: `postgresql+asyncpg://…` of the service's restricted role.
        source: CloudEvents source of what this service publishes, e.g. `quill/orgs`.
        committed: called after a commit that left events in the outbox; wakes the relay.
    """

    def __init__(
        self,
        url: str,
        *,
        source: str,
        pool_size: int = 10,
        pool_overflow: int = 10,
        statement_timeout: float = 10.0,
        committed: Callable[[], None] = lambda: None,
    ) -> None:
        self.engine = create_async_engine(
            url,
            pool_size=pool_size,
            max_overflow=pool_overflow,
            pool_timeout=5,
            pool_pre_ping=True,
            pool_recycle=1800,
            connect_args={
                "timeout": 5,
                # The server's own timeout is no help against a server that fell silent.
                "command_timeout": statement_timeout + 5,
                "server_settings": {
                    "application_name": source,
                    "statement_timeout": str(int(statement_timeout * 1000)),
                    "jit": "off",
                },
            },
        )
        self._source = source
        self._committed = committed

    @asynccontextmanager
    async def unit_of_work(self) -> AsyncIterator[UnitOfWork]:
        """A unit of work that is rolled back unless it was committed."""
        uow = UnitOfWork(self.engine, source=self._source, committed=self._committed)
        try:
            yield uow
        finally:
            await asyncio.shield(uow.session.close())

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[UnitOfWork]:
        """A unit of work that is committed at the end of the block, for what no request or event began
        (start-up, housekeeping, sweeps); rolled back when the block raises.
        """
        async with self.unit_of_work() as uow:
            yield uow
            await uow.commit()

    async def ping(self) -> bool:
        """Whether the database answers within two seconds."""
        try:
            async with asyncio.timeout(2), self.engine.connect() as connection:
                await connection.execute(text("SELECT 1"))
        except (DBAPIError, PoolTimeout, OSError, TimeoutError):
            return False
        return True

    async def close(self) -> None:
        """Closes every connection."""
        await self.engine.dispose()


_AWAY = ("08", "53", "57P")
"""SQLSTATE classes (PostgreSQL, Appendix A): connection exception, insufficient resources, and the
operator's interventions but for the statement timeout."""


def is_database_outage(error: BaseException) -> bool:
    """Whether `error` says that the database cannot be used now, rather than that a statement was wrong."""
    if isinstance(error, DBAPIError):
        state = getattr(error.orig, "sqlstate", None) or ""
        return (
            error.connection_invalidated
            or state.startswith(_AWAY)
            or isinstance(error, InterfaceError | OperationalError)
        )
    # A plain OSError is no route to the host, or every address refused.
    away = PoolTimeout | ConnectionError | TimeoutError | socket.gaierror
    return isinstance(error, away) or type(error) is OSError
