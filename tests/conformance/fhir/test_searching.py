"""What a search finds (FHIR R4, search): every parameter Quill sends, and the values people type."""

import asyncio
from datetime import datetime, timedelta

import httpx
import pytest

from ..servers import Server, unique
from .fhir import FRESH, JSON, FhirClient, Parameters, codes, ids, link, patient
from .people import NAMES, People


@pytest.fixture(scope="session")
def people(fhir_server: Server) -> People:
    suffix = unique()
    people = People(suffix, f"urn:test:{suffix}")
    with httpx.Client(base_url=fhir_server.url, headers={"Accept": JSON, "Content-Type": JSON}) as client:
        for name, elements in people.elements().items():
            patient_id = people.id_of(name)
            answer = client.put(f"/Patient/{patient_id}", json=patient(patient_id, **elements))
            assert answer.status_code == 201, answer.text
    return people


BY_NAME = [
    ("name", "okafor", "ada ben"),
    ("name", "OKAFOR", "ada ben"),
    ("name", "Oka", "ada ben"),
    ("name", "kafor", ""),
    ("name", "smith", ""),
    ("name", "zoe", "ada"),
    ("name", "Zoë", "ada"),
    ("name", "ZOË", "ada"),
    ("name", "Zoe\u0308", "ada"),
    ("name", "mary", "ada dan"),
    ("name", "ann", ""),
    ("name", "mary ann", "dan"),
    ("name", "dr", "ada"),
    ("name", "jr", "cyd"),
    ("name", "ada the", "ben"),
    ("name", "straße", "cyd"),
    ("name", "STRASSE", "cyd"),
    ("name", "lukasz", ""),
    ("name", "Łukasz", "cyd"),
    ("name", "angstrom", "eva"),
    ("name", "aevar", ""),
    ("name", "ævar", "eva"),
    ("name", "o'brien", "dan"),
    ("name", "O\u2019Brien", ""),
    ("name", "okafor,after", "ada ben fay"),
    ("name", r"okafor\,after", ""),
    ("name", "%", ""),
    ("name", "_", ""),
    ("name", "*", ""),
    ("name", "Zoë Okafor", ""),
    ("name", "before", "fay"),
    ("name:exact", "Zoë", "ada"),
    ("name:exact", "Zoe", ""),
    ("family", "okafor", "ada ben"),
    ("family", "o'brien de la", "dan"),
    ("family", "zoe", ""),
    ("family:exact", "Okafor", "ada"),
    ("family:exact", "okafor", ""),
    ("given", "mary", "ada dan"),
    ("given", "Mary Ann", "dan"),
]
BY_TOKEN = [
    ("gender", "female", "ada"),
    ("gender", "FEMALE", ""),
    ("gender", "female,male", "ada ben"),
    ("gender", "unknown", "dan"),
    ("gender", "http://hl7.org/fhir/administrative-gender|female", "ada"),
    ("gender", "|female", ""),
    ("gender", "fem", ""),
    ("active", "true", "ada"),
    ("active", "false", "cyd"),
    ("identifier", "A-1", "ada cyd"),
    ("identifier", "a-1", "ben"),
    ("identifier", "A", ""),
    ("identifier", "{system}|A-1", "ada"),
    ("identifier", "{system}:2|A-1", "cyd"),
    ("identifier", "{system}|", "ada ben dan"),
    ("identifier", "|A-1", ""),
    ("identifier", "|alone-{suffix}", "ben"),
    ("identifier", "alone-{suffix}", "ben"),
    ("identifier", "{system}", ""),
    ("identifier", "{system}|A-1,{system}:2|A-1", "ada cyd"),
    ("identifier", r"{system}|A\,1\|x\$\\y", "dan"),
    ("identifier", r"{system}|A,1|x$\y", ""),
    ("identifier", "{system}|" + "9" * 600, "dan"),
    ("identifier", "{system}|" + "9" * 599, ""),
]
BY_DATE = [
    ("birthdate", "1980-02-03", "ada"),
    ("birthdate", "1980-02", "ada ben"),
    ("birthdate", "1980", "ada ben cyd"),
    ("birthdate", "eq1980-02-03", "ada"),
    ("birthdate", "ne1980-02-03", "ben cyd dan"),
    ("birthdate", "lt1980-02-03", "ben cyd"),
    ("birthdate", "le1980-02-03", "ada ben cyd"),
    ("birthdate", "gt1980-02-03", "ben cyd dan"),
    ("birthdate", "ge1980-02-03", "ada ben cyd dan"),
    ("birthdate", "sa1980-02-03", "dan"),
    ("birthdate", "eb1980-02-03", ""),
    ("birthdate", "ne1980-02", "cyd dan"),
    ("birthdate", "lt1980-02", "cyd"),
    ("birthdate", "gt1980-02", "cyd dan"),
    ("birthdate", "sa1980", "dan"),
    ("birthdate", "eb1981", "ada ben cyd"),
    ("birthdate", "ge1980-02-01", "ada ben cyd dan"),
    ("birthdate", "le1980-12-31", "ada ben cyd"),
]
# FHIR says that `ge` and `le` hold for what the period overlaps: HAPI takes its last and its first day.
BY_MONTH_OR_YEAR = [
    ("birthdate", "ge1980-02", "ben cyd dan"),
    ("birthdate", "le1980-02", "ben cyd"),
    ("birthdate", "ge1980", "cyd dan"),
    ("birthdate", "le1980", "cyd"),
    ("birthdate", "le1981", "ada ben cyd"),
]


