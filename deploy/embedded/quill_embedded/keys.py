"""The secrets of one stack, made at its first start and kept readable by their owner only.

Nothing here has a value that is known beforehand: two data directories share no key and no password.
"""

import json
import os
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from .errors import StackError
from .instance import unusable

_WORDS: Final = (
    "amber", "anchor", "apple", "aspen", "autumn", "badger", "beacon", "birch", "bramble", "breeze",
    "bridge", "canal", "candle", "cedar", "cherry", "clover", "coast", "copper", "coral", "cotton",
    "crane", "cricket", "daisy", "dolphin", "ember", "falcon", "fern", "field", "finch", "forest",
    "garden", "ginger", "glacier", "harbour", "hazel", "heron", "island", "ivory", "jasmine", "juniper",
    "kettle", "lantern", "lemon", "linen", "maple", "marble", "meadow", "mint", "nectar", "olive",
    "orchard", "otter", "pebble", "pepper", "plum", "quartz", "river", "robin", "saffron", "sparrow",
    "thistle", "tulip", "violet", "willow",
)  # fmt: skip


def strong_key() -> str:
    """A key for machines."""
    return secrets.token_urlsafe(48)


def spoken_password() -> str:
    """A password a person can read off one window and type into another.

    Five words of 64 and four digits are 43 bits, behind a sign-in that slows down guessing on a port
    which only this machine reaches.
    """
    words = "-".join(secrets.choice(_WORDS) for _ in range(5))
    return f"{words}-{secrets.randbelow(10_000):04}"


MAKERS: Final[Mapping[str, Callable[[], str]]] = {
    "service_key": strong_key,
    "csrf_key": strong_key,
    "signing_key_encryption_key": strong_key,
    "password_pepper": strong_key,
    "identifier_key": strong_key,
    "openehr_password": strong_key,
    "demo_password": spoken_password,
}
"""How each secret of a stack is made. The names are those of the settings; `demo_password` is the one of
all demo accounts."""


def kept(file: Path, makers: Mapping[str, Callable[[], str]]) -> dict[str, str]:
    """The secrets in `file`; those of `makers` that are missing are made and added.

    Raises:
        StackError: the file cannot be read or written, or is not ours.
    """
    try:
        found = _read(file)
        missing = {name: make() for name, make in makers.items() if name not in found}
        if missing:
            found.update(missing)
            write_private(file, json.dumps(found, indent=2, sort_keys=True))
    except OSError as error:
        raise StackError(unusable(file, error)) from None
    return found


def write_private(file: Path, text: str) -> None:
    """Replaces `file` as a whole, readable by its owner only."""
    draft = file.with_name(f"{file.name}.new")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode=0o600)
    with os.fdopen(descriptor, "w") as opened:
        opened.write(text)
        opened.flush()
        os.fsync(descriptor)
    draft.rename(file)


def _read(file: Path) -> dict[str, str]:
    try:
        text = file.read_text()
    except FileNotFoundError:
        return {}
    try:
        document = json.loads(text)
        return {str(name): str(value) for name, value in document.items()}
    except (ValueError, AttributeError):
        raise StackError(
            f"{file} does not hold the secrets of a Quill stack; put it right or `make reset`."
        ) from None
