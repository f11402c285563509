"""Logs of the embedded stack: to a file as JSON, and to the console only when asked for."""

import logging
import logging.handlers
import sys

from quill_shared.platform.logs import JsonFormatter, configure_logging

from .configuration import Configuration

_LARGEST = 10 * 1024 * 1024
_KEPT = 3


def configure(configuration: Configuration) -> logging.Handler:
    """Sends what gateway and services log to the file; the caller closes the handler at the end."""
    configure_logging("quill", configuration.log_level)
    handler = logging.handlers.RotatingFileHandler(
        configuration.log_file, maxBytes=_LARGEST, backupCount=_KEPT, encoding="utf-8"
    )
    handler.setFormatter(JsonFormatter("quill"))
    handlers: list[logging.Handler] = [handler]
    if configuration.shows_logs:
        shown = logging.StreamHandler(sys.stderr)
        shown.setFormatter(JsonFormatter("quill"))
        handlers.append(shown)
    logging.getLogger().handlers[:] = handlers
    return handler
