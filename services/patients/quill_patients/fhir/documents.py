"""FHIR JSON as it was received: read, cut and written without changing a value.

A resource goes from the FHIR server to the client as the text it came in. Where it must be changed,
numbers keep their very digits (FHIR R4, JSON: `1.10` is not `1.1`) and dates stay text.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final, NoReturn

_LARGEST_EXPONENT: Final = 400
_DIGITS_OF_INT64: Final = 18
_DEEPEST: Final = 64
_WHITESPACE: Final = " \t\n\r"


class DocumentError(ValueError):
    """A text that is not a JSON object, or one that cannot be kept as it is."""


class ExactNumber(Decimal):
    """A JSON number that is written with the text it was read from."""

    text: str

    def __new__(cls, text: str) -> "ExactNumber":
        number = super().__new__(cls, text)
        if abs(number.adjusted()) > _LARGEST_EXPONENT:
            raise DocumentError("a number is out of range")
        number.text = text
        return number


def _integer(text: str) -> int | ExactNumber:
    return int(text) if len(text) <= _DIGITS_OF_INT64 else ExactNumber(text)


def _refuse_constant(name: str) -> NoReturn:
    raise DocumentError(f"{name} is not JSON")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) != len(pairs):
        raise DocumentError("a name occurs twice in one object")
    return document


_exact = json.JSONDecoder(
    parse_float=ExactNumber,
    parse_int=_integer,
    parse_constant=_refuse_constant,
    object_pairs_hook=_unique,
)
_plain = json.JSONDecoder()


def parse(text: bytes | str) -> dict[str, Any]:
    """The JSON object in `text`, its numbers exact.

    Raises:
        DocumentError: not UTF-8, not JSON, not an object, or nested too deep. Never quotes the text.
    """
    try:
        document = _exact.decode(text.decode("utf-8-sig") if isinstance(text, bytes) else text)
    except json.JSONDecodeError as error:
        raise DocumentError(f"malformed JSON at line {error.lineno}, column {error.colno}") from None
    except UnicodeDecodeError:
        raise DocumentError("not UTF-8") from None
    except RecursionError:
        raise DocumentError("nested too deep") from None
    if not isinstance(document, dict):
        raise DocumentError("not a JSON object")
    if _deeper_than(document, _DEEPEST):
        raise DocumentError("nested too deep")
    return document


def _deeper_than(document: object, levels: int) -> bool:
    level: list[object] = [document]
    for _ in range(levels):
        level = [
            child
            for parent in level
            for child in (
                parent.values() if isinstance(parent, dict) else parent if isinstance(parent, list) else ()
            )
        ]
        if not level:
            return False
    return True


def dump(value: object) -> str:
    """`value` as JSON text; exact numbers keep theirs."""
    if isinstance(value, ExactNumber):
        return value.text
    if isinstance(value, Mapping):
        return (
            "{" + ",".join(f"{json.dumps(k, ensure_ascii=False)}:{dump(v)}" for k, v in value.items()) + "}"
        )
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(dump, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


@dataclass(frozen=True, slots=True)
class Document:
    """A JSON object: the text it came in, and what it says (numbers as Python has them, for reading)."""

    text: str
    content: Mapping[str, Any]

    @classmethod
    def of(cls, text: str) -> "Document":
        """The document in `text`.

        Raises:
            DocumentError: not a JSON object.
        """
        try:
            content = _plain.decode(text)
        except (ValueError, RecursionError):
            raise DocumentError("malformed JSON") from None
        if not isinstance(content, dict):
            raise DocumentError("not a JSON object")
        return cls(text.strip(_WHITESPACE), content)


def with_members(text: str, **members: object) -> str:
    """The JSON object in `text` with further members at its end."""
    added = ",".join(f"{json.dumps(name)}:{dump(value)}" for name, value in members.items())
    body = text.rstrip(_WHITESPACE).removesuffix("}").rstrip(_WHITESPACE)
    return f"{body}{'' if body.endswith('{') else ','}{added}}}"


@dataclass(frozen=True, slots=True)
class BundlePage:
    """A page of a searchset: its matches, where the next page is, and when the server searched."""

    resources: list[Document]
    next_url: str | None
    as_of: str | None


def bundle_page(text: str) -> BundlePage:
    """Cuts a Bundle (FHIR R4) into its resources, each with the very text it has in there.

    Raises:
        DocumentError: not a Bundle, or not well-formed.
    """
    members: dict[str, Any] = {}
    resources: list[Document] = []
    try:
        cursor = _Cursor(text)
        for name in cursor.members():
            if name == "entry":
                resources = [found for _ in cursor.items() if (found := _match(cursor)) is not None]
            else:
                members[name] = cursor.value()
        links = {link["relation"]: link["url"] for link in members.get("link", ())}
        as_of = members.get("meta", {}).get("lastUpdated")
    except (ValueError, RecursionError, LookupError, TypeError, AttributeError):
        raise DocumentError("malformed Bundle") from None
    if members.get("resourceType") != "Bundle":
        raise DocumentError("not a Bundle")
    return BundlePage(resources, links.get("next"), as_of)


def _match(cursor: "_Cursor") -> Document | None:
    """The resource of the entry at `cursor`; None for what a server adds of its own (`outcome`)."""
    found: Document | None = None
    mode = "match"
    for name in cursor.members():
        start = cursor.at
        content = cursor.value()
        if name == "resource":
            found = Document(cursor.text[start : cursor.at], content)
        elif name == "search":
            mode = content.get("mode", mode)
    return found if mode == "match" else None


class _Cursor:
    """Walks through JSON text, parsing each value once. Inside a loop over `members` or `items` it stands
    at the value in question, which the loop's body must consume.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self._skip()

    def value(self) -> Any:
        """Consumes a value of any kind."""
        value, self.at = _plain.raw_decode(self.text, self.at)
        return value

    def members(self) -> Iterator[str]:
        """Consumes an object; its names."""
        self._take("{")
        more = not self._ended("}")
        while more:
            name = self.value()
            self._take(":")
            yield name
            more = self._continues("}")

    def items(self) -> Iterator[None]:
        """Consumes an array; once for each element."""
        self._take("[")
        more = not self._ended("]")
        while more:
            yield None
            more = self._continues("]")

    def _continues(self, closing: str) -> bool:
        if self._ended(closing):
            return False
        self._take(",")
        return True

    def _ended(self, closing: str) -> bool:
        self._skip()
        if self.text[self.at] != closing:
            return False
        self.at += 1
        return True

    def _take(self, character: str) -> None:
        self._skip()
        if self.text[self.at] != character:
            raise DocumentError("malformed JSON")
        self.at += 1
        self._skip()

    def _skip(self) -> None:
        while self.text[self.at] in _WHITESPACE:
            self.at += 1
