"""A small server that answers as Quill's public API does, as far as the command speaks with it."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qs

import httpx

from quill_cli.api import Api, Credentials, api

URL = "http://quill.example"
PASSWORD = "orchard-linen-4711"

Answer = httpx.Response | Exception


class FakeQuill:
    """Patients by id, members of one organisation, and what to answer before anything else.

    `trouble` holds answers that are given first, one per call to the route whose path it is.
    """

    def __init__(self) -> None:
        self.patients: dict[str, bytes] = {}
        self.members: set[str] = set()
        self.organisations: list[dict[str, Any]] = [{"id": 7, "name": "Ward 4"}]
        self.trouble: dict[str, list[Answer]] = {}
        self.calls: list[tuple[str, str]] = []
        self.tokens = 0
        self.outdated: set[str] = set()
        self.refused: Callable[[dict[str, Any]], str] = lambda patient: ""

    def __call__(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path
        self.calls.append((request.method, path))
        planned = self.trouble.get(path)
        if planned:
            answer = planned.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return answer
        if path == "/api/auth/token":
            return self._token(request)
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if not token.startswith("token-") or token in self.outdated:
            return problem(401, "Invalid token", "invalid_token")
        if path == "/api/organizations":
            return httpx.Response(200, json={"organizations": self.organisations, "next_cursor": None})
        if path == "/api/organizations/7/patients":
            return self._join(request)
        if path.startswith("/api/fhir/Patient/"):
            return self._patient(request, path.rpartition("/")[2])
        return problem(404, "Not Found", "not_found")

    def _token(self, request: httpx.Request) -> httpx.Response:
        form = parse_qs(request.content.decode())
        if form["grant_type"] == ["password"] and form["password"] != [PASSWORD]:
            return httpx.Response(
                400, json={"error": "invalid_grant", "error_description": "Invalid credentials"}
            )
        self.tokens += 1
        return httpx.Response(
            200,
            json={
                "access_token": f"token-{self.tokens}",
                "refresh_token": f"refresh-{self.tokens}",
                "token_type": "bearer",
                "expires_in": 900,
            },
        )

    def _patient(self, request: httpx.Request, patient_id: str) -> httpx.Response:
        if request.method == "GET":
            return httpx.Response(200, content=self.patients[patient_id])
        assert request.headers["If-None-Match"] == "*"
        assert request.headers["Content-Type"] == "application/fhir+json"
        document = json.loads(request.content)
        if document.get("id") != patient_id:
            return outcome(400, "The id in the resource is not the one in the address")
        reason = self.refused(document)
        if reason:
            return outcome(422, reason)
        if patient_id in self.patients:
            return outcome(412, "The patient exists")
        for known, content in self.patients.items():
            if set(numbers(document)) & set(numbers(json.loads(content))):
                return outcome(409, "Patient already exists", existing=known)
        self.patients[patient_id] = request.content
        return httpx.Response(201, content=request.content)

    def _join(self, request: httpx.Request) -> httpx.Response:
        patient_id = json.loads(request.content)["patient_id"]
        if patient_id in self.members:
            return problem(409, "Patient is already a member of this organisation", "already_member")
        self.members.add(patient_id)
        return httpx.Response(200, json={"organisation_id": 7, "patient_id": patient_id})

    @asynccontextmanager
    async def api(
        self, credentials: Credentials | None = None, *, patience: float = 5.0
    ) -> AsyncIterator[Api]:
        """A caller of this server."""
        who = credentials or Credentials("admin", PASSWORD)
        async with api(URL, who, patience=patience, transport=httpx.MockTransport(self)) as caller:
            yield caller


def numbers(patient: dict[str, Any]) -> list[str]:
    """The NHS numbers of a FHIR Patient."""
    return [
        each["value"]
        for each in patient.get("identifier", ())
        if each.get("system") == "https://fhir.nhs.uk/Id/nhs-number"
    ]


def problem(status: int, detail: str, code: str, **headers: str) -> httpx.Response:
    """A problem document."""
    return httpx.Response(status, json={"detail": detail, "error_code": code}, headers=headers)


def outcome(status: int, text: str, *, existing: str = "") -> httpx.Response:
    """An OperationOutcome, naming the patient there is already where Quill does."""
    issue: dict[str, Any] = {
        "severity": "error",
        "code": "invalid",
        "details": {"text": text},
        "diagnostics": "trace 0123",
    }
    if existing:
        reference = {"reference": f"Patient/{existing}"}
        issue["extension"] = [{"url": "urn:quillmedical:existing-patient", "valueReference": reference}]
    return httpx.Response(status, json={"resourceType": "OperationOutcome", "issue": [issue]})