@pytest.mark.parametrize(("parameter", "value", "expected"), [*BY_NAME, *BY_TOKEN, *BY_DATE])
async def test_patients_are_found(
    fhir: FhirClient, people: People, parameter: str, value: str, expected: str
) -> None:
    text = value.replace("{system}", people.system).replace("{suffix}", people.suffix)

    found = await fhir.found((parameter, text), people.among)

    assert sorted(map(people.name_of, found)) == expected.split()


@pytest.mark.parametrize(("parameter", "value", "expected"), BY_MONTH_OR_YEAR)
async def test_hapi_compares_ge_and_le_of_a_month_or_year_by_one_of_its_days(
    fhir: FhirClient, people: People, parameter: str, value: str, expected: str
) -> None:
    found = await fhir.found((parameter, value), people.among)

    assert sorted(map(people.name_of, found)) == expected.split()


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ([("name", "okafor"), ("name", "ada")], "ben"),
        ([("family", "okafor"), ("given", "zoe")], "ada"),
        ([("family", "okafor"), ("gender", "male")], "ben"),
        ([("birthdate", "ge1980-02-01"), ("birthdate", "le1980-02-29")], "ada ben cyd"),
        ([("birthdate", "gt1979"), ("birthdate", "lt1981")], "ada ben cyd"),
        ([("name", "okafor"), ("name", "straße")], ""),
    ],
)
async def test_parameters_must_all_hold(
    fhir: FhirClient, people: People, parameters: Parameters, expected: str
) -> None:
    assert sorted(map(people.name_of, await fhir.found(*parameters, people.among))) == expected.split()


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ("_id", "ada ben cyd dan eva fay"),
        ("-_id", "fay eva dan cyd ben ada"),
        ("_lastUpdated", "ada ben cyd dan eva fay"),
        ("-_lastUpdated", "fay eva dan cyd ben ada"),
        ("family,_id", "fay eva dan ada ben cyd"),
        ("birthdate,_id", "cyd ben ada dan eva fay"),
        ("-birthdate,_id", "dan ada ben cyd eva fay"),
    ],
)
async def test_matches_come_in_the_order_asked_for(
    fhir: FhirClient, people: People, order: str, expected: str
) -> None:
    found = await fhir.found(people.among, ("_sort", order))

    assert [people.name_of(each) for each in found] == expected.split()


async def test_an_answer_is_a_searchset_of_whole_resources(fhir: FhirClient, people: People) -> None:
    answer = await fhir.search([("identifier", f"{people.system}|A-1")])

    bundle = answer.json()
    (entry,) = bundle["entry"]
    assert answer.headers["content-type"].startswith(JSON)
    assert (bundle["type"], bundle["total"]) == ("searchset", 1)
    assert entry["fullUrl"] == f"{fhir.base}/Patient/{people.id_of('ada')}"
    assert entry["search"] == {"mode": "match"}
    assert entry["resource"]["name"] == people.elements()["ada"]["name"]
    assert datetime.fromisoformat(bundle["meta"]["lastUpdated"]).tzinfo is not None


async def test_nothing_found_is_a_bundle_without_entries(fhir: FhirClient) -> None:
    bundle = (await fhir.search([("identifier", f"urn:{unique()}|x")])).json()

    assert bundle["total"] == 0
    assert "entry" not in bundle


async def test_what_was_searched_by_post_is_in_no_link(fhir: FhirClient, people: People) -> None:
    answer = await fhir.search([("family", "okafor"), people.among, ("_count", "1")])

    assert answer.json()["link"]
    assert not any("okafor" in each["url"] for each in answer.json()["link"])
    assert link(answer, "self") == f"{fhir.base}/Patient/_search"


async def test_a_search_by_address_finds_the_same(fhir: FhirClient, people: People) -> None:
    parameters = {"family": "Ångström", "_id": people.id_of("eva")}

    by_get = await fhir.http.get("/Patient", params=parameters, headers=FRESH)
    in_both = await fhir.http.post(
        "/Patient/_search",
        params={"_id": people.id_of("eva")},
        content="family=%C3%85ngstr%C3%B6m",
        headers={**FRESH, "Content-Type": "application/x-www-form-urlencoded; charset=utf-8"},
    )

    assert ids(by_get) == ids(in_both) == [people.id_of("eva")]


