"""Every documented route, by every kind of caller, through the gateway: nobody gets a 5xx, and who is not
signed in gets a 401. What each may do is tested route by route in tests/callers.
"""

import re
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from .support import Stack

CALLERS = ("", "patient", "external", "receptionist", "gp", "consultant", "admin", "superadmin")
# These end the caller's sessions, and have tests of their own.
ENDING = {"/api/auth/logout", "/api/auth/logout-all", "/api/auth/sessions/{sid}"}
NOBODY = {"{key}": "nothing", "{feature_key}": "nothing"}


@pytest.fixture(scope="module")
def document(stack: Stack) -> dict[str, Any]:
    found: dict[str, Any] = httpx.get(f"{stack.url}/api/openapi.json").json()
    return found


@dataclass(frozen=True)
class Operation:
    """One method of a documented path."""

    method: str
    path: str
    public: bool
    takes_body: bool

    def request(self, patient_id: str) -> httpx.Request:
        """A call that changes nothing, whoever makes it: it goes as far as the body, where that holds an
        unknown field, and where there is none it is about a patient, account or organisation nobody knows.
        """
        known = patient_id if self.method == "GET" or self.takes_body else "nobody"
        parent = ""
        segments = []
        for segment in self.path.split("/"):
            patients = parent in ("patients", "Patient") or segment == "{patient_id}"
            value = known if patients else NOBODY.get(segment, "987654321")
            segments.append(value if segment.startswith("{") else segment)
            parent = segment
        path = "/".join(segments)
        if self.takes_body:
            return httpx.Request(self.method, f"http://quill{path}", json={"unknown field": 1})
        return httpx.Request(self.method, f"http://quill{path}")


def operations(document: dict[str, Any]) -> list[Operation]:
    return [
        Operation(method.upper(), path, operation.get("security") == [], "requestBody" in operation)
        for path, item in document["paths"].items()
        for method, operation in item.items()
    ]


@pytest.mark.parametrize("username", CALLERS)
def test_no_route_fails_whoever_calls(stack: Stack, document: dict[str, Any], username: str) -> None:
    headers = stack.bearer(username) if username else {}
    wrong = []
    with httpx.Client(timeout=20) as client:
        for operation in operations(document):
            if username and operation.path in ENDING:
                continue
            for patient_id in ("demo-01", "demo-02", "nobody"):
                request = operation.request(patient_id)
                answer = client.request(
                    request.method,
                    f"{stack.url}{request.url.raw_path.decode()}",
                    content=request.content,
                    headers={**headers, "Content-Type": "application/json"} if request.content else headers,
                )
                let_in = bool(username) or operation.public
                if answer.status_code >= 500 or not (let_in or answer.status_code == 401):
                    wrong.append(
                        f"{request.method} {request.url.path}: {answer.status_code} {answer.text[:200]}"
                    )
    assert wrong == []


def test_the_document_covers_all_that_exists(document: dict[str, Any]) -> None:
    assert len(operations(document)) > 50
    assert {
        tag for _, item in document["paths"].items() for each in item.values() for tag in each["tags"]
    } >= {
        "gateway",
        "auth",
        "patients",
        "orgs",
    }


@pytest.mark.parametrize("path", ["/api/docs", "/api/redoc"])
def test_documentation_comes_with_its_own_assets(stack: Stack, path: str) -> None:
    page = httpx.get(f"{stack.url}{path}")
    assert page.status_code == 200
    links = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert links
    for link in links:
        assert link.startswith("/api/docs/assets/"), link
        assert httpx.get(f"{stack.url}{link}").status_code == 200


@pytest.mark.parametrize("path", ["/internal/users/1", "/api/../internal/users/1", "/api/internal/users/1"])
def test_internal_routes_are_not_to_be_had(stack: Stack, path: str) -> None:
    with httpx.Client(base_url=stack.url, headers=stack.bearer("superadmin")) as client:
        request = client.build_request("GET", stack.url + "/")
        request.extensions["target"] = path.encode()
        assert client.send(request).status_code in (400, 404)
