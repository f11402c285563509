import asyncio
from typing import Any

import httpx
import pytest

NHS = "https://fhir.nhs.uk/Id/nhs-number"

PATIENTS: dict[str, dict[str, Any]] = {
    "ada": {
        "name": [{"use": "official", "family": "Ó Briain", "given": ["Ada", "Zoë"], "prefix": ["Dr"]}],
        "identifier": [{"system": NHS, "value": "9434765919"}, {"value": "bare"}],
        "birthDate": "1980-02-03",
        "gender": "female",
        "active": True,
    },
    "ben": {
        "name": [{"family": "Obrien, Smith", "given": ["Ben"]}],
        "identifier": [{"system": NHS, "value": "9434765870"}, {"system": "urn:mrn", "value": "a|b"}],
        "birthDate": "1980",
        "gender": "male",
        "active": False,
    },
    "cyd": {"name": [{"text": "Cyd of nowhere"}], "birthDate": "1999-12", "gender": "unknown"},
}


@pytest.fixture
async def filled(fhir: httpx.AsyncClient) -> httpx.AsyncClient:
    for patient_id, content in PATIENTS.items():
        answer = await fhir.put(
            f"/Patient/{patient_id}", json={"resourceType": "Patient", "id": patient_id, **content}
        )
        assert answer.status_code == 201
    return fhir


def ids(bundle: dict[str, Any]) -> list[str]:
    return [entry["resource"]["id"] for entry in bundle.get("entry", ())]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", "ada ben cyd"),
        ("_id=ada,cyd,none", "ada cyd"),
        (f"identifier={NHS}|9434765919", "ada"),
        (f"identifier={NHS}|9434765919,{NHS}|9434765870", "ada ben"),
        ("identifier=9434765919", "ada"),
        (f"identifier={NHS}|", "ada ben"),
        ("identifier=|bare", "ada"),
        ("identifier=|9434765919", ""),
        ("identifier=943476591", ""),
        (r"identifier=urn:mrn|a\|b", "ben"),
        ("family=o", "ada ben"),
        ("family=o br", "ada"),
        ("family=O BRIAIN", "ada"),
        ("family:exact=Ó Briain", "ada"),
        ("family:exact=ó briain", ""),
        ("family:exact=Ó", ""),
        (r"family=obrien\, s", "ben"),
        ("given=zoe", "ada"),
        ("given=zoe,ben", "ada ben"),
        ("given=ada&given=zoe", "ada"),
        ("given=ada&given=ben", ""),
        ("name=dr", "ada"),
        ("name=cyd", "cyd"),
        ("name=nowhere", ""),
        ("gender=male", "ben"),
        ("gender=male,unknown", "ben cyd"),
        ("gender=http://hl7.org/fhir/administrative-gender|male", "ben"),
        ("gender=Male", ""),
        ("active=true", "ada"),
        ("active=false", "ben"),
        ("birthdate=1980-02-03", "ada"),
        ("birthdate=1980-02", "ada"),
        ("birthdate=1980", "ada ben"),
        ("birthdate=eq1999-12", "cyd"),
        ("birthdate=1999-12-01", ""),
        ("birthdate=ne1980", "cyd"),
        ("birthdate=gt1980-02-03", "ben cyd"),
        ("birthdate=gt1980", "cyd"),
        ("birthdate=ge1980-01-01", "ada ben cyd"),
        ("birthdate=ge1980", "ben cyd"),
        ("birthdate=le1980", "ben"),
        ("birthdate=lt1980-02-03", "ben"),
        ("birthdate=le1980-02-03", "ada ben"),
        ("birthdate=lt1980", ""),
        ("birthdate=ge1980-01-01&birthdate=lt1990", "ada ben"),
        ("birthdate=sa1980", "cyd"),
        ("birthdate=eb1999", "ada ben"),
        ("family=o&gender=male", "ben"),
        ("_lastUpdated=gt2020-01-01", "ada ben cyd"),
        ("_lastUpdated=lt2020-01-01", ""),
        ("_lastUpdated=ge2020&_lastUpdated=lt2999-01-01T00:00:00Z", "ada ben cyd"),
        ("family=&_format=json&_pretty=true", "ada ben cyd"),
        ("_sort=-_id", "cyd ben ada"),
        ("_sort=-_lastUpdated", "cyd ben ada"),
        ("_sort=_lastUpdated", "ada ben cyd"),
        ("_sort=-family", "ben ada cyd"),
        ("_sort=family,_id", "ada ben cyd"),
        ("_sort=-birthdate", "cyd ada ben"),
        ("_sort=gender", "ada ben cyd"),
    ],
)
async def test_patients_are_found(filled: httpx.AsyncClient, query: str, expected: str) -> None:
    pairs = [part.partition("=") for part in query.split("&") if part]
    params = httpx.QueryParams([(name, value) for name, _, value in pairs])
    answer = await filled.get("/Patient", params=params)
    assert answer.status_code == 200, answer.text
    assert ids(answer.json()) == expected.split()
    form = await filled.post(
        "/Patient/_search",
        content=str(params),
        headers={"Content-Type": "application/x-www-form-urlencoded"},
    )
    assert ids(form.json()) == expected.split()


