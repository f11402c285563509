"""Between Quill's flat demographics and the FHIR Patient (contract, section 7). Pure functions.

What changes a resource copies what it changes and leaves every other element as it is (fault 6).
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Final

from ..domain import (
    NHS_NUMBER_SYSTEM,
    Gender,
    Identity,
    InvalidValueError,
    avatar_gradient,
    nhs_number,
)
from .client import Criteria

AVATAR_URL: Final = "urn:quillmedical:avatar-gradient"

_ISO_DATE: Final = re.compile(r"\d{4}-\d{2}-\d{2}")
_SPECIAL: Final = re.compile(r"([\\,|$])")

Resource = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Address:
    """A postal address; None is not given."""

    line: Sequence[str] | None = None
    city: str | None = None
    state: str | None = None
    postal_code: str | None = None
    country: str | None = None


@dataclass(frozen=True, slots=True)
class Contact:
    """How to reach someone; None is not given."""

    phone: str | None = None
    email: str | None = None


@dataclass(frozen=True, slots=True)
class Demographics:
    """What is to be set; None leaves what is there. `elements` are whole FHIR elements by name."""

    given_name: str | None = None
    family_name: str | None = None
    born: date | None = None
    gender: Gender | None = None
    nhs_number: str | None = None
    mrn: str | None = None
    address: Address | None = None
    contact: Contact | None = None
    elements: Mapping[str, Any] | None = None


def new_patient(patient_id: str, given: Demographics, *, mrn_system: str) -> Resource:
    """The resource of a patient registered here."""
    blank: Resource = {
        "resourceType": "Patient",
        "id": patient_id,
        "extension": [{"url": AVATAR_URL, "valueInteger": avatar_gradient(patient_id)}],
        "active": True,
    }
    return changed(blank, given, mrn_system=mrn_system)


def changed(resource: Resource, given: Demographics, *, mrn_system: str) -> Resource:
    """`resource` with what is given set, and nothing else touched."""
    after = dict(resource)
    if given.given_name is not None or given.family_name is not None:
        after["name"] = _with_name(after.get("name", ()), given.given_name, given.family_name)
    if given.born is not None:
        _set(after, "birthDate", given.born.isoformat())
    if given.gender is not None:
        _set(after, "gender", given.gender.value)
    if given.nhs_number is not None:
        after["identifier"] = _with_identifier(
            after.get("identifier", ()), NHS_NUMBER_SYSTEM, given.nhs_number
        )
    if given.mrn is not None:
        after["identifier"] = _with_identifier(after.get("identifier", ()), mrn_system, given.mrn)
    if given.address is not None:
        after["address"] = _with_address(after.get("address", ()), given.address)
    if given.contact is not None:
        after["telecom"] = _with_contact(after.get("telecom", ()), given.contact)
    for name, element in (given.elements or {}).items():
        _set(after, name, element)
    for element in ("address", "telecom"):
        if not after.get(element, True):
            del after[element]
    return _with_one_avatar(after)


def _set(resource: Resource, name: str, value: Any) -> None:
    """Sets an element; the extensions of the primitive value it had belonged to that value."""
    resource.pop(f"_{name}", None)
    resource[name] = value


def _with_name(names: Sequence[Resource], given: str | None, family: str | None) -> list[Resource]:
    """The official name with one half or both replaced. Its `text` said the old name and goes."""
    after = [dict(name) for name in names]
    position = _preferred(after, "official")
    if position is None:
        after.append({"use": "official"})
        position = len(after) - 1
    name = after[position]
    name.pop("text", None)
    name.pop("_text", None)
    if family is not None:
        _set(name, "family", family)
    if given is not None:
        _set(name, "given", given.split())
    return after


def _preferred(elements: Sequence[Resource], use: str) -> int | None:
    """The position of the one in use for `use`, else of the first that is not out of use."""
    current = [n for n, element in enumerate(elements) if element.get("use") not in ("old", "temp")]
    for n in current:
        if elements[n].get("use") == use and "end" not in elements[n].get("period", {}):
            return n
    return current[0] if current else None


def _with_identifier(identifiers: Sequence[Resource], system: str, value: str) -> list[Resource]:
    after = [dict(identifier) for identifier in identifiers]
    for identifier in after:
        if identifier.get("system") == system and identifier.get("use") != "old":
            _set(identifier, "value", value)
            return after
    return [*after, {"system": system, "value": value}]


def _with_address(addresses: Sequence[Resource], given: Address) -> list[Resource]:
    after = [dict(address) for address in addresses]
    position = _preferred(after, "home")
    if position is None:
        after.append({"use": "home"})
        position = len(after) - 1
    address = after[position]
    parts = {
        "line": list(given.line) if given.line is not None else None,
        "city": given.city,
        "state": given.state,
        "postalCode": given.postal_code,
        "country": given.country,
    }
    stated = {name: value for name, value in parts.items() if value}
    if stated:
        address.pop("text", None)
        address.pop("_text", None)
    for name, value in stated.items():
        _set(address, name, value)
    return [each for each in after if each.keys() - {"use"}]


def _with_contact(points: Sequence[Resource], given: Contact) -> list[Resource]:
    after = [dict(point) for point in points]
    for system, value in (("phone", given.phone), ("email", given.email)):
        if value is None:
            continue
        for point in after:
            if point.get("system") == system and point.get("use") != "old":
                _set(point, "value", value)
                break
        else:
            after.append({"system": system, "value": value})
    return after


def _with_one_avatar(resource: Resource) -> Resource:
    """Mends a record in which a client appended the avatar again and again (hazard 0014)."""
    extensions = resource.get("extension", [])
    avatars = [n for n, each in enumerate(extensions) if each.get("url") == AVATAR_URL]
    if len(avatars) > 1:
        own = {"url": AVATAR_URL, "valueInteger": avatar_gradient(resource["id"])}
        resource["extension"] = [
            own if n == avatars[0] else each for n, each in enumerate(extensions) if n not in avatars[1:]
        ]
    return resource


def with_active(resource: Resource, *, active: bool) -> Resource:
    """`resource` in use or out of use."""
    after = dict(resource)
    _set(after, "active", active)
    return after


def replacing(current: Resource, received: Resource) -> Resource:
    """`received` in the place of `current`; version and time are the server's to set."""
    meta = {k: v for k, v in received.get("meta", {}).items() if k not in ("versionId", "lastUpdated")}
    kept = {k: v for k, v in received.items() if k != "meta"}
    return {**kept, "meta": meta, "id": current["id"]} if meta else {**kept, "id": current["id"]}


