"""The real servers behind Quill, run natively on this machine: RabbitMQ, PostgreSQL, EHRbase and HAPI FHIR.

    python -m quill_backends up

starts them; any checkout finds them with :func:`load`. Tests start one with :func:`ensure` and make it fail
with :func:`kill`, :func:`stop` and :func:`start`.
"""

from .control import SERVERS, Backends, ensure, kill, load, start, stop
from .errors import BackendsError

__all__ = ["SERVERS", "Backends", "BackendsError", "ensure", "kill", "load", "start", "stop"]
