"""The relay: takes events from the outbox to the bus, in order, until each is confirmed.

One relay is active per service (a session-level advisory lock), so that an aggregate's events keep
their order. It is woken in the process right after a commit, by NOTIFY for commits of other replicas
and by a slow poll as the safety net. Rows are taken as "not yet published", never as "after the last
id": ids do not follow commit order.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from typing import Any, Final

from sqlalchemy import delete, func, select, text, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from .bus import Message, Transport
from .crashpoints import crash_point
from .tables import inbox, outbox

logger = logging.getLogger(__name__)

_LOCK: Final = 0x5155494C_4C4F5842  # "QUILLOXB", the advisory lock of a service's relay
_CHANNEL: Final = "quill_outbox"
_BATCH: Final = 200
_POLL_SECONDS: Final = 3.0
_RETRY_SECONDS: Final = 0.25
_STANDBY_SECONDS: Final = 1.0
_KEEP_OUTBOX: Final = "7 days"
_KEEP_INBOX: Final = "90 days"
_PRUNE_SECONDS: Final = 600.0


class OutboxSignal:
    """Tells the relay that there is something to publish.

    `notify` is for the process that committed; it wakes a relay in the same process at once and tells
    relays elsewhere by one NOTIFY for any number of commits in a short while, sent outside the business
    transaction (inside, it more than halves the commit rate).
    """

    def __init__(self) -> None:
        self.event = asyncio.Event()
        self.local_relay = False
        self._engine: AsyncEngine | None = None
        self._sender: asyncio.Task[None] | None = None
        self._again = False

    def attach(self, engine: AsyncEngine) -> None:
        """Names the database on which other replicas listen."""
        self._engine = engine

    def notify(self) -> None:
        """Call after a commit that left events behind."""
        self.event.set()
        if self.local_relay or self._engine is None:
            return
        if self._sender is None or self._sender.done():
            self._sender = asyncio.create_task(self._send(self._engine))
        else:
            self._again = True

    async def _send(self, engine: AsyncEngine) -> None:
        while True:
            self._again = False
            with contextlib.suppress(SQLAlchemyError, OSError):
                async with engine.connect() as connection:
                    autocommit = await connection.execution_options(isolation_level="AUTOCOMMIT")
                    await autocommit.execute(text(f"NOTIFY {_CHANNEL}"))
            if not self._again:
                return


class Relay:
    """Publishes one service's outbox until it is told to stop."""

    def __init__(self, engine: AsyncEngine, transport: Transport, signal: OutboxSignal) -> None:
        self._engine = engine
        self._transport = transport
        self._signal = signal
        self._stopping = False

    async def run(self) -> None:
        """Runs until `stop`; survives the loss of the database and of the bus."""
        while not self._stopping:
            try:
                async with self._leadership() as connection:
                    if connection is None:
                        await asyncio.sleep(_STANDBY_SECONDS)
                        continue
                    self._signal.local_relay = True
                    await self._relay(connection)
            except Exception as error:  # noqa: BLE001 - the relay outlives whatever the database does
                logger.warning("relay interrupted", extra={"error_type": type(error).__name__})
                await asyncio.sleep(_STANDBY_SECONDS)
            finally:
                self._signal.local_relay = False

    def stop(self) -> None:
        """Ends `run` once what is recorded now has had its chance to leave."""
        self._stopping = True
        self._signal.event.set()

    @contextlib.asynccontextmanager
    async def _leadership(self) -> AsyncIterator[AsyncConnection | None]:
        """A connection that holds the relay lock of this database, or None if another holds it."""
        async with self._engine.connect() as raw:
            connection = await raw.execution_options(isolation_level="AUTOCOMMIT")
            if not await connection.scalar(text("SELECT pg_try_advisory_lock(:key)"), {"key": _LOCK}):
                yield None
                return
            driver: Any = (await connection.get_raw_connection()).driver_connection
            await driver.add_listener(_CHANNEL, self._heard)
            try:
                yield connection
            finally:
                # The lock belongs to the session: closing it for good is the one sure way to give it up.
                await connection.invalidate()

    def _heard(self, *_: object) -> None:
        self._signal.event.set()

    async def _relay(self, connection: AsyncConnection) -> None:
        loop = asyncio.get_running_loop()
        next_prune = loop.time()
        while True:
            self._signal.event.clear()
            progress = await self._publish_batch(connection)
            if progress is True:
                continue
            if self._stopping:
                return
            if loop.time() >= next_prune:
                await self._prune(connection)
                next_prune = loop.time() + _PRUNE_SECONDS
            with contextlib.suppress(TimeoutError):
                wait = _POLL_SECONDS if progress is None else _RETRY_SECONDS
                await asyncio.wait_for(self._signal.event.wait(), wait)
            if progress is False:
                await asyncio.sleep(_RETRY_SECONDS)

    async def _publish_batch(self, connection: AsyncConnection) -> bool | None:
        """True: some were published; False: none was accepted; None: there was nothing."""
        rows = (
            await connection.execute(
                select(outbox.c.id, outbox.c.type, outbox.c.subject, outbox.c.body)
                .where(outbox.c.published_at.is_(None))
                .order_by(outbox.c.position)
                .limit(_BATCH)
            )
        ).all()
        if not rows:
            return None
        crash_point("relay.after_claim")
        accepted = await self._transport.publish([Message(row.id, row.type, row.body) for row in rows])
        crash_point("relay.after_publish")
        safe = [row.id for row, ok in zip(rows, accepted, strict=True) if ok]
        if safe:
            await connection.execute(
                update(outbox).where(outbox.c.id.in_(safe)).values(published_at=func.now())
            )
        return bool(safe)

    async def _prune(self, connection: AsyncConnection) -> None:
        """Forgets what is long published. Inbox rows are kept far longer than any message waits
        undelivered: without its row an event that comes again would be applied again.
        """
        published = func.now() - text(f"interval '{_KEEP_OUTBOX}'")
        received = func.now() - text(f"interval '{_KEEP_INBOX}'")
        await connection.execute(delete(outbox).where(outbox.c.published_at < published))
        await connection.execute(delete(inbox).where(inbox.c.received_at < received))


async def oldest_unpublished_seconds(engine: AsyncEngine) -> float:
    """The age of the oldest event that has not left; 0 if there is none."""
    async with engine.connect() as connection:
        age = await connection.scalar(
            select(func.extract("epoch", func.now() - func.min(outbox.c.created_at))).where(
                outbox.c.published_at.is_(None)
            )
        )
    return float(age or 0.0)
