"""Field types that several requests share.

Fields the contract has words of its own for when they are missing or empty are optional here; the use
case refuses them in those words.
"""

import unicodedata
from typing import Annotated, Any

from email_validator import EmailNotValidError, validate_email
from pydantic import AfterValidator, Field

from quill_shared.platform.schemas import Text

from ..domain import names

LONGEST_TYPED = 1024
"""What is typed at a sign-in may be longer than any password, but not endless."""


def _username(value: str) -> str:
    username = names.normalised(value)
    fault = names.username_fault(username)
    if fault is not None:
        raise ValueError(fault)
    return username


def _name(value: str) -> str:
    name = names.normalised(value)
    if any(unicodedata.category(character) == "Cc" for character in name):
        raise ValueError("must not contain control characters")
    return name


def _email(value: str) -> str:
    text = names.normalised(value)
    if not text:
        return text
    try:
        # Hospitals have addresses in domains the rest of the world cannot reach.
        return validate_email(text, check_deliverability=False, globally_deliverable=False).normalized
    except EmailNotValidError:
        raise ValueError("is not an e-mail address") from None


Username = Annotated[Text, Field(max_length=LONGEST_TYPED), AfterValidator(_username)]
Email = Annotated[Text, Field(max_length=names.MAX_EMAIL), AfterValidator(_email)]
Name = Annotated[Text, Field(max_length=200), AfterValidator(_name)]
Password = Annotated[Text, Field(max_length=LONGEST_TYPED, json_schema_extra={"format": "password"})]
Slug = Annotated[Text, Field(max_length=64)]
Slugs = Annotated[list[Slug], Field(max_length=200)]
PatientId = Annotated[Text, Field(pattern=r"^[A-Za-z0-9.-]{1,64}$")]


def given(fields: dict[str, Any]) -> dict[str, Any]:
    """Those of `fields` that are not None; a null says: as it is."""
    return {name: value for name, value in fields.items() if value is not None}
