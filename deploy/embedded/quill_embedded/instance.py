"""The data directory of one stack, and the lock that keeps a second one off it."""

import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from .configuration import Configuration
from .errors import StackError
from .postgres_process import end_orphans


@dataclass(frozen=True, slots=True)
class Instance:
    """The hold on a data directory.

    `followed_a_crash` says that the last stack here was killed, so that what it left behind may need a
    moment to go.
    """

    followed_a_crash: bool


@contextmanager
def only_instance(configuration: Configuration) -> Iterator[Instance]:
    """Makes the data directory if need be and holds its lock for the block.

    Raises:
        StackError: another stack holds it, or it cannot be written.
    """
    directory = configuration.data_dir
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        configuration.log_file.parent.mkdir(mode=0o700, exist_ok=True)
        descriptor = os.open(
            directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, mode=0o600
        )
    except OSError as error:
        raise StackError(unusable(directory, error)) from None
    with os.fdopen(descriptor, "r+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StackError(_held(directory, lock.read())) from None
        except OSError as error:
            raise StackError(unusable(directory, error)) from None
        left_behind = lock.read()
        _write(lock.fileno(), json.dumps({"pid": os.getpid(), "port": configuration.ports.base}))
        try:
            yield Instance(followed_a_crash=bool(left_behind))
        finally:
            # An empty file says that this stack ended as it should. The file stays: removing it would
            # let two stacks hold locks on two files of one name.
            _write(lock.fileno(), "")


def reset(configuration: Configuration) -> bool:
    """Deletes the data of a stack that does not run; whether there was any.

    Only what a stack makes is deleted, whatever else lies in the directory.

    Raises:
        StackError: a stack runs on it, or something cannot be deleted.
    """
    if not configuration.data_dir.is_dir():
        return False
    cluster = configuration.postgres_dir / "cluster"
    files = (configuration.keys_file, configuration.roles_file, configuration.demo_file)
    with only_instance(configuration):
        existed = cluster.exists() or any(file.exists() for file in files)
        try:
            if cluster.exists():
                end_orphans(cluster)
            for directory in (configuration.postgres_dir, configuration.log_file.parent):
                if directory.exists():
                    shutil.rmtree(directory)
            for file in files:
                file.unlink(missing_ok=True)
        except OSError as error:
            raise StackError(unusable(Path(error.filename or configuration.data_dir), error)) from None
    return existed


def unusable(path: Path, error: OSError) -> str:
    """One sentence that says why `path` is no good."""
    reason = (error.strerror or str(error)).lower()
    return f"Quill cannot write to {path}: {reason}; QUILL_DATA_DIR names another directory."


def _held(directory: Path, text: str) -> str:
    try:
        holder = json.loads(text)
        who = f"process {int(holder['pid'])}, http://127.0.0.1:{int(holder['port'])}"
    except (ValueError, KeyError, TypeError):
        who = "another process"
    return (
        f"Quill already runs on {directory} ({who}); stop it first, or start a second one with another "
        "QUILL_DATA_DIR and QUILL_PORT."
    )


def _write(descriptor: int, text: str) -> None:
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, text.encode(), 0)
