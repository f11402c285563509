"""Start a command in a session of its own and print its process id; the command outlives everybody here.

Run as `python -I -S detach.py UID GID LOG COMMAND [ARGUMENT ...]`, where LOG is the number of an inherited
descriptor for the output, and -1 for UID keeps the present account. A script of its own, so that the server
is nobody's child: a Python process that starts one neither waits for it nor leaves it behind as a zombie.
"""

import os
import sys


def main(arguments: list[str]) -> int:
    """Fork, and become the command in the child."""
    uid, gid, log = (int(argument) for argument in arguments[:3])
    command = arguments[3:]
    child = os.fork()
    if child:
        sys.stdout.write(f"{child}\n")
        return 0
    try:
        os.setsid()
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.close(log)
        if uid != -1:
            os.setgroups([gid])
            os.setgid(gid)
            os.setuid(uid)
        os.execv(command[0], command)  # noqa: S606 - our own command line
    except OSError as error:
        os.write(2, f"cannot run {command[0]}: {error.strerror}\n".encode())
    os._exit(127)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
