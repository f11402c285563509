"""The import: what becomes of a record, and that a second run changes nothing."""

import io
import json
from typing import Any

import httpx
import pytest

from quill_cli.errors import CommandError, SignInError, UnreachableError
from quill_cli.importing import Importer, Organisation, Outcome, Report, find_organisation
from quill_cli.records import read

from .support import FakeQuill, outcome, problem

NHS = "https://fhir.nhs.uk/Id/nhs-number"
WARD = Organisation(7, "Ward 4")


def patient(
    id_: str | None, family: str = "Oakhurst", born: str = "1980-01-02", **more: Any
) -> dict[str, Any]:
    resource = {"resourceType": "Patient", "name": [{"family": family}], "birthDate": born, **more}
    return resource if id_ is None else {"resourceType": "Patient", "id": id_, **resource}


def lines(*documents: object) -> bytes:
    return b"\n".join(
        each.encode() if isinstance(each, str) else json.dumps(each).encode() for each in documents
    )


async def imported(quill: FakeQuill, content: bytes, organisation: Organisation | None = None) -> Report:
    async with quill.api() as api:
        return await Importer(api, organisation=organisation).run(read(io.BytesIO(content)))


def summary(report: Report) -> list[tuple[int, str, str]]:
    return sorted((each.line, each.outcome.value, each.id) for each in report.results)


async def test_patients_are_created_under_their_own_ids_and_byte_for_byte(quill: FakeQuill) -> None:
    content = lines(patient("a"), patient("b"))
    report = await imported(quill, content, WARD)
    assert summary(report) == [(1, "created", "a"), (2, "created", "b")]
    assert quill.members == {"a", "b"}
    assert sorted(quill.patients.values()) == sorted(content.split(b"\n"))


async def test_a_second_run_finds_all_of_them_and_mends_the_memberships(quill: FakeQuill) -> None:
    content = lines(patient("a"), patient("b"), patient(None))
    await imported(quill, content)
    before = dict(quill.patients)
    report = await imported(quill, content, WARD)
    assert {each.outcome for each in report.results} == {Outcome.ALREADY_THERE}
    assert quill.patients == before
    assert quill.members == set(before)


async def test_who_is_known_by_the_nhs_number_is_there_already(quill: FakeQuill) -> None:
    number: dict[str, Any] = {"identifier": [{"system": NHS, "value": "9991002030"}]}
    await imported(quill, lines(patient("a", **number)))
    report = await imported(quill, lines(patient("z", "OAKHURST ", **number)), WARD)
    assert summary(report) == [(1, "already_there", "a")]
    assert quill.members == {"a"}


@pytest.mark.parametrize("other", [{"family": "Somebody"}, {"born": "1980-01-03"}])
async def test_a_number_that_is_somebody_elses_opens_no_record(
    quill: FakeQuill, other: dict[str, str]
) -> None:
    number: dict[str, Any] = {"identifier": [{"system": NHS, "value": "9991002030"}]}
    await imported(quill, lines(patient("a", **number)))
    report = await imported(quill, lines(patient("z", **other, **number)), WARD)
    assert summary(report) == [(1, "refused", "")]
    assert "the NHS number is in use by patient a" in report.results[0].reason
    assert quill.members == set()


async def test_an_id_that_is_somebody_elses_opens_no_record(quill: FakeQuill) -> None:
    await imported(quill, lines(patient("1-a")))
    report = await imported(quill, lines(patient("1-a", "Somebody")), WARD)
    assert [each.outcome for each in report.results] == [Outcome.REFUSED]
    assert "the id is in use by patient 1-a" in report.results[0].reason
    assert quill.members == set()


async def test_ids_that_cannot_be_used_are_replaced_by_lasting_ones(quill: FakeQuill) -> None:
    content = lines(patient("4711"), patient(None))
    first = {each.id for each in (await imported(quill, content)).results}
    second = await imported(quill, content)
    assert "i-4711" in first
    assert {each.id for each in second.results} == first
    assert json.loads(quill.patients["i-4711"])["id"] == "i-4711"


async def test_what_is_refused_has_its_line_and_reason_and_stops_nobody(quill: FakeQuill) -> None:
    quill.refused = lambda document: "Patient.gender: unknown code" if document.get("gender") == "x" else ""
    content = lines(
        patient("a"),
        patient("b", gender="x"),
        "nonsense",
        {"resourceType": "Observation"},
        {"id": "c"},
        patient("not/an/id"),
        patient("d"),
    )
    report = await imported(quill, content)
    assert {(each.line, each.reason) for each in report.of(Outcome.REFUSED)} == {
        (2, "Patient.gender: unknown code"),
        (3, "not JSON"),
        (5, "no FHIR resource: `resourceType` is missing"),
        (6, "id: not 1 to 64 letters, digits, hyphens or full stops"),
    }
    assert [each.id for each in report.of(Outcome.CREATED)] == ["a", "d"]
    assert [each.line for each in report.of(Outcome.OTHER)] == [4]


async def test_other_faults_are_failures_and_the_rest_goes_on(quill: FakeQuill) -> None:
    quill.trouble["/api/fhir/Patient/a"] = [outcome(500, "Internal error")]
    quill.trouble["/api/organizations/7/patients"] = [problem(404, "Patient not found", "patient_not_found")]
    report = await imported(quill, lines(patient("a"), patient("b"), patient("c")), WARD)
    assert len(report.of(Outcome.CREATED)) == 1
    assert {each.reason for each in report.of(Outcome.FAILED)} == {
        "Internal error (status 500)",
        "stored, but not put into the organisation: Patient not found",
    }


async def test_an_account_without_the_power_ends_the_run(quill: FakeQuill) -> None:
    quill.trouble["/api/fhir/Patient/a"] = [outcome(403, "Forbidden")]
    with pytest.raises(SignInError, match="may not import patients: Forbidden"):
        await imported(quill, lines(patient("a")))


async def test_a_server_that_goes_away_ends_the_run_and_the_report_stays(quill: FakeQuill) -> None:
    quill.trouble["/api/fhir/Patient/b"] = [httpx.ReadError("gone")]
    async with quill.api(patience=-1) as api:
        importer = Importer(api, concurrency=1)
        with pytest.raises(UnreachableError):
            await importer.run(read(io.BytesIO(lines(patient("a"), patient("b"), patient("c")))))
    assert summary(importer.report) == [(1, "created", "a"), (2, "failed", "b")]


async def test_no_more_records_are_in_hand_than_wanted(quill: FakeQuill) -> None:
    report = await imported(quill, lines(*(patient(f"p-{n}") for n in range(100))))
    assert len(report.of(Outcome.CREATED)) == 100
    document = report.document(file="x")
    assert document["counts"] == {
        "created": 100, "already_there": 0, "refused": 0, "failed": 0, "other": 0,
    }  # fmt: skip
    assert document["created"][0] == {"line": 1, "id": "p-0"}


async def test_an_organisation_is_found_by_id_or_name(quill: FakeQuill) -> None:
    async with quill.api() as api:
        assert await find_organisation(api, "7") == WARD
        assert await find_organisation(api, " ward 4") == WARD
        with pytest.raises(CommandError, match="no organisation"):
            await find_organisation(api, "Ward 5")
        quill.organisations.append({"id": 8, "name": "WARD 4"})
        with pytest.raises(CommandError, match="by its id: 7, 8"):
            await find_organisation(api, "Ward 4")
