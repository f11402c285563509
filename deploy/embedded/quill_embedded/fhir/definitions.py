"""The search parameters that are served, and what each of them indexes in a resource."""

import hashlib
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Literal

from .dates import parse_time_range
from .outcome import InvalidRequestError, UnprocessableError
from .validation import FoundReference

# This many characters of a text are kept for searching.
INDEXED_LENGTH: Final = 200

_LITERAL_REFERENCE = re.compile(
    r"(?P<type>[A-Z][A-Za-z]+)/(?P<id>[A-Za-z0-9\-.]{1,64})(/_history/[A-Za-z0-9\-.]{1,64})?"
)

Resource = dict[str, Any]


@dataclass(frozen=True, slots=True)
class SearchParameter:
    """One search parameter of one type; ``values`` yields what a resource is found by.

    Strings yield the text, tokens ``(system, code)``, dates the FHIR text. References are indexed for every
    element alike, so a reference parameter names its element's path and the types it may point to.
    """

    name: str
    kind: Literal["string", "token", "date", "reference"]
    values: Callable[[Resource], Iterable[Any]] | None = None
    path: str = ""
    targets: tuple[str, ...] = ()


def _name_part(*parts: str) -> Callable[[Resource], Iterator[str]]:
    def values(resource: Resource) -> Iterator[str]:
        for name in resource.get("name", ()):
            for part in parts:
                value = name.get(part)
                if isinstance(value, str):
                    yield value
                elif value is not None:
                    yield from (item for item in value if item is not None)

    return values


def _identifiers(resource: Resource) -> Iterator[tuple[str | None, str]]:
    for identifier in resource.get("identifier", ()):
        if "value" in identifier:
            yield identifier.get("system"), identifier["value"]


def _coded(element: str, system: str | None) -> Callable[[Resource], Iterator[tuple[str | None, str]]]:
    def values(resource: Resource) -> Iterator[tuple[str | None, str]]:
        value = resource.get(element)
        if isinstance(value, bool):
            yield system, "true" if value else "false"
        elif value is not None:
            yield system, value

    return values


def _codings(element: str) -> Callable[[Resource], Iterator[tuple[str | None, str]]]:
    def values(resource: Resource) -> Iterator[tuple[str | None, str]]:
        for concept in resource.get(element, ()):
            for coding in concept.get("coding", ()):
                if "code" in coding:
                    yield coding.get("system"), coding["code"]

    return values


def _dated(element: str) -> Callable[[Resource], Iterator[str]]:
    def values(resource: Resource) -> Iterator[str]:
        if element in resource:
            yield resource[element]

    return values


_PEOPLE: Final = (
    "CareTeam",
    "Device",
    "Group",
    "HealthcareService",
    "Organization",
    "Patient",
    "Practitioner",
    "PractitionerRole",
    "RelatedPerson",
)


def _by_name(*parameters: SearchParameter) -> dict[str, SearchParameter]:
    return {parameter.name: parameter for parameter in parameters}


SEARCH_PARAMETERS: Final[dict[str, dict[str, SearchParameter]]] = {
    "Patient": _by_name(
        SearchParameter("identifier", "token", _identifiers),
        SearchParameter("name", "string", _name_part("family", "given", "prefix", "suffix", "text")),
        SearchParameter("family", "string", _name_part("family")),
        SearchParameter("given", "string", _name_part("given")),
        SearchParameter("birthdate", "date", _dated("birthDate")),
        SearchParameter("gender", "token", _coded("gender", "http://hl7.org/fhir/administrative-gender")),
        SearchParameter("active", "token", _coded("active", None)),
    ),
    "Communication": _by_name(
        SearchParameter("identifier", "token", _identifiers),
        SearchParameter("status", "token", _coded("status", "http://hl7.org/fhir/event-status")),
        SearchParameter("category", "token", _codings("category")),
        SearchParameter("sent", "date", _dated("sent")),
        SearchParameter("received", "date", _dated("received")),
        SearchParameter("subject", "reference", path="Communication.subject", targets=("Patient", "Group")),
        SearchParameter("patient", "reference", path="Communication.subject", targets=("Patient",)),
        SearchParameter("part-of", "reference", path="Communication.partOf"),
        SearchParameter("sender", "reference", path="Communication.sender", targets=_PEOPLE),
        SearchParameter("recipient", "reference", path="Communication.recipient", targets=_PEOPLE),
    ),
}


