"""FHIR Patients out of a file: NDJSON, one resource per line, or a Bundle.

What a line holds is handed on byte for byte. A Bundle's entries are written out again with their numbers
as they were typed: a decimal keeps its digits (FHIR R4, data type decimal).
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, Final

from .errors import CommandError

_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Record:
    """One line of the file, or one entry of the Bundle, counted from 1.

    `fault` says why it is no resource at all; otherwise `type` and `id` are the resource's own, empty
    where it has none.
    """

    number: int
    content: bytes = b""
    type: str = ""
    id: str = ""
    fault: str = ""

    def with_id(self, id: str) -> bytes:
        """The content under another id, and otherwise as it is."""
        return _written({**_parsed(self.content), "id": id}).encode()


def read(file: BinaryIO) -> Iterator[Record]:
    """The records in `file`, one after the other; NDJSON is never held as a whole.

    Raises:
        CommandError: a JSON document that is neither a resource nor a Bundle.
    """
    first = file.readline().removeprefix(_BYTE_ORDER_MARK)
    number = 1
    while first and not first.strip():
        first = file.readline()
        number += 1
    if not first:
        return
    document = _parsed(first)
    rest: Iterable[bytes] = file
    if document is None:
        # Either a broken line of NDJSON, or a document that was written over several lines.
        text = file.read()
        document = _parsed(first + text)
        rest = text.splitlines()
        if isinstance(document, dict) and document.get("resourceType") != "Bundle":
            yield _record(1, document)
            return
    if isinstance(document, list):
        raise CommandError("The file is a JSON array; wanted are NDJSON, one Patient per line, or a Bundle.")
    if isinstance(document, dict) and document.get("resourceType") == "Bundle":
        yield from _entries(document)
        return
    yield _line(number, first)
    for later, line in enumerate(rest, number + 1):
        if line.strip():
            yield _line(later, line)


def count(file: BinaryIO) -> int | None:
    """How many records there are, as far as that is quickly known: for NDJSON that can be read twice."""
    if not file.seekable():
        return None
    first = file.readline()
    document = _parsed(first)
    is_lines = isinstance(document, dict) and document.get("resourceType") != "Bundle"
    lines = 1 + sum(1 for line in file if line.strip()) if is_lines else None
    file.seek(0)
    return lines


def _entries(bundle: dict[str, Any]) -> Iterator[Record]:
    entries = bundle.get("entry") or []
    if not isinstance(entries, list):
        raise CommandError("The Bundle's `entry` is not a list.")
    for number, entry in enumerate(entries, 1):
        resource = entry.get("resource") if isinstance(entry, dict) else None
        if isinstance(resource, dict):
            yield _record(number, resource)
        else:
            yield Record(number, fault="the entry has no resource")


def _line(number: int, line: bytes) -> Record:
    content = line.strip()
    try:
        document = json.loads(content.decode("utf-8"))
    except UnicodeDecodeError:
        return Record(number, fault="not UTF-8")
    except (ValueError, RecursionError):
        return Record(number, fault="not JSON")
    if not isinstance(document, dict):
        return Record(number, fault="not a JSON object")
    return Record(number, content, _text(document, "resourceType"), _text(document, "id"))


def _record(number: int, resource: dict[str, Any]) -> Record:
    return Record(number, _written(resource).encode(), _text(resource, "resourceType"), _text(resource, "id"))


def _text(document: dict[str, Any], name: str) -> str:
    value = document.get(name)
    return value if isinstance(value, str) else ""


class _Number:
    """A number as it was typed."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text


def _parsed(text: bytes) -> Any:
    try:
        return json.loads(text.decode("utf-8-sig"), parse_float=_Number, parse_int=_Number)
    except (ValueError, RecursionError):
        return None


def _written(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ",".join(f"{json.dumps(name)}:{_written(each)}" for name, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(_written(each) for each in value) + "]"
    return value.text if isinstance(value, _Number) else json.dumps(value)
