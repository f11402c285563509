"""The health of the whole, put together from what each service says of itself (contract, section 3)."""

import asyncio
import time
from collections.abc import Mapping
from typing import Any, Final

from quill_shared.platform.bus import Transport

from .upstreams import FAILURES, Upstream, Upstreams

__all__ = ["SystemHealth"]

_MAX_AGE: Final = 0.4
"""The services' own probes may be half a second old; together that stays within a second."""
_TIMEOUT: Final = 0.95
_CLINICAL: Final = {"fhir": ("patients", "messaging"), "ehrbase": ("letters",)}
"""Which services know of an upstream system; the first that answers is believed."""


class SystemHealth:
    """Asks every service at once, once for all who want to know at the same time.

    A service that does not answer within a second counts as away. Never an address or an error text.
    """

    def __init__(self, upstreams: Upstreams, transport: Transport, *, clinical_services: bool) -> None:
        self._upstreams = upstreams
        self._transport = transport
        self._clinical_services = clinical_services
        self._report: dict[str, Any] = {}
        self._asked_at = float("-inf")
        self._running: asyncio.Task[None] | None = None

    async def report(self) -> dict[str, Any]:
        """`{status, services}`, at most a second old."""
        if time.monotonic() - self._asked_at >= _MAX_AGE:
            if self._running is None or self._running.done():
                self._running = asyncio.create_task(self._ask(), name="health")
            await asyncio.shield(self._running)
        return self._report

    async def _ask(self) -> None:
        documents = await asyncio.gather(*(_readiness(each) for each in self._upstreams.values()))
        ready = dict(zip(self._upstreams, documents, strict=True))
        services: dict[str, dict[str, Any]] = {
            "auth_db": {"available": _available(ready["auth"], "checks", "database")}
        }
        for system, witnesses in _CLINICAL.items():
            services[system] = {"available": _witnessed(ready, witnesses, system)}
            if not self._clinical_services:
                services[system] = {"available": False, "enabled": False}
        services["rabbitmq"] = {
            "available": self._transport.connected,
            "transport": self._transport.name,
        }
        for name, document in ready.items():
            services[name] = {"available": document.get("status") == "ready"}
        expected = [each for each in services.values() if each.get("enabled", True)]
        healthy = all(each["available"] for each in expected)
        self._report = {"status": "healthy" if healthy else "degraded", "services": services}
        self._asked_at = time.monotonic()


async def _readiness(upstream: Upstream) -> dict[str, Any]:
    try:
        _, document = await upstream.fetch("/health/ready", within=_TIMEOUT)
    except (*FAILURES, ValueError):
        return {}
    return document if isinstance(document, dict) else {}


def _available(document: Mapping[str, Any], *path: str) -> bool:
    found: Any = document
    for name in path:
        found = found.get(name) if isinstance(found, dict) else None
    return isinstance(found, dict) and found.get("available") is True


def _witnessed(ready: Mapping[str, dict[str, Any]], witnesses: tuple[str, ...], system: str) -> bool:
    for name in witnesses:
        reported = ready[name].get("upstreams")
        if isinstance(reported, dict) and system in reported:
            return _available(reported, system)
    return False
