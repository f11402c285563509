"""Runs a module for as long as the process that started it lives.

`python -m quill_embedded.attended <module> [argument …]` with a pipe as standard input, whose other end only
that process holds. However it ends, `kill -9` included, the system closes its end, and this process goes too:
nothing is left that would hold a port or a database against the next start. What was being written is a
transaction of PostgreSQL, done or not.
"""

import os
import runpy
import sys
import threading

_STANDARD_INPUT = 0


def end_with_parent() -> None:
    """Returns never: ends this process when nobody holds the other end of standard input any more."""
    while os.read(_STANDARD_INPUT, 64):
        pass
    os._exit(1)


if __name__ == "__main__":
    threading.Thread(target=end_with_parent, name="parent-watch", daemon=True).start()
    sys.argv = sys.argv[1:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
