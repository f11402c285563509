"""A thin client for the cases, and how they read answers."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlencode

import httpx

from ..servers import Server

JSON: Final = "application/fhir+json"
FRESH: Final = {"Cache-Control": "no-cache"}
_FORM: Final = {"Content-Type": "application/x-www-form-urlencoded"}

Resource = dict[str, Any]
Parameters = Sequence[tuple[str, str]]


class FhirClient:
    """The interactions Quill uses, one method each; `http` is there for what is out of the ordinary."""

    def __init__(self, http: httpx.AsyncClient, server: Server) -> None:
        self.http = http
        self.server = server
        self.base = server.url

    async def put(self, resource: Resource, **headers: str) -> httpx.Response:
        return await self.put_text(
            f"{resource['resourceType']}/{resource['id']}", json.dumps(resource), **headers
        )

    async def put_text(self, path: str, text: str | bytes, **headers: str) -> httpx.Response:
        given = {"Content-Type": JSON, **_names(headers)}
        return await self.http.put(f"/{path}", content=text, headers=given)

    async def post(self, resource: Resource, **headers: str) -> httpx.Response:
        given = {"Content-Type": JSON, **_names(headers)}
        return await self.http.post(
            f"/{resource['resourceType']}", content=json.dumps(resource), headers=given
        )

    async def get(self, path: str, **headers: str) -> httpx.Response:
        return await self.http.get(f"/{path}", headers=_names(headers))

    async def delete(self, path: str, **headers: str) -> httpx.Response:
        return await self.http.delete(f"/{path}", headers=_names(headers))

    async def search(
        self, parameters: Parameters, *, resource_type: str = "Patient", headers: Mapping[str, str] = FRESH
    ) -> httpx.Response:
        """By POST, as Quill does: what is searched for stays out of addresses."""
        return await self.http.post(
            f"/{resource_type}/_search", content=urlencode(parameters), headers={**_FORM, **headers}
        )

    async def found(self, *parameters: tuple[str, str], resource_type: str = "Patient") -> list[str]:
        """The ids that a fresh search finds, in the order of the answer."""
        answer = await self.search(parameters, resource_type=resource_type)
        assert answer.status_code == 200, answer.text
        return ids(answer)


def _names(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}


def patient(patient_id: str, **elements: Any) -> Resource:
    return {"resourceType": "Patient", "id": patient_id, **elements}


def communication(communication_id: str, **elements: Any) -> Resource:
    return {"resourceType": "Communication", "id": communication_id, "status": "completed", **elements}


def ids(answer: httpx.Response) -> list[str]:
    """The ids of the matches of a searchset, in order."""
    bundle = answer.json()
    assert (bundle["resourceType"], bundle["type"]) == ("Bundle", "searchset")
    return [entry["resource"]["id"] for entry in bundle.get("entry", ())]


def link(answer: httpx.Response, relation: str) -> str | None:
    """The address of a link of a Bundle."""
    found = [each["url"] for each in answer.json().get("link", ()) if each["relation"] == relation]
    return found[0] if found else None


def codes(answer: httpx.Response) -> set[str]:
    """HAPI's message codes in an OperationOutcome, which every refusal must be."""
    outcome = answer.json()
    assert outcome["resourceType"] == "OperationOutcome", answer.text
    assert answer.headers["content-type"].startswith(JSON)
    assert {issue["severity"] for issue in outcome["issue"]} == {"error"}
    return set(re.findall(r"HAPI-\d{4}", " ".join(issue["diagnostics"] for issue in outcome["issue"])))


def version(answer: httpx.Response) -> int:
    """The version an answer speaks of, which its ETag, its address and its content agree on."""
    match = re.fullmatch(r'W/"(\d+)"', answer.headers["etag"])
    assert match is not None
    assert answer.headers["content-location"].endswith(f"/_history/{match[1]}")
    assert answer.json()["meta"]["versionId"] == match[1]
    return int(match[1])
