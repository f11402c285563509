"""FHIR down, slow, not ready or wrong: never an empty list that looks like no patients."""

from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from quill_shared.platform.testing.services import RunningService

Register = Callable[..., Awaitable[dict[str, Any]]]
NOT_READY = {"patients": [], "fhir_ready": False, "next_cursor": None}


@pytest.fixture
def fhir_deadline() -> float:
    """Short, as nobody waits here."""
    return 0.5


async def test_fhir_down_is_said_and_mends_itself(
    patients: RunningService,
    nurse: dict[str, str],
    admin: dict[str, str],
    register: Register,
    proxy: Any,
    eventually: Any,
) -> None:
    patient_id = (await register())["id"]
    await proxy.stop()

    for query in ("", "?q=byron", "?limit=1", "?include_inactive=true"):
        listed = await patients.client.get(f"/api/patients{query}", headers=nurse)
        assert (listed.status_code, listed.json()) == (200, NOT_READY)
    empty = await patients.client.get("/api/patients", headers=admin)
    assert empty.json() == NOT_READY, "no patients of one's own is not said while nobody can know"
    for method, path, body in (
        ("GET", f"/api/patients/{patient_id}", None),
        ("GET", f"/api/patients/{patient_id}/demographics", None),
        ("PATCH", f"/api/patients/{patient_id}", {"gender": "other"}),
        ("POST", "/api/patients", {"given_name": "A", "family_name": "B"}),
        ("GET", "/api/fhir/Patient", None),
    ):
        answer = await patients.client.request(method, path, json=body, headers=nurse)
        assert answer.status_code == 503, path
        assert int(answer.headers["retry-after"]) > 0
    ready = (await patients.client.get("/health/ready")).json()
    assert ready["upstreams"] == {"fhir": {"available": False}}

    await proxy.start()

    async def recovered() -> bool:
        answer = await patients.client.get("/api/patients", headers=nurse)
        return [each["id"] for each in answer.json()["patients"]] == [patient_id]

    await eventually(recovered)
    assert len(await patients.recorded("patients.patient.created.v1")) == 1, (
        "nothing was registered meanwhile"
    )


async def test_a_slow_fhir_is_not_ready(
    patients: RunningService, nurse: dict[str, str], register: Register, proxy: Any
) -> None:
    patient_id = (await register())["id"]
    proxy.before = lambda method, path: proxy.HANG

    listed = await patients.client.get("/api/patients", headers=nurse)
    read = await patients.client.get(f"/api/patients/{patient_id}", headers=nurse)

    assert listed.json() == NOT_READY
    assert read.status_code == 504


@pytest.mark.parametrize(
    ("status", "listed", "read"),
    [(503, 200, 503), (502, 502, 502), (500, 502, 502), (404, 502, 404), (401, 502, 502)],
)
async def test_other_faults_are_errors(
    patients: RunningService,
    nurse: dict[str, str],
    register: Register,
    proxy: Any,
    status: int,
    listed: int,
    read: int,
) -> None:
    patient_id = (await register())["id"]
    proxy.before = lambda method, path: status

    answer = await patients.client.get("/api/patients", headers=nurse)
    single = await patients.client.get(f"/api/patients/{patient_id}", headers=nurse)

    assert answer.status_code == listed
    assert single.status_code == read
    assert listed != 200 or answer.json() == NOT_READY
    assert "html" not in answer.text + single.text


async def test_an_answer_that_is_no_fhir_is_an_error(
    patients: RunningService, nurse: dict[str, str], register: Register, proxy: Any
) -> None:
    patient_id = (await register())["id"]
    proxy.before = lambda method, path: 200

    assert (await patients.client.get("/api/patients", headers=nurse)).status_code == 502
    assert (await patients.client.get(f"/api/patients/{patient_id}", headers=nurse)).status_code == 502


async def test_health_asks_for_patients_not_for_the_capability_statement(
    patients: RunningService, proxy: Any
) -> None:
    proxy.before = lambda method, path: None if path.endswith("/metadata") else 503

    ready = await patients.client.get("/health/ready")

    assert ready.status_code == 200
    assert ready.json()["upstreams"] == {"fhir": {"available": False}}
    assert ("GET", "/fhir/Patient?_count=1") in proxy.calls


async def test_what_fhir_refuses_leaves_nothing_behind(
    patients: RunningService, nurse: dict[str, str], proxy: Any, fhir: httpx.AsyncClient
) -> None:
    body = {"given_name": "A", "family_name": "B", "nhs_number": "9990000018"}
    proxy.before = lambda method, path: 422 if method == "PUT" else None

    refused = await patients.client.post("/api/patients", json=body, headers=nurse)
    proxy.before = lambda method, path: None
    again = await patients.client.post("/api/patients", json=body, headers=nurse)

    assert (refused.status_code, refused.json()["error_code"]) == (502, "fhir_refused")
    assert again.status_code == 200
    assert (await fhir.get("/Patient")).json()["total"] == 1
