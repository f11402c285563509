"""Quill's own client of FHIR servers, on each of the two."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta

import pytest

from quill_embedded.fhir import FhirSettings, create_fhir_app
from quill_messaging.fhir.client import FhirServer as MessagingFhir
from quill_patients.errors import RefusedUpstream, VersionConflict
from quill_patients.fhir.client import HttpFhirPatients
from quill_patients.fhir.mapping import searches_for
from quill_shared.platform.http import UpstreamClient

from ..servers import Server, served, unique
from .fhir import FhirClient, patient

SYSTEM = "urn:test:mrn"


@pytest.fixture
async def upstream(fhir_server: Server) -> AsyncIterator[UpstreamClient]:
    client = UpstreamClient("fhir", fhir_server.url)
    yield client
    await client.close()


@pytest.fixture
def patients(upstream: UpstreamClient) -> HttpFhirPatients:
    return HttpFhirPatients(upstream)


def text_of(patient_id: str, **elements: object) -> str:
    return json.dumps(patient(patient_id, **elements), ensure_ascii=False)


async def test_a_patient_is_created_read_and_updated(patients: HttpFhirPatients) -> None:
    patient_id = f"p-{unique()}"

    created = await patients.create(patient_id, text_of(patient_id, active=True, name=[{"family": "Ægir"}]))
    updated = await patients.update(patient_id, text_of(patient_id, active=False), version=1)
    read = await patients.read(patient_id)

    assert (created.version, created.is_active, created.etag) == (1, True, 'W/"1"')
    assert (updated.version, updated.is_active) == (2, False)
    assert read is not None
    assert (read.version, read.last_updated, read.is_active) == (2, updated.last_updated, False)
    assert updated.last_updated > created.last_updated


async def test_repeating_a_create_whose_answer_was_lost_changes_nothing(patients: HttpFhirPatients) -> None:
    patient_id = f"p-{unique()}"

    answers = [await patients.create(patient_id, text_of(patient_id, active=True)) for _ in range(3)]

    assert {each.version for each in answers} == {1}


async def test_what_is_to_be_new_replaces_nothing(patients: HttpFhirPatients, fhir: FhirClient) -> None:
    new, existing, deleted = (f"p-{unique()}" for _ in range(3))
    await fhir.put(patient(existing, active=True))
    await fhir.put(patient(deleted, active=True))
    await fhir.delete(f"Patient/{deleted}")

    created = await patients.create(new, text_of(new), only_new=True)
    for active in (True, False):
        with pytest.raises(VersionConflict):
            await patients.create(existing, text_of(existing, active=active), only_new=True)

    assert created.version == 1
    read = await patients.read(existing)
    assert read is not None
    assert (read.version, read.is_active) == (1, True)
    assert await patients.has_deleted(deleted)
    assert not await patients.has_deleted(existing)
    assert not await patients.has_deleted(f"p-{unique()}")


async def test_a_stale_update_is_a_conflict(patients: HttpFhirPatients) -> None:
    patient_id = f"p-{unique()}"
    await patients.create(patient_id, text_of(patient_id))
    await patients.update(patient_id, text_of(patient_id, active=True), version=1)

    with pytest.raises(VersionConflict):
        await patients.update(patient_id, text_of(patient_id, active=False), version=1)


async def test_a_stale_update_is_a_conflict_also_where_the_server_answers_as_fhir_says(fhir_dsn: str) -> None:
    settings = FhirSettings(database_url=fhir_dsn, stale_if_match_status=412)
    with served(create_fhir_app(settings)) as origin:
        upstream = UpstreamClient("fhir", f"{origin}/fhir")
        patients, patient_id = HttpFhirPatients(upstream), f"p-{unique()}"
        await patients.create(patient_id, text_of(patient_id))
        await patients.update(patient_id, text_of(patient_id, active=True), version=1)

        with pytest.raises(VersionConflict):
            await patients.update(patient_id, text_of(patient_id, active=False), version=1)
        await upstream.close()


async def test_of_several_updates_of_one_version_one_is_stored(patients: HttpFhirPatients) -> None:
    patient_id = f"p-{unique()}"
    await patients.create(patient_id, text_of(patient_id))

    answers = await asyncio.gather(
        *(
            patients.update(patient_id, text_of(patient_id, birthDate=str(1950 + n)), version=1)
            for n in range(5)
        ),
        return_exceptions=True,
    )

    assert sum(isinstance(each, VersionConflict) for each in answers) == 4
    assert sum(not isinstance(each, BaseException) for each in answers) == 1


async def test_what_is_not_there_or_deleted_is_none(patients: HttpFhirPatients, fhir: FhirClient) -> None:
    patient_id = f"p-{unique()}"
    assert await patients.read(patient_id) is None
    await patients.create(patient_id, text_of(patient_id))
    await fhir.delete(f"Patient/{patient_id}")
    assert await patients.read(patient_id) is None
    assert await patients.by_ids([patient_id]) == {}


@pytest.mark.parametrize("elements", [{"gender": "neither"}, {"birthDate": "soon"}])
async def test_a_refusal_names_the_servers_codes(
    patients: HttpFhirPatients, elements: dict[str, str]
) -> None:
    patient_id = f"p-{unique()}"

    with pytest.raises(RefusedUpstream):
        await patients.create(patient_id, text_of(patient_id, **elements))
    with pytest.raises(RefusedUpstream):
        await patients.search([("birthdate", "soon")])


async def test_patients_are_fetched_by_their_ids(patients: HttpFhirPatients) -> None:
    wanted = [f"p-{unique()}" for _ in range(30)]
    for patient_id in wanted:
        await patients.create(patient_id, text_of(patient_id))

    found = await patients.by_ids([*wanted, f"none-{unique()}"])

    assert sorted(found) == sorted(wanted)
    assert all(each.patient_id == patient_id for patient_id, each in found.items())


async def test_a_search_sees_a_write_at_once_and_reads_all_pages(patients: HttpFhirPatients) -> None:
    system = f"urn:{unique()}"
    wanted: list[str] = []
    for _ in range(3):
        patient_id = f"p-{unique()}"
        identifiers = [{"system": system, "value": "1"}]
        await patients.create(patient_id, text_of(patient_id, identifier=identifiers))
        wanted.append(patient_id)
        found = await patients.search([("identifier", f"{system}|1")])
        assert sorted(each.patient_id for each in found) == sorted(wanted)

    limited = await patients.search([("identifier", f"{system}|1")], limit=2)
    among = await patients.search([("identifier", f"{system}|1")], among=wanted[1:])

    assert len(limited) == 2
    assert sorted(each.patient_id for each in among) == sorted(wanted[1:])


@pytest.mark.parametrize(
    ("typed", "is_found"),
    [
        ("9434765919", True),
        ("943 476 5919", True),
        ("1980-02-03", True),
        ("1980-02-04", False),
        ("MRN-7,x", True),
        ("mrn-7,x", False),
        ("okafor", True),
        ("Zoe Oka", True),
        ("okafor zoë", True),
        ("de la cruz okafor", True),
        ("cruz okafor", False),
        ("nobody", False),
    ],
)
async def test_people_are_found_by_what_is_typed(
    patients: HttpFhirPatients, typed: str, is_found: bool
) -> None:
    patient_id = f"p-{unique()}"
    elements = {
        "identifier": [
            {"system": "https://fhir.nhs.uk/Id/nhs-number", "value": "9434765919"},
            {"system": SYSTEM, "value": "MRN-7,x"},
        ],
        "name": [{"use": "official", "family": "De la Cruz Okafor", "given": ["Zoë"]}, {"family": "Okafor"}],
        "birthDate": "1980-02-03",
    }
    await patients.create(patient_id, text_of(patient_id, **elements))

    found = [
        each.patient_id
        for criteria in searches_for(typed, mrn_system=SYSTEM)
        for each in await patients.search(criteria, among=[patient_id])
    ]

    assert set(found) == ({patient_id} if is_found else set())


@pytest.mark.parametrize(
    ("range_", "expected"),
    [
        ("ge1980-02", "first last exact month"),
        ("le1980-02", "first last before exact month"),
        ("ge1980", "first last before exact month"),
        ("le1980", "first last before exact month"),
        ("ge1981", ""),
        ("le1979", ""),
    ],
)
async def test_a_range_from_or_to_a_month_or_year_holds_all_of_it(
    patients: HttpFhirPatients, range_: str, expected: str
) -> None:
    suffix = unique()
    born = {"first": "1980-02-01", "last": "1980-02-29", "before": "1980-01-31", "exact": "1980-02-03"}
    for name, day in {**born, "month": "1980-02"}.items():
        await patients.create(f"{name}-{suffix}", text_of(f"{name}-{suffix}", birthDate=day))

    among = [f"{name}-{suffix}" for name in (*born, "month")]
    found = await patients.search([("birthdate", range_)], among=among)

    assert {each.patient_id.partition("-")[0] for each in found} == set(expected.split())


async def test_changes_come_page_by_page_oldest_first(
    patients: HttpFhirPatients, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("quill_patients.fhir.client._SWEEP_PAGE", 3)
    first = await patients.create(patient_id := f"p-{unique()}", text_of(patient_id))
    written = [patient_id]
    for _ in range(7):
        written.append(f"p-{unique()}")
        await patients.create(written[-1], text_of(written[-1]))
    await patients.update(written[2], text_of(written[2], active=True), version=1)

    pages = [page async for page in patients.changes(first.last_updated)]

    seen = [each for page in pages for each in page.patients]
    order = [each.patient_id for each in seen if each.patient_id in written]
    assert order == [*written[:2], *written[3:], written[2]]
    assert [each.last_updated for each in seen] == sorted(each.last_updated for each in seen)
    assert all(len(page.patients) <= 3 for page in pages)
    assert pages[0].as_of is not None
    assert pages[0].as_of >= seen[-1].last_updated - timedelta(seconds=1)


async def test_a_change_of_another_client_is_seen_by_the_next_look(
    patients: HttpFhirPatients, fhir: FhirClient
) -> None:
    pages = [page async for page in patients.changes(datetime.now(UTC) - timedelta(seconds=5))]
    as_of = pages[0].as_of
    assert isinstance(as_of, datetime)
    patient_id = f"p-{unique()}"
    await fhir.put(patient(patient_id))

    seen = [each.patient_id async for page in patients.changes(as_of) for each in page.patients]

    assert patient_id in seen


async def test_a_server_that_works_is_known_to(patients: HttpFhirPatients, upstream: UpstreamClient) -> None:
    works: list[Callable[[], Awaitable[bool]]] = [patients.ping, MessagingFhir(upstream).works]

    assert [await each() for each in works] == [True, True]
