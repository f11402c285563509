"""Where the embedded transport keeps what it gave up on: a table of the consuming service."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import delete, select
from sqlalchemy.dialects.postgresql import insert

from ..database import Database
from ..tables import parked_message
from .port import Message, Parked


class DatabaseParkingPlace:
    """A `ParkingPlace` on the `parked_message` table.

    Args:
        database: the consuming service's own; each call is a transaction of its own.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, parked: Parked) -> None:
        """Keeps `parked` durably; a second time for one message changes nothing."""
        async with self._database.unit_of_work() as uow:
            await uow.session.execute(
                insert(parked_message)
                .values(
                    event_id=parked.message.id,
                    type=parked.message.type,
                    body=parked.message.body,
                    reason=parked.reason,
                )
                .on_conflict_do_nothing(index_elements=[parked_message.c.event_id])
            )
            await uow.commit()

    async def all(self) -> Sequence[Parked]:
        """Everything kept, oldest first."""
        async with self._database.unit_of_work() as uow:
            rows = await uow.session.execute(
                select(
                    parked_message.c.event_id,
                    parked_message.c.type,
                    parked_message.c.body,
                    parked_message.c.reason,
                ).order_by(parked_message.c.parked_at, parked_message.c.event_id)
            )
            return [Parked(Message(row.event_id, row.type, row.body), row.reason) for row in rows]

    async def remove(self, event_id: UUID) -> bool:
        """Forgets one message; whether it was there."""
        async with self._database.unit_of_work() as uow:
            removed = await uow.session.execute(
                delete(parked_message)
                .where(parked_message.c.event_id == event_id)
                .returning(parked_message.c.event_id)
            )
            found = removed.first() is not None
            await uow.commit()
            return found
