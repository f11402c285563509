"""Writes to a system outside our transaction: intent, upstream write, result.

Writing to FHIR or openEHR and to our database is not one transaction (ADR 0005). So an intent with a
client-assigned id commits first; then the idempotent upstream write; then the result, the events and
the end of the intent commit together. The reconciler settles intents whose process died or whose
answer was lost. Killing the process at any point loses nothing and doubles nothing.

Example:
    intent = await begin(uow, "patient.create", target=patient_id, payload=resource)
    created = await fhir.put(patient_id, resource)
    await finish(uow, intent)
    ...                           # rows and events; the route commits
"""

import asyncio
import contextlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol
from uuid import UUID

from opentelemetry import trace
from sqlalchemy import delete, insert, select, update

from .clock import now
from .context import WorkContext, bound
from .crashpoints import crash_point
from .database import Database, UnitOfWork
from .errors import Conflict
from .identifiers import new_id
from .tables import upstream_intent
from .telemetry import span

logger = logging.getLogger(__name__)

_MAX_BACKOFF_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class Intent:
    """A write that was decided on: `kind` names its handler, `target` what it writes."""

    id: UUID
    kind: str
    target: str
    payload: Mapping[str, Any]


class Settle(Protocol):
    """Brings an unfinished intent to its end, whichever that is, and writes the result.

    Must be idempotent; raising leaves the intent for a later try. The caller ends the intent and
    commits.
    """

    async def __call__(self, intent: Intent, uow: UnitOfWork) -> None:
        """Settles `intent` in the transaction of `uow`."""


async def begin(
    uow: UnitOfWork, kind: str, *, target: str, payload: Mapping[str, Any], grace: float = 60.0
) -> Intent:
    """Makes the intent, and everything else written so far, durable before the upstream is touched.

    Args:
        grace: seconds the request has to finish before the reconciler takes over; longer than any
            request may last.
    """
    intent = Intent(new_id(), kind, target, payload)
    await uow.session.execute(
        insert(upstream_intent).values(
            id=intent.id,
            kind=kind,
            target=target,
            payload=dict(payload),
            due_at=now() + timedelta(seconds=grace),
        )
    )
    await uow.commit()
    crash_point("intent.after_record")
    return intent


async def finish(uow: UnitOfWork, intent: Intent) -> None:
    """Ends `intent` in the transaction in hand.

    Raises:
        Conflict: the reconciler was quicker; what it wrote stands.
    """
    crash_point("intent.after_upstream")
    ended = await uow.session.execute(
        delete(upstream_intent).where(upstream_intent.c.id == intent.id).returning(upstream_intent.c.id)
    )
    if ended.first() is None:
        raise Conflict("The write took too long and was completed separately", code="settled_elsewhere")


async def abandon(uow: UnitOfWork, intent: Intent) -> None:
    """Ends `intent` at once because the upstream is known not to have acted (it refused)."""
    await uow.rollback()
    await uow.session.execute(delete(upstream_intent).where(upstream_intent.c.id == intent.id))
    await uow.commit()


class Reconciler:
    """Settles intents past their grace; several replicas may run at once."""

    def __init__(
        self,
        service: str,
        database: Database,
        handlers: Mapping[str, Settle],
        tracer: trace.Tracer,
        *,
        grace: float,
    ) -> None:
        self._service = service
        self._database = database
        self._handlers = handlers
        self._tracer = tracer
        self._interval = max(0.2, min(grace / 4, 10.0))
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        """Runs until `stop`."""
        while not self._stopping.is_set():
            try:
                while await self.settle_one():
                    if self._stopping.is_set():
                        return
            except Exception as error:  # noqa: BLE001 - the loop outlives whatever a database does
                logger.warning("reconciler interrupted", extra={"error_type": type(error).__name__})
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), self._interval)

    def stop(self) -> None:
        """Ends `run` after the intent in hand."""
        self._stopping.set()

    async def settle_one(self) -> bool:
        """Takes one due intent and settles it, or puts it off; False when none is due."""
        async with self._database.unit_of_work() as uow:
            row = (
                await uow.session.execute(
                    select(upstream_intent)
                    .where(upstream_intent.c.due_at <= now())
                    .order_by(upstream_intent.c.due_at)
                    .limit(1)
                    .with_for_update(skip_locked=True)
                )
            ).first()
            if row is None:
                return False
            intent = Intent(row.id, row.kind, row.target, row.payload)
            context = WorkContext(service=self._service, request_id=str(row.id), correlation_id=str(row.id))
            with (
                bound(context),
                span(self._tracer, f"settle {row.kind}"),
            ):
                try:
                    await self._handlers[intent.kind](intent, uow)
                    crash_point("reconciler.after_upstream")
                    await uow.session.execute(
                        delete(upstream_intent).where(upstream_intent.c.id == intent.id)
                    )
                    await uow.commit()
                    logger.info(
                        "intent settled", extra={"intent_kind": intent.kind, "intent_id": str(intent.id)}
                    )
                except Exception as error:  # noqa: BLE001 - any failure means: later again
                    logger.warning(
                        "intent not settled yet",
                        extra={
                            "intent_kind": intent.kind,
                            "intent_id": str(intent.id),
                            "error_type": type(error).__name__,
                        },
                    )
                    await uow.rollback()
                    await self._put_off(uow, intent, row.attempts)
            return True

    async def _put_off(self, uow: UnitOfWork, intent: Intent, attempts: int) -> None:
        delay = min(2.0**attempts, _MAX_BACKOFF_SECONDS)
        await uow.session.execute(
            update(upstream_intent)
            .where(upstream_intent.c.id == intent.id)
            .values(attempts=attempts + 1, due_at=now() + timedelta(seconds=delay))
        )
        await uow.commit()
