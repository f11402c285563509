"""Named instants at which a test may kill the process.

A crash point does nothing unless `QUILL_CRASH_AT` names it, and then ends the process as
`kill -9` would: no handler runs, no buffer is flushed. Tests walk the list to show that no instant
between a request and its last effect loses or doubles anything.
"""

import os
import signal
from typing import Final

CRASH_POINTS: Final = (
    "request.before_commit",
    "request.after_commit",
    "intent.after_record",
    "intent.after_upstream",
    "relay.after_claim",
    "relay.after_publish",
    "inbox.before_commit",
    "inbox.after_commit",
    "reconciler.after_upstream",
)

_armed = os.environ.get("QUILL_CRASH_AT", "")
if _armed and _armed.partition("#")[0] not in CRASH_POINTS:
    raise RuntimeError(f"QUILL_CRASH_AT names no crash point: {_armed}")
_name, _, _count = _armed.partition("#")
_remaining = int(_count or 1)


def crash_point(name: str) -> None:
    """Ends the process here if `QUILL_CRASH_AT` is `name`, or `name#n` and this is the n-th time."""
    global _remaining
    if name != _name:
        return
    _remaining -= 1
    if _remaining == 0:
        os.kill(os.getpid(), signal.SIGKILL)
