"""JSON logs with an allow-list of fields. Ids, never names.

A log record carries a constant message and fields passed by `extra`. Fields that are not on the list
are dropped; so are the arguments and texts of exceptions, which may quote what a person typed: of an
exception its type and the places in the code are kept.
"""

import json
import logging
import sys
import traceback
from datetime import UTC, datetime
from typing import Final

from .context import current
from .problems import trace_id

ALLOWED_FIELDS: Final = frozenset(
    {
        "action",
        "attempt",
        "duration_ms",
        "error_code",
        "error_type",
        "event_id",
        "event_type",
        "intent_id",
        "intent_kind",
        "method",
        "outcome",
        "port",
        "queue",
        "reason",
        "role",
        "route",
        "status",
        "upstream",
        "version",
    }
)
_OUR_LOGGERS: Final = ("quill_",)


class JsonFormatter(logging.Formatter):
    """One line of JSON per record."""

    def __init__(self, service: str = "") -> None:
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        """The record with its allowed fields and the ids of the work in hand."""
        context = current()
        ours = record.name.startswith(_OUR_LOGGERS)
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "service": context.service or self._service,
            "logger": record.name,
            "message": str(record.msg) if ours else _template(record),
        }
        ids = {
            "request_id": context.request_id,
            "trace_id": trace_id(),
            "user_id": context.user_id,
            "session_id": context.session_id,
        }
        line.update({name: value for name, value in ids.items() if value})
        line.update({name: value for name, value in record.__dict__.items() if name in ALLOWED_FIELDS})
        if record.exc_info and record.exc_info[1] is not None:
            line["exception"] = _exception(record.exc_info[1])
        return json.dumps(line, default=str)


def _template(record: logging.LogRecord) -> str:
    """What a library says without what it speaks of: no arguments, and of the event loop's own message,
    which quotes tasks and their exceptions, only the beginning of its first line.
    """
    text = str(record.msg).partition("\n")[0]
    return text if record.name != "asyncio" else text.partition(" <")[0].partition("(")[0][:80]


def _exception(raised: BaseException) -> dict[str, object]:
    frames = traceback.extract_tb(raised.__traceback__)
    return {
        "type": type(raised).__qualname__,
        "at": [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames[-12:]],
        "causes": [type(cause).__qualname__ for cause in _causes(raised)],
    }


def _causes(raised: BaseException) -> list[BaseException]:
    causes: list[BaseException] = []
    cause = raised.__cause__ or raised.__context__
    while cause is not None and len(causes) < 5:
        causes.append(cause)
        cause = cause.__cause__ or cause.__context__
    return causes


def configure_logging(service: str, level: str) -> None:
    """Sends everything to standard error as JSON; uvicorn's own access log stays off."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter(service))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for noisy in ("sqlalchemy", "httpx", "aiormq", "aio_pika", "asyncio", "alembic"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    # Says at every attempt what the transport says once.
    logging.getLogger("aiormq.connection").setLevel(logging.CRITICAL)
