"""Health of one process: `live` means the process, `ready` its own database and bus.

What lies upstream is reported, and is not fatal: a service whose FHIR server is away still answers,
with a 503 that says so.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from sqlalchemy.exc import SQLAlchemyError

from .relay import oldest_unpublished_seconds
from .service import Runtime

router = APIRouter(tags=["health"])


class Probe:
    """Asks a question at most once a second, and only once at a time, however many want to know.

    Args:
        ask: the question.
        max_age: seconds an answer is good for.
        timeout: seconds after which no answer counts as false.
    """

    def __init__(
        self, ask: Callable[[], Awaitable[bool]], *, max_age: float = 1.0, timeout: float = 0.8
    ) -> None:
        self._ask = ask
        self._max_age = max_age
        self._timeout = timeout
        self._answer = False
        self._asked_at = float("-inf")
        self._running: asyncio.Task[None] | None = None

    async def __call__(self) -> bool:
        """The answer, at most `max_age` old."""
        if time.monotonic() - self._asked_at >= self._max_age:
            if self._running is None or self._running.done():
                self._running = asyncio.create_task(self._run())
            await asyncio.shield(self._running)
        return self._answer

    async def _run(self) -> None:
        try:
            async with asyncio.timeout(self._timeout):
                self._answer = await self._ask()
        except Exception:  # noqa: BLE001 - whatever went wrong, the answer is no
            self._answer = False
        self._asked_at = time.monotonic()


@router.get("/health/live", summary="Whether the process runs")
async def live(request: Request) -> dict[str, str]:
    """Answers as long as the event loop turns."""
    return {"status": "live", "service": request.app.state.runtime.definition.name}


@router.get("/health/ready", summary="Whether this process can do its work")
async def ready(request: Request) -> JSONResponse:
    """200 when the own database and the bus work and sessions can be judged, else 503; upstream systems
    are reported beside.
    """
    runtime: Runtime = request.app.state.runtime
    database, upstreams = await asyncio.gather(_database(request), _upstreams(request))
    bus = {"available": runtime.transport.connected, "transport": runtime.transport.name}
    # Only the first load counts: a process that lost auth later still answers what it can.
    sessions = {"available": runtime.role == "worker" or runtime.revocations.ever_known}
    is_ready = database["available"] and bus["available"] and sessions["available"]
    document = {
        "status": "ready" if is_ready else "not_ready",
        "service": runtime.definition.name,
        "checks": {"database": database, "bus": bus, "sessions": sessions},
        "upstreams": upstreams,
    }
    return JSONResponse(document, status_code=200 if is_ready else 503, headers={"Cache-Control": "no-store"})


async def _database(request: Request) -> dict[str, Any]:
    runtime: Runtime = request.app.state.runtime
    if runtime.optional_database is None:
        return {"available": True}
    if not await request.app.state.database_probe():
        return {"available": False}
    try:
        age = await oldest_unpublished_seconds(runtime.database.engine)
    except (SQLAlchemyError, OSError, TimeoutError):
        return {"available": False}
    return {"available": True, "outbox_oldest_seconds": round(age, 1)}


async def _upstreams(request: Request) -> dict[str, Any]:
    probes: dict[str, Probe] = request.app.state.upstream_probes
    answers = await asyncio.gather(*(probe() for probe in probes.values()))
    return {name: {"available": answer} for name, answer in zip(probes, answers, strict=True)}
