"""Two who write the same resource (FHIR R4, managing resource contention)."""

import asyncio
from collections import Counter

import pytest

from ..servers import unique
from .fhir import FhirClient, codes, patient, version


async def test_the_current_version_in_if_match_is_replaced(fhir: FhirClient) -> None:
    patient_id = f"p-{unique()}"
    await fhir.put(patient(patient_id))

    for number, tag in enumerate(('W/"1"', '"2"', "3"), start=2):
        answer = await fhir.put(patient(patient_id, birthDate=f"199{number}"), If_Match=tag)
        assert (answer.status_code, version(answer)) == (200, number)


@pytest.mark.parametrize("tag", ['W/"1"', 'W/"99"'])
async def test_hapi_answers_409_to_a_stale_if_match_where_fhir_says_412(fhir: FhirClient, tag: str) -> None:
    patient_id = f"p-{unique()}"
    for active in (True, False):
        await fhir.put(patient(patient_id, active=active))

    stale = await fhir.put(patient(patient_id, gender="male"), If_Match=tag)
    unchanged = await fhir.put(patient(patient_id, active=False), If_Match=tag)

    for answer in (stale, unchanged):
        assert (answer.status_code, codes(answer)) == (409, {"HAPI-0550", "HAPI-0989"})
    assert "gender" not in (await fhir.get(f"Patient/{patient_id}")).json()


async def test_hapi_takes_any_if_match_for_an_id_never_used_where_fhir_says_412(fhir: FhirClient) -> None:
    answer = await fhir.put(patient(f"p-{unique()}"), If_Match='W/"1"')

    assert (answer.status_code, version(answer)) == (201, 1)


async def test_if_match_of_version_0_stores_only_what_was_never_there(fhir: FhirClient) -> None:
    """What `If-None-Match: *` would be for, which HAPI takes no notice of."""
    patient_id = f"p-{unique()}"

    first = await fhir.put(patient(patient_id, active=True), If_Match='W/"0"')
    second = await fhir.put(patient(patient_id, active=False), If_Match='W/"0"')
    same = await fhir.put(patient(patient_id, active=True), If_Match='W/"0"')
    await fhir.delete(f"Patient/{patient_id}")
    deleted = await fhir.put(patient(patient_id, active=True), If_Match='W/"0"')

    assert (first.status_code, version(first)) == (201, 1)
    assert [each.status_code for each in (second, same, deleted)] == [409] * 3


async def test_hapi_ignores_if_none_match_on_an_update(fhir: FhirClient) -> None:
    """FHIR R4 leaves it open; a client that relies on it overwrites the other's resource."""
    patient_id = f"p-{unique()}"
    await fhir.put(patient(patient_id, active=True))

    answer = await fhir.put(patient(patient_id, active=False), If_None_Match="*")

    assert (answer.status_code, version(answer)) == (200, 2)


async def test_hapi_ignores_if_match_on_a_deletion(fhir: FhirClient) -> None:
    patient_id = f"p-{unique()}"
    await fhir.put(patient(patient_id))

    assert (await fhir.delete(f"Patient/{patient_id}", If_Match='W/"7"')).status_code == 200
    assert (await fhir.get(f"Patient/{patient_id}")).status_code == 410


async def test_a_deletion_is_a_version_that_if_match_knows(fhir: FhirClient) -> None:
    patient_id = f"p-{unique()}"
    await fhir.put(patient(patient_id))
    await fhir.delete(f"Patient/{patient_id}")

    stale = await fhir.put(patient(patient_id), If_Match='W/"1"')
    current = await fhir.put(patient(patient_id), If_Match='W/"2"')

    assert stale.status_code == 409
    assert (current.status_code, version(current)) == (201, 3)


async def test_of_writers_with_the_same_if_match_one_wins(fhir: FhirClient) -> None:
    patient_id = f"p-{unique()}"
    await fhir.put(patient(patient_id))

    answers = await asyncio.gather(
        *(fhir.put(patient(patient_id, birthDate=f"{1950 + n}"), If_Match='W/"1"') for n in range(6))
    )

    assert Counter(each.status_code for each in answers) == {200: 1, 409: 5}
    (won,) = [each for each in answers if each.status_code == 200]
    stored = (await fhir.get(f"Patient/{patient_id}")).json()
    assert (stored["birthDate"], stored["meta"]["versionId"]) == (won.json()["birthDate"], "2")


async def test_writers_without_if_match_lose_no_version(fhir: FhirClient) -> None:
    patient_id = f"p-{unique()}"
    await fhir.put(patient(patient_id))

    answers = await asyncio.gather(
        *(fhir.put(patient(patient_id, birthDate=f"{1950 + n}")) for n in range(6))
    )

    stored = sorted(version(each) for each in answers if each.status_code == 200)
    refused = [each for each in answers if each.status_code != 200]
    assert stored == list(range(2, len(stored) + 2))
    assert {each.status_code for each in refused} <= {409}
    assert {code for each in refused for code in codes(each)} <= {"HAPI-0550", "HAPI-0823"}
    history = (await fhir.get(f"Patient/{patient_id}/_history?_count=100")).json()
    assert history["total"] == len(stored) + 1


async def test_of_creators_of_one_id_one_creates(fhir: FhirClient) -> None:
    patient_id = f"p-{unique()}"

    answers = await asyncio.gather(
        *(fhir.put(patient(patient_id, birthDate=f"{1950 + n}")) for n in range(6))
    )

    assert Counter(each.status_code for each in answers)[201] == 1
    assert {each.status_code for each in answers} <= {200, 201, 409}
    refusals = {code for each in answers if each.status_code == 409 for code in codes(each)}
    assert refusals <= {"HAPI-0550", "HAPI-0823", "HAPI-0825"}
