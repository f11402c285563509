"""How user names and e-mail addresses are written and compared."""

import unicodedata
from typing import Final

MAX_USERNAME: Final = 150
MAX_EMAIL: Final = 255


def normalised(text: str) -> str:
    """`text` in NFKC without blanks around it: the form that is stored."""
    return unicodedata.normalize("NFKC", text).strip()


def key(text: str) -> str:
    """The form two names are compared in: NFKC, casefolded. Unique in the database."""
    return unicodedata.normalize("NFKC", normalised(text).casefold())


def derived_username(name: str) -> str:
    """The user name of somebody who was given none: the name in lower case without blanks."""
    return "".join(normalised(name).lower().split())


def username_fault(username: str) -> str | None:
    """What is wrong with a normalised user name, or None.

    An @ is refused so that nobody can take another's e-mail address as user name: either signs in.
    """
    if len(username) > MAX_USERNAME:
        return f"must be at most {MAX_USERNAME} characters"
    if "@" in username:
        return "must not contain @"
    if any(unicodedata.category(character)[0] in "ZC" for character in username):
        return "must not contain blanks or control characters"
    return None
