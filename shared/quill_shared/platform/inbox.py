"""The dispatcher: from a message of the bus to one committed effect.

The effect and the inbox row commit together, so an event delivered twice is applied once.
"""

import logging

from opentelemetry import trace
from opentelemetry.propagate import extract
from sqlalchemy.dialects.postgresql import insert

from .bus import DeliveryPaused, Message
from .context import WorkContext, bound
from .crashpoints import crash_point
from .database import Database, is_database_outage
from .events import Consumers, Envelope, Received
from .tables import inbox
from .telemetry import span

logger = logging.getLogger(__name__)


class Dispatcher:
    """Hands messages to a service's consumers."""

    def __init__(self, service: str, database: Database, consumers: Consumers, tracer: trace.Tracer) -> None:
        self._service = service
        self._database = database
        self._consumers = consumers
        self._tracer = tracer

    async def deliver(self, message: Message) -> None:
        """Applies `message` once.

        Raises:
            DeliveryPaused: the service's database is away; nothing was done.
            Exception: what the handler raised; nothing was done.
        """
        envelope = Envelope.model_validate_json(message.body)
        context = WorkContext(
            service=self._service,
            request_id=str(envelope.id),
            correlation_id=envelope.correlationid,
            causation_id=str(envelope.id),
        )
        parent = extract({"traceparent": envelope.traceparent} if envelope.traceparent else {})
        with (
            bound(context),
            span(
                self._tracer,
                f"process {envelope.type}",
                context=parent,
                kind=trace.SpanKind.CONSUMER,
                attributes={
                    "messaging.message.id": str(envelope.id),
                    "messaging.destination.name": envelope.type,
                },
            ),
        ):
            try:
                await self._apply(envelope)
            except Exception as error:
                if is_database_outage(error):
                    raise DeliveryPaused from error
                logger.exception(
                    "event not applied", extra={"event_type": envelope.type, "event_id": str(envelope.id)}
                )
                raise

    async def _apply(self, envelope: Envelope) -> None:
        async with self._database.unit_of_work() as uow:
            first = await uow.session.execute(
                insert(inbox)
                .values(event_id=envelope.id)
                .on_conflict_do_nothing()
                .returning(inbox.c.event_id)
            )
            if first.first() is None:
                return
            for consumer in self._consumers.by_type.get(envelope.type, ()):
                received = Received(
                    id=envelope.id,
                    type=envelope.type,
                    subject=envelope.subject,
                    sequence=envelope.sequence,
                    time=envelope.time,
                    source=envelope.source,
                    data=consumer.model.model_validate(envelope.data),
                )
                await consumer.handle(received, uow)
            crash_point("inbox.before_commit")
            await uow.commit()
            crash_point("inbox.after_commit")
