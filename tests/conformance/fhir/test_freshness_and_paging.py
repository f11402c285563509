"""When a search sees a write, and how a long answer is read (FHIR R4, search, paging)."""

from datetime import datetime

import pytest

from ..servers import unique
from .fhir import FRESH, FhirClient, codes, ids, link, patient

NO_STORE = {"Cache-Control": "no-store"}


async def test_hapi_answers_the_same_search_from_what_it_found_within_a_minute(fhir: FhirClient) -> None:
    system, patient_id = f"urn:{unique()}", f"p-{unique()}"
    asked = [("identifier", f"{system}|1")]
    before = await fhir.search(asked, headers={})
    await fhir.put(patient(patient_id, identifier=[{"system": system, "value": "1"}]))

    reused = await fhir.search(asked, headers={})
    fresh = await fhir.search(asked, headers=FRESH)
    not_stored = await fhir.search(asked, headers=NO_STORE)
    reused_again = await fhir.search(asked, headers={})

    assert (ids(before), ids(reused)) == ([], [])
    assert ids(fresh) == ids(not_stored) == [patient_id]
    assert ids(reused_again) == []
    moments = [each.json()["meta"]["lastUpdated"] for each in (before, reused, fresh)]
    assert moments[0] == moments[1] < moments[2]


async def test_a_fresh_search_sees_each_write_at_once(fhir: FhirClient) -> None:
    system, patient_id = f"urn:{unique()}", f"p-{unique()}"
    for number in range(5):
        await fhir.put(patient(patient_id, identifier=[{"system": system, "value": str(number)}]))
        assert await fhir.found(("identifier", f"{system}|{number}")) == [patient_id]
        assert await fhir.found(("identifier", f"{system}|{number - 1}")) == []
    await fhir.delete(f"Patient/{patient_id}")
    assert await fhir.found(("identifier", f"{system}|")) == []


@pytest.fixture
async def seven(fhir: FhirClient) -> list[str]:
    """Seven patients, in the order of their ids."""
    suffix = unique()
    patients = [f"p{number}-{suffix}" for number in range(7)]
    for patient_id in patients:
        await fhir.put(patient(patient_id))
    return patients


async def test_pages_are_followed_by_their_links_verbatim(fhir: FhirClient, seven: list[str]) -> None:
    asked = [("_id", ",".join(seven)), ("_sort", "_id"), ("_count", "3")]

    page = await fhir.search(asked)
    pages = [page]
    while (following := link(page, "next")) is not None:
        assert following.startswith(f"{fhir.base}?_getpages=")
        page = await fhir.http.get(following)
        assert page.status_code == 200
        pages.append(page)

    assert [ids(each) for each in pages] == [seven[:3], seven[3:6], seven[6:]]
    assert all(each.json().get("total", 7) == 7 for each in pages)
    assert len({each.json()["meta"]["lastUpdated"] for each in pages}) == 1
    previous = link(pages[1], "previous")
    assert previous is not None
    assert ids(await fhir.http.get(previous)) == seven[:3]


async def test_pages_keep_their_matches_and_show_them_as_they_are_now(
    fhir: FhirClient, seven: list[str]
) -> None:
    asked = [("_id", ",".join(seven)), ("_sort", "_id"), ("_count", "3")]
    following = link(await fhir.search(asked), "next")
    assert following is not None
    await fhir.put(patient(seven[3], active=False))
    await fhir.delete(f"Patient/{seven[4]}")

    page = await fhir.http.get(following)

    assert ids(page) == [seven[3], seven[5]]
    assert page.json()["entry"][0]["resource"]["meta"]["versionId"] == "2"


async def test_the_number_of_matches_is_exact_where_it_is_asked_for(
    fhir: FhirClient, seven: list[str]
) -> None:
    answer = await fhir.search([("_id", ",".join(seven)), ("_count", "2"), ("_total", "accurate")])

    assert (answer.json()["total"], len(ids(answer))) == (7, 2)


async def test_an_answer_that_is_whole_has_its_number_and_no_next_page(
    fhir: FhirClient, seven: list[str]
) -> None:
    answer = await fhir.search([("_id", ",".join(seven)), ("_count", "7")])

    assert (answer.json()["total"], sorted(ids(answer))) == (7, seven)
    assert link(answer, "next") is None


async def test_a_page_has_twenty_matches_unless_asked_otherwise(fhir: FhirClient) -> None:
    suffix = unique()
    patients = [f"q{number:02}-{suffix}" for number in range(21)]
    for patient_id in patients:
        await fhir.put(patient(patient_id))

    answer = await fhir.search([("_id", ",".join(patients))])

    assert len(ids(answer)) == 20
    following = link(answer, "next")
    assert following is not None
    assert len(ids(await fhir.http.get(following))) == 1


async def test_without_storing_there_is_one_page(fhir: FhirClient, seven: list[str]) -> None:
    asked = [("_id", ",".join(seven)), ("_sort", "_id")]

    whole = await fhir.search([*asked, ("_count", "7")], headers={"Cache-Control": "no-store, max-results=7"})
    cut = await fhir.search([*asked, ("_count", "3")], headers={"Cache-Control": "no-store, max-results=7"})
    fewer = await fhir.search([*asked, ("_count", "2")], headers={"Cache-Control": "no-store, max-results=2"})

    assert (ids(whole), ids(cut), ids(fewer)) == (seven, seven[:3], seven[:2])
    assert [link(each, "next") for each in (whole, cut, fewer)] == [None] * 3


async def test_hapi_limits_what_is_not_stored_to_a_thousand(fhir: FhirClient) -> None:
    answer = await fhir.search([("_id", "x")], headers={"Cache-Control": "no-store, max-results=1001"})

    assert (answer.status_code, codes(answer)) == (400, {"HAPI-1165"})


@pytest.mark.parametrize("name", ["11111111-1111-4111-8111-111111111111", "nonsense"])
async def test_a_page_that_is_kept_no_longer_is_gone(fhir: FhirClient, name: str) -> None:
    answer = await fhir.http.get(f"{fhir.base}?_getpages={name}&_getpagesoffset=20&_count=20")

    assert (answer.status_code, codes(answer)) == (410, {"HAPI-0417"})


async def test_the_time_of_a_search_is_the_servers(fhir: FhirClient) -> None:
    """The sweep continues from it, so it must not be before a write that the search missed."""
    stored = await fhir.put(patient(f"p-{unique()}"))
    bundle = (await fhir.search([("_count", "1")])).json()
    later = await fhir.put(patient(f"p-{unique()}"))

    moments = [
        stored.json()["meta"]["lastUpdated"],
        bundle["meta"]["lastUpdated"],
        later.json()["meta"]["lastUpdated"],
    ]
    assert sorted(moments, key=datetime.fromisoformat) == moments
