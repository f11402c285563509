"""The calls that are timed: a Patient read, created and searched for, of HAPI and of Quill."""

import http.client
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from .backends_stack import Stack

__all__ = ["KINDS", "Answer", "compare"]

KINDS: Final = ("read", "create", "search")
_TYPE: Final = "application/fhir+json"
_WARM_UP: Final = 150
_FAMILIES: Final = 25
_PAGE: Final = 10


@dataclass(frozen=True)
class Answer:
    """How long a call took, and what came."""

    seconds: float
    document: Any


class Line:
    """A connection that is kept open, with little between the socket and the clock."""

    def __init__(self, url: str, headers: Mapping[str, str]) -> None:
        parts = urlsplit(url)
        self._connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=30)
        self._root = parts.path
        self._headers = {"Accept": _TYPE, **headers}

    def call(self, method: str, path: str, document: Any = None) -> Answer:
        """One call.

        Raises:
            RuntimeError: the answer was no success: then nothing was measured.
        """
        body = json.dumps(document).encode() if document is not None else None
        headers = {**self._headers, **({"Content-Type": _TYPE} if body else {})}
        began = time.perf_counter()
        self._connection.request(method, f"{self._root}{path}", body, headers)
        response = self._connection.getresponse()
        text = response.read()
        seconds = time.perf_counter() - began
        if response.status not in (200, 201):
            raise RuntimeError(f"{method} {self._root}{path}: {response.status} {text[:300]!r}")
        return Answer(seconds, json.loads(text))


def compare(stack: Stack, calls: int) -> dict[tuple[str, bool], list[Answer]]:
    """Times every kind of call, by turns to HAPI and through Quill, after a warm-up."""
    # HAPI reuses what it found for a minute, unless told otherwise; Quill tells it.
    direct = Line(stack.fhir_url, {"Cache-Control": "no-cache"})
    through = Line(f"{stack.url}/api/fhir", {"Authorization": f"Bearer {stack.token()}"})
    results: dict[tuple[str, bool], list[Answer]] = {
        (kind, way): [] for kind in KINDS for way in (False, True)
    }
    known: list[str] = []
    for number in range(-_WARM_UP, calls):
        for way in _turns(number):
            line = through if way else direct
            made = line.call("POST", "/Patient", _patient(number, way))
            if way:
                known.append(made.document["id"])
            _keep(results["create", way], made, number)
    for kind in ("read", "search"):
        for number in range(-_WARM_UP, calls):
            path = (
                f"/Patient/{known[number % len(known)]}"
                if kind == "read"
                else f"/Patient?family=Bench{number % _FAMILIES}&_count={_PAGE}"
            )
            for way in _turns(number):
                _keep(results[kind, way], (through if way else direct).call("GET", path), number)
    for found in results["search", True] + results["search", False]:
        if len(found.document["entry"]) != _PAGE:
            raise RuntimeError("a search did not find what it should")
    return results


def _turns(number: int) -> tuple[bool, bool]:
    """Who is first: each as often as the other."""
    return (False, True) if number % 2 else (True, False)


def _keep(answers: list[Answer], answer: Answer, number: int) -> None:
    if number >= 0:
        answers.append(answer)


def _patient(number: int, way: bool) -> dict[str, Any]:
    """A Patient of ordinary size; everybody is born on another day, as lookalikes cost Quill a look."""
    who = (number + _WARM_UP) * 2 + way
    return {
        "resourceType": "Patient",
        "identifier": [{"system": "http://bench.example.org/number", "value": str(who)}],
        "name": [{"use": "official", "family": f"Bench{who % _FAMILIES}", "given": ["Ada", f"N{who}"]}],
        "telecom": [{"system": "phone", "value": "555-0100", "use": "home"}],
        "gender": "female",
        "birthDate": f"{1930 + who // 336 % 80}-{who // 28 % 12 + 1:02}-{who % 28 + 1:02}",
        "address": [{"line": ["1 Nowhere Lane"], "city": "Holm", "postalCode": "ZZ1 1ZZ", "country": "GB"}],
    }
