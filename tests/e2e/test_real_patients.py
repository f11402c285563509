"""Patients on the real FHIR server: those whom others write there, and many imported at once."""

import json
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

import quill_backends

from .support import Stack, eventually
from .test_command import report_of, synthetic
from .test_story import unique

pytestmark = pytest.mark.real

SEEN_WITHIN = 60.0
IMPORTED = 60


@pytest.fixture
def fhir(stack: Stack) -> Iterator[httpx.Client]:
    """Another client of the FHIR server, which knows nothing of Quill."""
    backends = quill_backends.load()
    assert backends is not None
    with httpx.Client(base_url=backends.fhir_url, timeout=30) as client:
        yield client


def test_patients_written_by_another_client_appear_and_change(stack: Stack, fhir: httpx.Client) -> None:
    given = unique("other-client")
    patient = {
        "resourceType": "Patient",
        "name": [{"family": "Elsewhere", "given": ["Olga"]}],
        "birthDate": "1970-02-03",
        "gender": "female",
    }
    assert fhir.put(f"/Patient/{given}", json={**patient, "id": given}).status_code == 201
    numbered = fhir.post("/Patient", json=patient).json()["id"]
    began = time.monotonic()
    with stack.browser("admin") as admin:
        eventually(True, lambda: {given, numbered} <= admin.all_patients(), within=SEEN_WITHIN)
        print(f"\nseen after {time.monotonic() - began:.1f} s")
        assert admin.get(f"/api/patients/{given}").json()["name"][0]["family"] == "Elsewhere"

        ward = admin.made("/api/organizations", {"name": unique("Ward"), "type": "hospital_team"})["id"]
        admin.made(f"/api/organizations/{ward}/patients", {"patient_id": numbered})
        changed = {**patient, "id": given, "name": [{"family": "Changed", "given": ["Olga"]}]}
        assert fhir.put(f"/Patient/{given}", json=changed).status_code == 200

        def family() -> str:
            return str(admin.get(f"/api/patients/{given}").json()["name"][0]["family"])

        eventually("Changed", family, within=SEEN_WITHIN)


def test_sixty_patients_are_imported_as_they_are(stack: Stack, fhir: httpx.Client, tmp_path: Path) -> None:
    run = f"many-{secrets.token_hex(3)}"
    patients = [synthetic(number, run) for number in range(IMPORTED)]
    file = tmp_path / "patients.ndjson"
    file.write_text("\n".join(json.dumps(each) for each in patients) + "\n")
    for expected in ("created", "already_there"):
        code, report = report_of(stack, file)
        assert code == 0
        assert report["counts"][expected] == IMPORTED, report
    with stack.browser("admin") as admin:
        eventually(True, lambda: {each["id"] for each in patients} <= admin.all_patients())
    for each in patients:
        assert differences(each, fhir.get(f"/Patient/{each['id']}").json()) == {}


def differences(sent: dict[str, Any], stored: dict[str, Any]) -> dict[str, Any]:
    """What HAPI has otherwise than it was sent; the metadata are its own."""
    return {
        name: (sent.get(name), stored.get(name))
        for name in {*sent, *stored} - {"meta"}
        if sent.get(name) != stored.get(name)
    }