async def test_nothing_found_is_a_total_without_entries(filled: httpx.AsyncClient) -> None:
    bundle = (await filled.get("/Patient?family=none")).json()
    assert bundle["total"] == 0
    assert "entry" not in bundle
    assert bundle["link"] == [{"relation": "self", "url": "http://fhir.test/fhir/Patient?family=none"}]


async def test_an_entry_has_its_full_url(filled: httpx.AsyncClient) -> None:
    bundle = (await filled.get("/Patient?_id=ada")).json()
    assert (bundle["resourceType"], bundle["type"], bundle["total"]) == ("Bundle", "searchset", 1)
    entry = bundle["entry"][0]
    assert entry["fullUrl"] == "http://fhir.test/fhir/Patient/ada"
    assert entry["search"] == {"mode": "match"}
    assert entry["resource"] == (await filled.get("/Patient/ada")).json()


@pytest.mark.parametrize(
    "query",
    [
        "unknown=1",
        "subject=Patient/1",
        "family:soundex=x",
        "gender:not=male",
        "birthdate=yesterday",
        "birthdate=1980-13-01",
        "birthdate=xx1980",
        "birthdate=1980,,1981,x",
        "_lastUpdated=2020-01-01T00:00:00+00:00",
        "_count=many",
        "_count=-1",
        "_total=perhaps",
        "_summary=text",
        "_sort=unknown",
        "_elements=name",
        "identifier=|",
        "family=,",
        "family=a%00b",
    ],
)
async def test_what_is_not_understood_is_refused(filled: httpx.AsyncClient, query: str) -> None:
    answer = await filled.get(f"http://fhir.test/fhir/Patient?{query}")
    assert answer.status_code == 400
    assert answer.json()["issue"][0]["diagnostics"].startswith("HAPI-")


async def test_a_form_is_needed_to_post_a_search(filled: httpx.AsyncClient) -> None:
    assert (await filled.post("/Patient/_search", json={})).status_code == 400


async def test_an_update_moves_a_patient_in_the_index(filled: httpx.AsyncClient) -> None:
    content = {"resourceType": "Patient", "id": "ada", "name": [{"family": "Nakamura"}]}
    changed = (await filled.put("/Patient/ada", json=content)).json()
    assert ids((await filled.get("/Patient?family=nak")).json()) == ["ada"]
    assert (await filled.get("/Patient?identifier=9434765919")).json()["total"] == 0
    since = changed["meta"]["lastUpdated"].replace("+00:00", "Z")
    assert ids((await filled.get(f"/Patient?_lastUpdated=ge{since}")).json()) == ["ada"]
    assert ids((await filled.get(f"/Patient?_lastUpdated=gt{since}")).json()) == []
    assert ids((await filled.get(f"/Patient?_lastUpdated={since}")).json()) == ["ada"]


@pytest.fixture
async def many(fhir: httpx.AsyncClient) -> httpx.AsyncClient:
    for number in range(25):
        patient_id = f"p-{number:02}"
        content = {"resourceType": "Patient", "id": patient_id, "name": [{"family": f"F{number:02}"}]}
        await fhir.put(f"/Patient/{patient_id}", json=content)
    return fhir


def link(bundle: dict[str, Any], relation: str) -> str | None:
    return next((item["url"] for item in bundle["link"] if item["relation"] == relation), None)


async def test_pages_follow_a_snapshot(many: httpx.AsyncClient) -> None:
    first = (await many.get("/Patient?_sort=family")).json()
    assert len(first["entry"]) == 20
    assert "total" not in first
    following = link(first, "next")
    assert following is not None
    assert following.startswith("http://fhir.test/fhir?_getpages=")
    assert following.endswith("&_getpagesoffset=20&_count=20&_bundletype=searchset")
    await many.delete("/Patient/p-21")
    await many.put("/Patient/p-99", json={"resourceType": "Patient", "id": "p-99"})
    second = (await many.get(following)).json()
    assert ids(second) == ["p-20", "p-22", "p-23", "p-24"]
    assert link(second, "next") is None
    assert (await many.get(link(second, "previous") or "")).json()["entry"] == first["entry"]


async def test_the_total_is_given_when_asked_for(many: httpx.AsyncClient) -> None:
    assert (await many.get("/Patient?_total=accurate&_count=2")).json()["total"] == 25
    assert (await many.get("/Patient?_count=25")).json()["total"] == 25
    for query in ("_summary=count", "_count=0"):
        counted = (await many.get(f"/Patient?{query}")).json()
        assert counted["total"] == 25
        assert "entry" not in counted


