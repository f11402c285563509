"""The outbox: events recorded in the transaction of the change they tell of.

The `relay` publishes them afterwards.
"""

from opentelemetry.propagate import inject
from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncSession

from .clock import now
from .context import current
from .events import Envelope, Event, Recorded
from .identifiers import new_id
from .tables import outbox


async def record(
    session: AsyncSession, event: Event, *, source: str, subject: str, sequence: int
) -> Recorded:
    """Writes `event` into the outbox of the transaction in hand.

    The work context gives the correlation and causation, the active span the `traceparent`, so that
    what consumers do joins the trace of the request.
    """
    event_id = new_id()
    carrier: dict[str, str] = {}
    inject(carrier)
    context = current()
    envelope = Envelope(
        id=event_id,
        source=source,
        type=event.type_name,
        subject=subject,
        time=now(),
        dataschema=f"urn:quill:event:{event.type_name}",
        data=event.model_dump(mode="json"),
        traceparent=carrier.get("traceparent"),
        correlationid=context.correlation_id,
        causationid=context.causation_id,
        sequence=sequence,
    )
    await session.execute(
        insert(outbox).values(
            id=event_id,
            type=event.type_name,
            subject=subject,
            body=envelope.model_dump_json(exclude_none=True).encode(),
        )
    )
    return Recorded(event_id, event.type_name, subject)
