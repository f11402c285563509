"""Which passwords are acceptable: 8 to 128 characters of any kind, compared in NFKC (NIST SP 800-63B)."""

import unicodedata
from enum import Enum, auto
from typing import Final

SHORTEST: Final = 8
LONGEST: Final = 128


class PasswordFault(Enum):
    """Why a password is not acceptable."""

    TOO_SHORT = auto()
    TOO_LONG = auto()


def normalised(password: str) -> str:
    """`password` in NFKC, so that it is the same from every keyboard."""
    return unicodedata.normalize("NFKC", password)


def password_fault(password: str) -> PasswordFault | None:
    """What is wrong with a new password, or None."""
    length = len(normalised(password))
    if length < SHORTEST:
        return PasswordFault.TOO_SHORT
    if length > LONGEST:
        return PasswordFault.TOO_LONG
    return None