def with_id(received: Resource, patient_id: str) -> Resource:
    """`received` as a new resource under `patient_id`."""
    return {"resourceType": "Patient", "id": patient_id, **replacing({"id": patient_id}, received)}


def nhs_numbers(resource: Mapping[str, Any]) -> frozenset[str]:
    """The NHS numbers of a resource."""
    return frozenset(
        identifier["value"]
        for identifier in resource.get("identifier", ())
        if identifier.get("system") == NHS_NUMBER_SYSTEM and isinstance(identifier.get("value"), str)
    )


def identity(resource: Mapping[str, Any]) -> Identity:
    """What people recognise the patient by."""
    names = resource.get("name", ())
    position = _preferred(names, "official")
    name = names[position] if position is not None else {}
    try:
        born = date.fromisoformat(resource.get("birthDate", ""))
    except ValueError:
        born = None
    given = [part for part in name.get("given", ()) if part is not None]
    return Identity(" ".join(given), name.get("family", ""), born)


def token(system: str, value: str) -> str:
    """A token search value (FHIR R4, search, token)."""
    return f"{_escaped(system)}|{_escaped(value)}"


def _escaped(text: str) -> str:
    return _SPECIAL.sub(r"\\\1", text)


def searches_for(typed: str, *, mrn_system: str) -> list[Criteria]:
    """What to search for when a person typed `typed`: a patient found by any of these is meant.

    An NHS number, a date of birth (ISO 8601), a medical record number, or a name: its parts in any
    order, or a family name of several words.
    """
    text = " ".join(typed.split())
    try:
        number = nhs_number(text)
    except InvalidValueError:
        number = None
    if number is not None:
        return [[("identifier", f"{token(NHS_NUMBER_SYSTEM, number)},{token(mrn_system, text)}")]]
    if _ISO_DATE.fullmatch(text):
        return [[("birthdate", text)]] if _is_date(text) else []
    return list(_name_searches(text, mrn_system))


def _is_date(text: str) -> bool:
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True


def _name_searches(text: str, mrn_system: str) -> Iterator[Criteria]:
    if any(character.isdigit() for character in text):
        yield [("identifier", token(mrn_system, text))]
    words = [_escaped(word) for word in text.split()]
    yield [("name", word) for word in words]
    if len(words) > 1:
        yield [("family", _escaped(text))]
        yield [("given", words[0]), ("family", " ".join(words[1:]))]
