"""Become the server's account, ask to die with the parent, then turn into the given command.

Run as ``python -I -S postgres_launcher.py <parent pid> <uid> <gid> <command> [argument ...]``; a uid of -1
keeps the present account. It is a script of its own because the request to die with the parent is lost when
a process changes its account, so it has to come after that and before the command, where
:mod:`subprocess` offers only ``preexec_fn``, which is unsafe beside threads.

Exit status 126 means that the account could not be taken, 127 that the command could not be executed.
"""

import ctypes
import os
import signal
import sys

NO_ACCOUNT = 126
NO_COMMAND = 127

_PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> int:
    """Replace this process by the command; return an exit status only if that failed."""
    parent, uid, gid = (int(argument) for argument in arguments[:3])
    command = arguments[3:]
    if uid != -1:
        try:
            os.setgroups([gid])
            os.setgid(gid)
            os.setuid(uid)
        except OSError as error:
            sys.stderr.write(f"FATAL:  cannot run as user {uid}: {error.strerror}\n")
            return NO_ACCOUNT
    if sys.platform == "linux":
        # SIGINT is PostgreSQL's fast shutdown.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGINT), 0, 0, 0)
        if os.getppid() != parent:
            return 0  # The parent died before the request was made.
    try:
        os.execv(command[0], command)  # noqa: S606
    except OSError as error:
        sys.stderr.write(f"FATAL:  cannot execute {command[0]}: {error.strerror}\n")
    return NO_COMMAND


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
