"""The `quill` command against the running stack."""

import json
import secrets
from pathlib import Path
from typing import Any

import httpx

from .support import Stack


def synthetic(number: int, run: str) -> dict[str, Any]:
    """A Patient as generators of synthetic records write them: nested extensions, decimals, many systems."""
    return {
        "resourceType": "Patient",
        "id": f"{run}-{number}",
        "text": {"status": "generated", "div": '<div xmlns="http://www.w3.org/1999/xhtml">Generated</div>'},
        "extension": [
            {
                "url": "http://hl7.org/fhir/StructureDefinition/patient-birthPlace",
                "valueAddress": {"city": "Holm", "country": "GB"},
            },
            {"url": "http://example.org/quality-adjusted-life-years", "valueDecimal": 77.50},
        ],
        "identifier": [
            {"system": "http://example.org/synthetic", "value": f"{run}-{number}"},
            {
                "type": {
                    "coding": [
                        {
                            "system": "http://terminology.hl7.org/CodeSystem/v2-0203",
                            "code": "MR",
                            "display": "MRN",
                        }
                    ],
                    "text": "Medical Record Number",
                },
                "system": "http://hospital.example.org/other",
                "value": f"{run}-{number}",
            },
        ],
        "name": [
            {"use": "official", "family": f"Synthetic{number}", "given": ["Ada", "Bo"], "prefix": ["Mx."]}
        ],
        "telecom": [{"system": "phone", "value": "555-0100", "use": "home"}],
        "gender": ("male", "female", "other", "unknown")[number % 4],
        "birthDate": f"19{number % 90 + 10}-0{number % 9 + 1}-1{number % 10}",
        "address": [{"line": ["1 Nowhere Lane"], "city": "Holm", "postalCode": "ZZ1 1ZZ", "country": "GB"}],
        "maritalStatus": {"text": "Never Married"},
        "multipleBirthBoolean": False,
        "communication": [{"language": {"text": "English"}}],
    }


def report_of(stack: Stack, file: Path, *options: str) -> tuple[int, dict[str, Any]]:
    written = file.with_suffix(".report")
    done = stack.quill("import-patients", str(file), "--report", str(written), *options)
    assert done.stdout == ""
    document: dict[str, Any] = json.loads(written.read_text())
    return done.returncode, document


def test_patients_are_imported_once_and_as_they_are(stack: Stack, tmp_path: Path) -> None:
    run = f"e2e-{secrets.token_hex(3)}"
    patients = [synthetic(number, run) for number in range(30)]
    lines = [json.dumps(each) for each in patients]
    lines.insert(3, "nonsense")
    lines.append(json.dumps({**synthetic(99, run), "gender": "m"}))
    file = tmp_path / "patients.ndjson"
    file.write_text("\n".join(lines) + "\n")

    with stack.browser("admin") as admin:
        made = admin.made("/api/organizations", {"name": f"Ward {run}", "type": "hospital_team"})
        code, report = report_of(stack, file, "--organisation", f"ward {run}")
        assert code == 0
        assert report["counts"] == {"created": 30, "already_there": 0, "refused": 2, "failed": 0, "other": 0}
        assert [each["line"] for each in report["refused"]] == [4, 32]
        assert "gender" in report["refused"][1]["reason"]
        detail = admin.get(f"/api/organizations/{made['id']}").json()
        assert {each["patient_id"] for each in detail["patient_members"]} == {each["id"] for each in patients}

        code, report = report_of(stack, file, "--organisation", str(made["id"]))
        assert code == 0
        assert report["counts"]["already_there"] == 30

    answer = httpx.get(f"{stack.url}/api/fhir/Patient/{patients[0]['id']}", headers=stack.bearer("admin"))
    stored = json.loads(answer.text)
    assert {name: stored[name] for name in patients[0]} == patients[0]
    assert '"valueDecimal":77.5' in answer.text.replace(" ", "")


def test_a_number_that_is_somebody_elses_is_refused_and_the_same_person_is_found(
    stack: Stack, tmp_path: Path
) -> None:
    identifier = [{"system": "https://fhir.nhs.uk/Id/nhs-number", "value": "9992268034"}]
    run = f"e2e-{secrets.token_hex(3)}"
    same = {
        "resourceType": "Patient",
        "id": f"{run}-same",
        "identifier": identifier,
        "name": [{"family": "WAINSCOTT"}],
        "birthDate": "1977-08-19",
    }
    other = {**synthetic(1, run), "identifier": identifier}
    file = tmp_path / "numbers.ndjson"
    file.write_text("\n".join(json.dumps(each) for each in (same, other)))
    code, report = report_of(stack, file)
    assert code == 0
    assert report["already_there"] == [{"line": 1, "id": "demo-12"}]
    (refused,) = report["refused"]
    assert refused["reason"].startswith("the NHS number is in use by patient demo-12")


def test_a_bundle_comes_in_by_standard_input(stack: Stack) -> None:
    patient = synthetic(1, f"e2e-{secrets.token_hex(3)}")
    bundle = {
        "resourceType": "Bundle",
        "type": "collection",
        "entry": [{"resource": patient}, {"resource": {"resourceType": "Observation", "status": "final"}}],
    }
    done = stack.quill("import-patients", "-", text=json.dumps(bundle, indent=1))
    assert done.returncode == 0, done.stderr
    assert "1 created, 0 already there, 0 refused, 0 failed, 1 other resources left out." in done.stderr


def test_who_may_not_import_is_told_so(stack: Stack, tmp_path: Path) -> None:
    file = tmp_path / "one.ndjson"
    file.write_text(json.dumps(synthetic(1, f"e2e-{secrets.token_hex(3)}")))
    done = stack.quill(
        "import-patients", str(file), QUILL_USERNAME="receptionist", QUILL_PASSWORD=stack.password
    )
    assert done.returncode == 1
    assert "may not import patients" in done.stderr
    wrong = stack.quill("import-patients", str(file), QUILL_USERNAME="admin", QUILL_PASSWORD="not this one")
    assert wrong.returncode == 1
    assert "admin cannot sign in: Invalid credentials" in wrong.stderr


def test_a_server_that_is_not_there_is_one_sentence(stack: Stack) -> None:
    done = stack.quill("demo", "--url", "http://127.0.0.1:9", "--username", "admin", "--password", "x")
    assert done.returncode == 1
    assert "http://127.0.0.1:9 cannot be reached" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_demo_tells_its_story_again_and_again(stack: Stack) -> None:
    for _ in range(2):
        told = stack.quill("demo")
        assert told.returncode == 0, told.stdout + told.stderr
        assert "POST   /api/auth/login 200" in told.stdout
        assert "sees demo-story-1, demo-story-2, demo-story-3, and nobody else" in told.stdout
        assert "sees nobody" in told.stdout
        assert "The story is told" in told.stdout