async def test_a_page_has_at_most_a_thousand_entries(start_fhir: Any, many: httpx.AsyncClient) -> None:
    small = await start_fhir(max_page_size=10)
    assert len((await small.get("/Patient?_count=5000")).json()["entry"]) == 10


async def test_an_expired_page_is_gone(start_fhir: Any, many: httpx.AsyncClient) -> None:
    brief = await start_fhir(search_retention_seconds=0.05)
    following = link((await brief.get("/Patient?_count=5")).json(), "next")
    assert following is not None
    await asyncio.sleep(0.1)
    answer = await brief.get(following)
    assert answer.status_code == 410
    assert "does not exist and may have expired" in answer.text
    assert (await many.get("/Patient")).status_code == 200
    assert (await many.get("http://fhir.test/fhir?_getpages=nonsense")).status_code == 410


async def test_no_store_keeps_nothing(many: httpx.AsyncClient) -> None:
    answer = await many.get("/Patient", headers={"Cache-Control": "no-store, max-results=3"})
    assert len(answer.json()["entry"]) == 3
    assert link(answer.json(), "next") is None


async def test_the_search_cache_can_be_imitated(start_fhir: Any) -> None:
    fhir = await start_fhir(reuse_search_seconds=60.0)
    assert (await fhir.get("/Patient?family=x")).json()["total"] == 0
    await fhir.put("/Patient/p-1", json={"resourceType": "Patient", "id": "p-1", "name": [{"family": "x"}]})
    assert (await fhir.get("/Patient?family=x")).json()["total"] == 0
    fresh = await fhir.get("/Patient?family=x", headers={"Cache-Control": "no-cache"})
    assert fresh.json()["total"] == 1
    assert (await fhir.get("/Patient?family=x")).json()["total"] == 0


async def test_links_use_the_configured_base(start_fhir: Any, many: httpx.AsyncClient) -> None:
    fhir = await start_fhir(base_url="https://fhir.example/fhir/")
    bundle = (await fhir.get("/Patient?_count=5")).json()
    assert (link(bundle, "next") or "").startswith("https://fhir.example/fhir?_getpages=")
    assert bundle["entry"][0]["fullUrl"] == "https://fhir.example/fhir/Patient/p-00"


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("subject=Patient/ada", "c-1 c-2"),
        ("subject=ada", "c-1 c-2"),
        ("subject:Patient=ada", "c-1 c-2"),
        ("subject=http://fhir.test/fhir/Patient/ada", "c-1 c-2"),
        ("subject=Patient/ada,Patient/ben", "c-1 c-2 c-3"),
        ("patient=ben", "c-3"),
        ("subject=Group/ada", ""),
        ("part-of=Communication/c-1", "c-2"),
        ("part-of=c-1", "c-2"),
        ("sender=Patient/ben", "c-3"),
        ("recipient=Patient/ada", "c-3"),
        ("status=completed", "c-1 c-2"),
        ("status=completed,in-progress", "c-1 c-2 c-3"),
        ("identifier=urn:conversation|k1", "c-1 c-2"),
        ("category=notification", "c-3"),
        ("sent=ge2026-01-02T00:00:00Z", "c-2 c-3"),
        ("sent=2026-01-01", "c-1"),
        ("sent=lt2026-01-01T12:00:00.001Z&subject=Patient/ada", "c-1"),
        ("_sort=-sent", "c-3 c-2 c-1"),
        ("_id=c-2&subject=Patient/ada", "c-2"),
    ],
)
async def test_communications_are_found(filled: httpx.AsyncClient, query: str, expected: str) -> None:
    common = {"resourceType": "Communication", "identifier": [{"system": "urn:conversation", "value": "k1"}]}
    for content in (
        {**common, "id": "c-1", "status": "completed", "sent": "2026-01-01T12:00:00Z",
         "subject": {"reference": "Patient/ada"}},
        {**common, "id": "c-2", "status": "completed", "sent": "2026-01-02T09:00:00+02:00",
         "subject": {"reference": "Patient/ada"}, "partOf": [{"reference": "Communication/c-1"}]},
        {"resourceType": "Communication", "id": "c-3", "status": "in-progress", "sent": "2026-01-03",
         "category": [{"coding": [{"system": "urn:c", "code": "notification"}]}],
         "subject": {"reference": "Patient/ben"}, "sender": {"reference": "Patient/ben"},
         "recipient": [{"reference": "Patient/ada"}]},
    ):  # fmt: skip
        answer = await filled.put(f"/Communication/{content['id']}", json=content)
        assert answer.status_code == 201, answer.text
    answer = await filled.get(f"/Communication?{query}")
    assert ids(answer.json()) == expected.split()
