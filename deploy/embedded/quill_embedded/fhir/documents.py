"""Reading and writing resources as JSON without changing what was received.

A FHIR decimal keeps its precision (``1.10`` is not ``1.1``; FHIR R4, JSON representation of decimals), so
numbers keep the text they came with. A resource is stored as received plus its id and meta.
"""

import hashlib
import json
from datetime import datetime
from decimal import Decimal
from typing import Any, NoReturn

import orjson

from .outcome import InvalidRequestError

_LARGEST_EXPONENT = 400
_DIGITS_OF_INT64 = 18


class ExactNumber(Decimal):
    """A JSON number that is written back with the very text it was read from."""

    text: str

    def __new__(cls, text: str) -> "ExactNumber":
        number = super().__new__(cls, text)
        if abs(number.adjusted()) > _LARGEST_EXPONENT:
            raise ValueError("number out of range")
        number.text = text
        return number


def _integer(text: str) -> int | ExactNumber:
    return int(text) if len(text) <= _DIGITS_OF_INT64 else ExactNumber(text)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_decoder = json.JSONDecoder(parse_float=ExactNumber, parse_int=_integer, parse_constant=_refuse_constant)


def parse_resource(body: bytes) -> dict[str, Any]:
    """Parse a request body into a JSON object.

    Raises:
        InvalidRequestError: it is not UTF-8, not JSON or not an object. The text never quotes the body.
    """
    try:
        parsed = _decoder.decode(body.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        where = (
            f" at line {error.lineno}, column {error.colno}"
            if isinstance(error, json.JSONDecodeError)
            else ""
        )
        raise InvalidRequestError(
            "HAPI-0450: Failed to parse request body as JSON resource. Error was: "
            f"HAPI-1861: Failed to parse JSON encoded FHIR content: malformed JSON{where}"
        ) from None
    if not isinstance(parsed, dict):
        raise InvalidRequestError(
            "HAPI-0450: Failed to parse request body as JSON resource. Error was: "
            "HAPI-1861: Failed to parse JSON encoded FHIR content: "
            "HAPI-1859: Content does not appear to be FHIR JSON, the first character must be '{'"
        )
    return parsed


def _encode_other(value: object) -> orjson.Fragment:
    if isinstance(value, ExactNumber):
        return orjson.Fragment(value.text)
    raise TypeError(type(value).__name__)


def dump(document: object) -> bytes:
    """Write JSON; exact numbers keep their text, ``orjson.Fragment`` parts are inserted as they are."""
    return orjson.dumps(document, default=_encode_other)


def content_digest(resource: dict[str, Any]) -> bytes:
    """Digest of what the client said, without what the server assigns (id, version, time).

    Equal digests mean that an update changes nothing and makes no version.
    """
    content = {key: value for key, value in resource.items() if key != "id"}
    meta = {
        key: value
        for key, value in content.pop("meta", {}).items()
        if key not in ("versionId", "lastUpdated")
    }
    if meta:
        content["meta"] = meta
    return hashlib.sha256(orjson.dumps(content, default=_encode_other, option=orjson.OPT_SORT_KEYS)).digest()


def with_labels_of(resource: dict[str, Any], earlier: dict[str, Any]) -> dict[str, Any]:
    """The resource with the tags and security labels of its earlier version added to its own.

    HAPI keeps them until they are removed by an operation of their own (FHIR R4, resource, tags on update).
    """
    before = earlier.get("meta", {})
    meta = dict(resource.get("meta", {}))
    for name in ("security", "tag"):
        own = meta.get(name, [])
        stated = {(label.get("system"), label.get("code")) for label in own}
        kept = [
            label for label in before.get(name, []) if (label.get("system"), label.get("code")) not in stated
        ]
        if kept:
            meta[name] = [*kept, *own]
    return {**resource, "meta": meta} if meta else resource


def instant(moment: datetime) -> str:
    """Write a UTC time as HAPI writes ``meta.lastUpdated``: milliseconds and ``+00:00``."""
    return moment.isoformat(timespec="milliseconds")


def stamped(resource: dict[str, Any], resource_id: str, *, version: int, updated: datetime) -> str:
    """The text to store: the resource as received, with its id, version and time set."""
    meta = {**resource.get("meta", {}), "versionId": str(version), "lastUpdated": instant(updated)}
    document = {"resourceType": resource["resourceType"], "id": resource_id, "meta": meta}
    document.update(
        (key, value) for key, value in resource.items() if key not in ("resourceType", "id", "meta")
    )
    return dump(document).decode()