@dataclass(slots=True)
class IndexRows:
    """What one resource is found by, as columns ready for ``unnest``."""

    strings: list[tuple[str, str, str]] = field(default_factory=list)
    tokens: list[tuple[str, str | None, str]] = field(default_factory=list)
    dates: list[tuple[str, datetime, datetime]] = field(default_factory=list)
    references: list[tuple[str, str, str]] = field(default_factory=list)


def fold(text: str) -> str:
    """Fold case and accents away, as string searches compare (FHIR R4, search on string parameters)."""
    if text.isascii():
        return text.lower()[:INDEXED_LENGTH]
    decomposed = unicodedata.normalize("NFD", text)
    return "".join(c for c in decomposed if not unicodedata.combining(c)).casefold()[:INDEXED_LENGTH]


def indexed_token(text: str) -> str:
    """A token as it is kept and searched: exact, whatever its length, as an index takes no long values."""
    if len(text) <= INDEXED_LENGTH:
        return text
    return f"{text[:100]}…{hashlib.sha256(text.encode()).hexdigest()}"


def index_rows(
    resource_type: str, resource: Resource, references: Iterable[tuple[str, str, str]]
) -> IndexRows:
    """Collect the index rows of a validated resource; ``references`` come from ``resolve_references``."""
    rows = IndexRows(references=sorted(set(references)))
    for parameter in SEARCH_PARAMETERS[resource_type].values():
        if parameter.values is None:
            continue
        for value in parameter.values(resource):
            if parameter.kind == "string":
                rows.strings.append((parameter.name, fold(value), value))
            elif parameter.kind == "token":
                system, code = value
                rows.tokens.append((parameter.name, system and indexed_token(system), indexed_token(code)))
            else:
                try:
                    low, high = parse_time_range(value)
                except ValueError:
                    raise InvalidRequestError(
                        f"HAPI-1821: [element={resource_type}] Invalid date for {parameter.name}"
                    ) from None
                rows.dates.append((parameter.name, low, high))
    return rows


def split_reference(text: str, base_url: str = "") -> tuple[str, str] | None:
    """``Type/id`` of a literal reference, relative or under ``base_url``; None for another form."""
    match = _LITERAL_REFERENCE.fullmatch(text.removeprefix(base_url + "/") if base_url else text)
    return (match["type"], match["id"]) if match else None


def resolve_references(found: Iterable[FoundReference]) -> list[tuple[str, str, str]]:
    """Turn literal references into ``(path, type, id)``; the targets must then exist here.

    Contained (``#id``) references stay as they are. Like HAPI it takes an absolute address for another
    server, also one under its own base.

    Raises:
        InvalidRequestError: the reference points to another server or is no reference at all.
        UnprocessableError: it points to a type that the element does not allow.
    """
    resolved: list[tuple[str, str, str]] = []
    for item in found:
        if item.reference.startswith("#"):
            continue
        target = split_reference(item.reference)
        if target is None:
            if "://" in item.reference:
                raise InvalidRequestError(
                    f"HAPI-0507: Resource contains external reference in {item.path} "
                    "but this server is not configured to allow external references"
                )
            raise InvalidRequestError(
                f"HAPI-0505: Invalid resource reference found at path[{item.path}] - "
                "Does not contain resource type"
            )
        if (
            item.allowed_types
            and "Resource" not in item.allowed_types
            and target[0] not in item.allowed_types
        ):
            raise UnprocessableError(
                f"HAPI-0931: Invalid reference found at path '{item.path}'. "
                f"Resource type '{target[0]}' is not valid for this path"
            )
        resolved.append((item.path, *target))
    return resolved
