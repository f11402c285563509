"""The rules of patient identity: NHS numbers, names, dates of birth, likely duplicates.

Nothing here knows how a patient is stored.
"""

import hashlib
import re
import unicodedata
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import Final

NHS_NUMBER_SYSTEM: Final = "https://fhir.nhs.uk/Id/nhs-number"
LONGEST_LIFE_YEARS: Final = 150
GRADIENTS: Final = 30
LONGEST_NAME: Final = 200

_PATIENT_ID: Final = re.compile(r"[A-Za-z0-9\-.]{1,64}")
_NHS_NUMBER: Final = re.compile(r"[0-9]{10}")
_FULL_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_PARTIAL_DATE: Final = re.compile(r"[0-9]{4}(-(0[1-9]|1[0-2]))?")


class InvalidValueError(ValueError):
    """A value that the rules of identity forbid. The message says what is wrong and never repeats it."""


class Gender(StrEnum):
    """FHIR R4 administrative gender."""

    MALE = "male"
    FEMALE = "female"
    OTHER = "other"
    UNKNOWN = "unknown"


def is_patient_id(text: str) -> bool:
    """Whether `text` has the form of a FHIR id (R4, data type id)."""
    return _PATIENT_ID.fullmatch(text) is not None


def assignable_id(text: str) -> str:
    """`text` as the id of a new patient. FHIR servers keep ids of digits only for themselves.

    Raises:
        InvalidValueError: not the form of an id, or digits only.
    """
    if not is_patient_id(text):
        raise InvalidValueError("must be 1 to 64 letters, digits, hyphens or full stops")
    if text.isdigit():
        raise InvalidValueError("must hold something other than digits")
    if not text.strip("."):
        raise InvalidValueError("must hold something other than full stops")
    return text


def nhs_number(typed: str) -> str:
    """An NHS number in its stored form: ten digits, no separators (NHS Data Dictionary, Modulus 11).

    Raises:
        InvalidValueError: not ten digits besides spaces and hyphens, or the check digit is wrong.
    """
    digits = typed.replace(" ", "").replace("-", "")
    if not _NHS_NUMBER.fullmatch(digits):
        raise InvalidValueError("must be 10 digits")
    if digits == "0000000000" or not _passes_modulus_11(digits):
        raise InvalidValueError("is not a valid NHS number (check digit)")
    return digits


def _passes_modulus_11(digits: str) -> bool:
    weighted = sum(int(digit) * weight for digit, weight in zip(digits[:9], range(10, 1, -1), strict=True))
    return (11 - weighted % 11) % 11 == int(digits[9])


def person_name(typed: str) -> str:
    """A given or family name in its stored form: trimmed, single spaces, Unicode NFC.

    Raises:
        InvalidValueError: blank, too long, without any letter, or with control characters.
    """
    name = " ".join(unicodedata.normalize("NFC", typed).split())
    if not name:
        raise InvalidValueError("must not be blank")
    if len(name) > LONGEST_NAME:
        raise InvalidValueError(f"must be at most {LONGEST_NAME} characters")
    if any(unicodedata.category(character) in ("Cc", "Cs", "Cn", "Co") for character in name):
        raise InvalidValueError("must not contain control characters")
    if not any(unicodedata.category(character).startswith("L") for character in name):
        raise InvalidValueError("must contain a letter")
    return name


def birth_date(typed: str, *, today: date) -> date:
    """A full date of birth.

    Raises:
        InvalidValueError: not an ISO 8601 calendar date, in the future, or too long ago.
    """
    if not _FULL_DATE.fullmatch(typed):
        raise InvalidValueError("must be a date in the form YYYY-MM-DD")
    try:
        born = date.fromisoformat(typed)
    except ValueError:
        raise InvalidValueError("must be a date of the calendar") from None
    _check_bounds((born.year, born.month, born.day), today)
    return born


def check_fhir_birth_date(text: str, *, today: date) -> None:
    """Checks a FHIR `birthDate`, which may lack the day or the month (R4, data type date).

    Raises:
        InvalidValueError: not a date, in the future, or too long ago.
    """
    if _PARTIAL_DATE.fullmatch(text):
        _check_bounds(tuple(int(part) for part in text.split("-")), today)
    else:
        birth_date(text, today=today)


def _check_bounds(born: tuple[int, ...], today: date) -> None:
    """Compares as much of the date as is known."""
    known = len(born)
    if born > (today.year, today.month, today.day)[:known]:
        raise InvalidValueError("must not be in the future")
    if born < (today.year - LONGEST_LIFE_YEARS, today.month, today.day)[:known]:
        raise InvalidValueError(f"must not be more than {LONGEST_LIFE_YEARS} years ago")


def avatar_gradient(patient_id: str) -> int:
    """The colour of a patient's avatar, 0 to 29: a hint for the eye, derived from the id so that it never
    changes, and never an identifier (hazard 0009).
    """
    return int.from_bytes(hashlib.sha256(patient_id.encode()).digest()[:8]) % GRADIENTS


@dataclass(frozen=True, slots=True)
class Identity:
    """What people recognise a patient by."""

    given: str
    family: str
    born: date | None


def likely_same(one: Identity, other: Identity) -> bool:
    """Whether two registrations may be one person: the same date of birth, and names that agree, that
    were swapped, or of which one family name agrees and the first names begin alike (hazard 0012).
    """
    if one.born is None or one.born != other.born:
        return False
    ours, theirs = (_folded(one.given), _folded(one.family)), (_folded(other.given), _folded(other.family))
    if any(ours) and ours in (theirs, theirs[::-1]):
        return True
    same_family = bool(ours[1]) and ours[1] == theirs[1]
    return same_family and ours[0][:1] == theirs[0][:1]


def _folded(name: str) -> str:
    decomposed = unicodedata.normalize("NFKD", name).casefold()
    return "".join(character for character in decomposed if character.isalnum())
