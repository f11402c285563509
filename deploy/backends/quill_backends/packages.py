"""Programs that come from the distribution, and their installation where this user may install them."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from .errors import BackendsError

_POLICY: Final = Path("/usr/sbin/policy-rc.d")
_QUIET: Final = "DEBIAN_FRONTEND=noninteractive"
_REFUSAL: Final = "#!/bin/sh\nexit 101\n"


def install(packages: Iterable[str], say: Callable[[str], None]) -> None:
    """Install Debian packages, without starting what they bring.

    Raises:
        BackendsError: this machine has no apt, this user may not install, or the installation failed. The
            message names the packages.
    """
    wanted = sorted(set(packages))
    if not wanted:
        return
    names = " ".join(wanted)
    if shutil.which("apt-get") is None:
        raise BackendsError(f"These programs are missing, and there is no apt to install them with: {names}.")
    root = _root()
    if root is None:
        raise BackendsError(
            f"Packages are missing that this user may not install; ask for: apt-get install {names}"
        )
    say(f"Installing {names} ...")
    with _nothing_starts(root):
        for arguments in (
            ["apt-get", "update", "-qq"],
            ["env", _QUIET, "apt-get", "install", "-qq", "-y", "--no-install-recommends", *wanted],
        ):
            done = subprocess.run(  # noqa: S603
                [*root, *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
            )
            if done.returncode != 0:
                reason = (done.stderr or done.stdout).strip().splitlines() or ["no reason given"]
                raise BackendsError(f"apt-get could not install {names}: {reason[-1]}")


def _root() -> list[str] | None:
    if os.geteuid() == 0:
        return []
    sudo = shutil.which("sudo")
    if sudo is None:
        return None
    allowed = subprocess.run([sudo, "-n", "true"], capture_output=True, check=False).returncode == 0  # noqa: S603
    return [sudo, "-n"] if allowed else None


@contextmanager
def _nothing_starts(root: list[str]) -> Iterator[None]:
    # Debian starts what it installs, RabbitMQ even on all interfaces, unless a policy forbids it.
    if _POLICY.exists():
        yield
        return
    write = ["sh", "-c", f'printf "%s" "$1" >{_POLICY} && chmod 755 {_POLICY}', "sh", _REFUSAL]
    subprocess.run([*root, *write], check=True)  # noqa: S603
    try:
        yield
    finally:
        subprocess.run([*root, "rm", "-f", str(_POLICY)], check=False)  # noqa: S603
