"""One line per request, written in batches: formatting and a system call each would cost more than the
request's own handling.

A line names the route's template, never the address as typed, and ids only.
"""

import asyncio
import json
import logging
from collections.abc import Iterator
from datetime import UTC, datetime
from logging.handlers import RotatingFileHandler
from typing import Final, NamedTuple, TextIO

from quill_shared.platform.logs import JsonFormatter

__all__ = ["AccessLog", "Entry"]

_BATCH: Final = 512
_DELAY: Final = 0.25


class Entry(NamedTuple):
    """What is kept of a request until it is written."""

    at: float
    method: str
    route: str
    status: int
    duration: float
    upstream: str
    request_id: str
    trace_id: str
    user_id: int | None
    session_id: str | None


class AccessLog:
    """Writes entries as JSON lines, of the form that `quill_shared.platform.logs` gives its own.

    They go to the handlers of the logger `quill_access`: those that write to a stream get the finished
    lines, any other a record per entry. At most a quarter of a second of lines is lost when the process
    is killed.
    """

    def __init__(self) -> None:
        self._logger = logging.getLogger("quill_access")
        self._entries: list[Entry] = []
        self._flush: asyncio.TimerHandle | None = None
        self.enabled = self._logger.isEnabledFor(logging.INFO)

    def add(self, entry: Entry) -> None:
        """Takes an entry."""
        entries = self._entries
        entries.append(entry)
        if len(entries) >= _BATCH:
            self.flush()
        elif self._flush is None:
            self._flush = asyncio.get_running_loop().call_later(_DELAY, self.flush)

    def flush(self) -> None:
        """Writes what was taken."""
        if self._flush is not None:
            self._flush.cancel()
            self._flush = None
        entries, self._entries = self._entries, []
        if not entries:
            return
        text = "".join(_lines(entries))
        for handler in _handlers(self._logger):
            if handler.level > logging.INFO:
                continue
            if isinstance(handler, logging.StreamHandler) and isinstance(handler.formatter, JsonFormatter):
                _write(handler, text)
            else:
                for entry in entries:
                    handler.handle(_record(entry))


def _handlers(logger: logging.Logger) -> Iterator[logging.Handler]:
    at: logging.Logger | None = logger
    while at is not None:
        yield from at.handlers
        at = at.parent if at.propagate else None


def _write(handler: "logging.StreamHandler[TextIO]", text: str) -> None:
    handler.acquire()
    try:
        if isinstance(handler, RotatingFileHandler) and handler.shouldRollover(_MARKER):
            handler.doRollover()
        handler.stream.write(text)
        handler.flush()
    except (OSError, ValueError):
        handler.handleError(_MARKER)
    finally:
        handler.release()


def _record(entry: Entry) -> logging.LogRecord:
    return logging.makeLogRecord(
        {
            "name": "quill_access",
            "levelno": logging.INFO,
            "levelname": "INFO",
            "msg": "request",
            "created": entry.at,
            "method": entry.method,
            "route": entry.route,
            "status": entry.status,
            "duration_ms": round(entry.duration * 1000, 1),
            "upstream": entry.upstream,
        }
    )


_MARKER: Final = logging.makeLogRecord({"name": "quill_access", "levelno": logging.INFO, "msg": "requests"})


def _lines(entries: list[Entry]) -> Iterator[str]:
    """The entries as JSON, one per line. All texts are ours or checked, but for the session's name."""
    second, prefix = -1, ""
    for entry in entries:
        whole = int(entry.at)
        if whole != second:
            second, prefix = whole, datetime.fromtimestamp(whole, UTC).strftime("%Y-%m-%dT%H:%M:%S")
        caller = ""
        if entry.user_id is not None:
            caller = f', "user_id": {entry.user_id}, "session_id": {json.dumps(entry.session_id)}'
        yield (
            f'{{"time": "{prefix}.{int((entry.at - whole) * 1000):03d}+00:00", "level": "info", '
            f'"service": "gateway", "logger": "quill_access", "message": "request", '
            f'"request_id": "{entry.request_id}", "trace_id": "{entry.trace_id}"{caller}, '
            f'"method": "{entry.method}", "route": "{entry.route}", "status": {entry.status}, '
            f'"duration_ms": {entry.duration * 1000:.1f}, "upstream": "{entry.upstream}"}}\n'
        )