async def test_ids_are_listed(fhir: FhirClient, people: People) -> None:
    wanted = [people.id_of("ada"), people.id_of("ben")]

    assert sorted(await fhir.found(("_id", ",".join([*wanted, f"none-{unique()}"])))) == wanted
    assert await fhir.found(("_id", wanted[0]), ("_id", wanted[1])) == []
    assert await fhir.found(("_id", f"Patient/{wanted[0]}")) == wanted[:1]
    assert await fhir.found(("_id", "a_b")) == []


async def test_a_long_list_of_ids_is_searched_at_once(fhir: FhirClient, people: People) -> None:
    wanted = ",".join([*(f"none-{unique()}" for _ in range(200)), *map(people.id_of, NAMES)])

    assert sorted(await fhir.found(("_id", wanted), ("_count", "206"))) == sorted(map(people.id_of, NAMES))


async def test_only_the_number_can_be_asked_for(fhir: FhirClient, people: People) -> None:
    for parameter in (("_summary", "count"), ("_count", "0")):
        bundle = (await fhir.search([people.among, parameter])).json()
        assert (bundle["type"], bundle["total"]) == ("searchset", len(NAMES))
        assert "entry" not in bundle


@pytest.mark.parametrize(
    ("parameter", "value", "code"),
    [
        ("nope", "x", "HAPI-0524"),
        ("_sort", "nope", "HAPI-1194"),
        ("_count", "x", "HAPI-0375"),
        ("birthdate", "x", "HAPI-1940"),
        ("birthdate", "zz1980", "HAPI-1941"),
        ("birthdate", "ap1980", "HAPI-1925"),
        ("birthdate", "1980-2-3", "HAPI-1882"),
        ("birthdate", "1980-02-30", "HAPI-1882"),
        ("_lastUpdated", "nope", "HAPI-1940"),
    ],
)
async def test_what_is_not_understood_is_refused(
    fhir: FhirClient, parameter: str, value: str, code: str
) -> None:
    answer = await fhir.search([(parameter, value)])

    assert (answer.status_code, codes(answer)) == (400, {code})


@pytest.mark.parametrize("parameter", ["birthdate", "_lastUpdated"])
async def test_hapi_takes_no_alternatives_of_dates_where_fhir_allows_them(
    fhir: FhirClient, parameter: str
) -> None:
    answer = await fhir.search([(parameter, "1980-02-03,1981-12-31")])

    assert (answer.status_code, codes(answer)) == (400, {"HAPI-1930"})


async def test_hapi_answers_405_to_contains_as_it_is_set_up(fhir: FhirClient) -> None:
    answer = await fhir.search([("family:contains", "x")])

    assert (answer.status_code, codes(answer)) == (405, {"HAPI-1258"})


async def test_changes_are_found_by_their_time(fhir: FhirClient) -> None:
    """What the sweep for other clients' writes rests on."""
    suffix = unique()
    times = {}
    for name in "abcd":
        stored = await fhir.put(patient(f"{name}-{suffix}"))
        times[name] = stored.json()["meta"]["lastUpdated"]
        await asyncio.sleep(0.02)
    among = ("_id", ",".join(f"{name}-{suffix}" for name in times))

    async def at(*values: str) -> str:
        moments = [("_lastUpdated", value) for value in values]
        found = await fhir.found(among, ("_sort", "_lastUpdated"), *moments)
        return " ".join(each[0] for each in found)

    b, d = times["b"], times["d"]
    assert await at(f"ge{b}") == "b c d"
    assert await at(f"gt{b}") == "c d"
    assert await at(f"le{b}") == "a b"
    assert await at(f"lt{b}") == "a"
    assert await at(f"ge{b}", f"lt{d}") == "b c"
    assert await at(f"ge{b.replace('+00:00', 'Z')}") == "b c d"
    moved = datetime.fromisoformat(b).astimezone(datetime.fromisoformat("2026-01-01T00:00:00+05:30").tzinfo)
    assert await at(f"ge{moved.isoformat(timespec='milliseconds')}") == "b c d"
    later = datetime.fromisoformat(b) + timedelta(milliseconds=1)
    assert await at(f"ge{later.isoformat(timespec='milliseconds')}") == "c d"
    assert await at(f"ge{b[:10]}") == "a b c d"
    await fhir.put(patient(f"a-{suffix}", active=False))
    assert await at(f"ge{b}") == "b c d a"
    await fhir.delete(f"Patient/c-{suffix}")
    assert await at(f"ge{b}") == "b d a"
