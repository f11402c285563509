"""Messages as Communication resources: their references, and searches by those (FHIR R4, Communication)."""

from dataclasses import dataclass
from typing import Any

import pytest

from ..servers import unique
from .fhir import FhirClient, codes, communication, patient, version


@dataclass(frozen=True, slots=True)
class Thread:
    """Two patients, and a message about the first with an answer."""

    suffix: str

    def of(self, name: str) -> str:
        return f"{name}-{self.suffix}"

    def reference(self, name: str) -> dict[str, str]:
        kind = "Patient" if name.startswith("p") else "Communication"
        return {"reference": f"{kind}/{self.of(name)}"}


@pytest.fixture
async def thread(fhir: FhirClient) -> Thread:
    thread = Thread(unique())
    for name in ("p1", "p2"):
        assert (await fhir.put(patient(thread.of(name)))).status_code == 201
    message = communication(
        thread.of("c1"),
        identifier=[{"system": f"urn:{thread.suffix}", "value": "1"}],
        category=[{"coding": [{"system": "urn:kind", "code": "message"}]}],
        subject=thread.reference("p1"),
        sent="2026-01-02T10:00:00.500Z",
        sender=thread.reference("p2"),
        payload=[{"contentString": "Hello  *world*\n<b>"}],
    )
    answer = communication(
        thread.of("c2"),
        status="in-progress",
        subject=thread.reference("p1"),
        partOf=[thread.reference("c1")],
        sent="2026-01-02T12:00:00+01:00",
        recipient=[thread.reference("p2"), {"identifier": {"value": "x"}}],
    )
    for each in (message, answer):
        stored = await fhir.put(each)
        assert (stored.status_code, version(stored)) == (201, 1), stored.text
    return thread


async def test_a_message_comes_back_as_it_was_stored(fhir: FhirClient, thread: Thread) -> None:
    read = (await fhir.get(f"Communication/{thread.of('c1')}")).json()

    assert read["payload"] == [{"contentString": "Hello  *world*\n<b>"}]
    assert read["sent"] == "2026-01-02T10:00:00.500Z"
    assert (read["subject"], read["sender"]) == (thread.reference("p1"), thread.reference("p2"))


@pytest.mark.parametrize(
    ("parameter", "value", "expected"),
    [
        ("subject", "Patient/p1-{}", "c1 c2"),
        ("subject", "p1-{}", "c1 c2"),
        ("subject:Patient", "p1-{}", "c1 c2"),
        ("subject", "Patient/p2-{}", ""),
        ("subject", "Patient/none", ""),
        ("patient", "p1-{}", "c1 c2"),
        ("part-of", "Communication/c1-{}", "c2"),
        ("part-of", "c1-{}", "c2"),
        ("sender", "Patient/p2-{}", "c1"),
        ("recipient", "Patient/p2-{}", "c2"),
        ("identifier", "urn:{}|1", "c1"),
        ("category", "urn:kind|message", "c1"),
        ("status", "completed", "c1"),
        ("status", "completed,in-progress", "c1 c2"),
        ("sent", "2026-01-02", "c1 c2"),
        ("sent", "2026-01-02T10:00:00.500Z", "c1"),
        ("sent", "gt2026-01-02T10:30:00Z", "c2"),
        ("sent", "le2026-01-02T10:30:00Z", "c1"),
        ("sent", "lt2026-01-02T10:00:00Z", ""),
        ("received", "2026", ""),
    ],
)
async def test_messages_are_found(
    fhir: FhirClient, thread: Thread, parameter: str, value: str, expected: str
) -> None:
    among = ("_id", ",".join(map(thread.of, ("c1", "c2"))))

    found = await fhir.found((parameter, value.format(thread.suffix)), among, resource_type="Communication")

    assert sorted(each[:2] for each in found) == expected.split()


@pytest.mark.parametrize(("order", "expected"), [("sent", "c1 c2"), ("-sent", "c2 c1")])
async def test_messages_come_in_the_order_they_were_sent(
    fhir: FhirClient, thread: Thread, order: str, expected: str
) -> None:
    found = await fhir.found(("subject", thread.of("p1")), ("_sort", order), resource_type="Communication")

    assert [each[:2] for each in found] == expected.split()


@pytest.mark.parametrize(
    ("elements", "status", "expected"),
    [
        ({"subject": {"reference": "Patient/none"}}, 400, {"HAPI-1094"}),
        ({"basedOn": [{"reference": "ServiceRequest/none"}]}, 400, {"HAPI-1094"}),
        ({"subject": {"reference": "http://elsewhere.example/fhir/Patient/1"}}, 400, {"HAPI-0507"}),
        ({"subject": {"reference": "1"}}, 400, {"HAPI-0505"}),
        ({"subject": {"reference": "urn:uuid:7b0b3c7e-3c0f-4c58-9f3a-5a0d6a5f6f60"}}, 400, {"HAPI-0505"}),
        ({"status": "done"}, 400, {"HAPI-0450", "HAPI-1821"}),
    ],
)
async def test_a_reference_must_lead_somewhere(
    fhir: FhirClient, elements: dict[str, Any], status: int, expected: set[str]
) -> None:
    answer = await fhir.put(communication(f"c-{unique()}", **elements))

    assert (answer.status_code, codes(answer) & expected) == (status, codes(answer))


async def test_hapi_takes_its_own_address_in_a_reference_for_another_server(
    fhir: FhirClient, thread: Thread
) -> None:
    subject = {"reference": f"{fhir.base}/Patient/{thread.of('p1')}"}

    answer = await fhir.put(communication(thread.of("c3"), subject=subject))

    assert (answer.status_code, codes(answer)) == (400, {"HAPI-0507"})


async def test_a_reference_must_be_of_a_type_that_belongs_there(fhir: FhirClient, thread: Thread) -> None:
    answer = await fhir.put(communication(thread.of("c3"), subject=thread.reference("c1")))

    assert (answer.status_code, codes(answer)) == (422, {"HAPI-0931"})


@pytest.mark.parametrize("subject", [{"display": "somebody"}, {"identifier": {"value": "x"}}])
async def test_a_logical_reference_leads_nowhere_and_holds(fhir: FhirClient, subject: dict[str, Any]) -> None:
    answer = await fhir.put(communication(f"c-{unique()}", subject=subject))

    assert (answer.status_code, answer.json()["subject"]) == (201, subject)


async def test_what_is_referred_to_cannot_be_deleted(fhir: FhirClient, thread: Thread) -> None:
    for name in ("Patient/p1", "Communication/c1"):
        refused = await fhir.delete(f"{name}-{thread.suffix}")
        assert refused.status_code == 409
        codes(refused)
    await fhir.put(communication(thread.of("c2")))

    for name in ("Communication/c1", "Patient/p1"):
        assert (await fhir.delete(f"{name}-{thread.suffix}")).status_code == 200
    gone = await fhir.put(communication(thread.of("c3"), subject=thread.reference("p1")))
    assert gone.status_code == 400


async def test_whether_the_server_works_is_asked_by_a_search(fhir: FhirClient) -> None:
    for resource_type in ("Communication", "Patient"):
        answer = await fhir.http.get(f"/{resource_type}", params={"_count": "1"})
        assert (answer.status_code, answer.json()["resourceType"]) == (200, "Bundle")
