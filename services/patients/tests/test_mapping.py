"""Between flat demographics and FHIR: what is not given stays as it is."""

import copy
from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quill_patients.domain import NHS_NUMBER_SYSTEM, Gender, avatar_gradient
from quill_patients.fhir import mapping
from quill_patients.fhir.mapping import AVATAR_URL, Address, Contact, Demographics

MRN = "http://hospital.example.org/identifiers/mrn"

WHOLE: dict[str, Any] = {
    "resourceType": "Patient",
    "id": "p-1",
    "meta": {"versionId": "3", "tag": [{"code": "t"}]},
    "extension": [{"url": "urn:other", "valueString": "x"}, {"url": AVATAR_URL, "valueInteger": 4}],
    "identifier": [
        {"system": "http://other", "value": "1"},
        {"system": NHS_NUMBER_SYSTEM, "value": "9434765919", "period": {"start": "2001"}},
        {"system": MRN, "value": "M-1"},
    ],
    "active": True,
    "name": [
        {"use": "maiden", "family": "Gordon"},
        {"use": "official", "family": "Byron", "given": ["Ada", "Augusta"], "prefix": ["Lady"]},
    ],
    "telecom": [
        {"system": "phone", "value": "1", "use": "home"},
        {"system": "fax", "value": "2"},
        {"system": "email", "value": "a@example.org"},
    ],
    "gender": "female",
    "birthDate": "1980-01-02",
    "_birthDate": {"extension": [{"url": "urn:time", "valueTime": "10:00:00"}]},
    "address": [{"use": "home", "line": ["1 Road"], "city": "Leeds", "postalCode": "LS1"}],
    "maritalStatus": {"text": "unknown"},
}

ELEMENTS_OF = {
    "given_name": "name",
    "family_name": "name",
    "born": "birthDate",
    "gender": "gender",
    "nhs_number": "identifier",
    "mrn": "identifier",
    "address": "address",
    "contact": "telecom",
}

names = st.text("abcdefgh", min_size=1, max_size=8)
given_fields = st.fixed_dictionaries(
    {},
    optional={
        "given_name": names,
        "family_name": names,
        "born": st.dates(date(1930, 1, 1), date(2020, 1, 1)),
        "gender": st.sampled_from(Gender),
        "nhs_number": st.just("9990000018"),
        "mrn": names,
        "address": st.builds(Address, city=names),
        "contact": st.builds(Contact, phone=names),
    },
)


@given(given_fields)
def test_only_given_elements_change(given: dict[str, Any]) -> None:
    before = copy.deepcopy(WHOLE)
    after = mapping.changed(WHOLE, Demographics(**given), mrn_system=MRN)

    assert before == WHOLE, "the original was changed"
    touched = {ELEMENTS_OF[name] for name in given}
    touched |= {"_birthDate"} if "born" in given else set()
    assert {name: after.get(name) for name in WHOLE if name not in touched} == {
        name: WHOLE[name] for name in WHOLE if name not in touched
    }
    assert set(after) <= set(WHOLE)


@given(given_fields)
def test_a_change_made_twice_is_made_once(given: dict[str, Any]) -> None:
    once = mapping.changed(WHOLE, Demographics(**given), mrn_system=MRN)

    assert mapping.changed(once, Demographics(**given), mrn_system=MRN) == once


def test_one_half_of_a_name_leaves_the_other() -> None:
    family = mapping.changed(WHOLE, Demographics(family_name="King"), mrn_system=MRN)
    given = mapping.changed(WHOLE, Demographics(given_name="Mary Ann"), mrn_system=MRN)

    official = {"use": "official", "family": "Byron", "given": ["Ada", "Augusta"], "prefix": ["Lady"]}
    assert family["name"] == [WHOLE["name"][0], {**official, "family": "King"}]
    assert given["name"] == [WHOLE["name"][0], {**official, "given": ["Mary", "Ann"]}]


def test_a_name_in_words_goes_when_its_parts_change() -> None:
    before = {"name": [{"text": "Ada Byron", "family": "Byron", "_family": {"id": "1"}, "given": ["Ada"]}]}

    after = mapping.changed(before, Demographics(family_name="King"), mrn_system=MRN)

    assert after["name"] == [{"given": ["Ada"], "family": "King"}]


def test_an_old_name_is_not_the_one_to_change() -> None:
    before = {"name": [{"use": "old", "family": "Byron"}]}

    after = mapping.changed(before, Demographics(family_name="King"), mrn_system=MRN)

    assert after["name"] == [{"use": "old", "family": "Byron"}, {"use": "official", "family": "King"}]


def test_parts_of_an_address_and_a_contact_leave_the_others() -> None:
    after = mapping.changed(
        WHOLE,
        Demographics(address=Address(postal_code="LS2"), contact=Contact(email="b@example.org")),
        mrn_system=MRN,
    )

    assert after["address"] == [{"use": "home", "line": ["1 Road"], "city": "Leeds", "postalCode": "LS2"}]
    assert after["telecom"] == [*WHOLE["telecom"][:2], {"system": "email", "value": "b@example.org"}]


def test_a_new_patient() -> None:
    resource = mapping.new_patient(
        "p-9",
        Demographics(
            given_name="Ada",
            family_name="Byron",
            born=date(1980, 1, 2),
            gender=Gender.FEMALE,
            nhs_number="9434765919",
            mrn="M-1",
            address=Address(line=["1 Road"], city="Leeds", postal_code="LS1", country="GB"),
            contact=Contact(phone="1", email="a@example.org"),
        ),
        mrn_system=MRN,
    )

    assert resource == {
        "resourceType": "Patient",
        "id": "p-9",
        "extension": [{"url": AVATAR_URL, "valueInteger": avatar_gradient("p-9")}],
        "active": True,
        "name": [{"use": "official", "family": "Byron", "given": ["Ada"]}],
        "birthDate": "1980-01-02",
        "gender": "female",
        "identifier": [
            {"system": "https://fhir.nhs.uk/Id/nhs-number", "value": "9434765919"},
            {"system": MRN, "value": "M-1"},
        ],
        "address": [
            {"use": "home", "line": ["1 Road"], "city": "Leeds", "postalCode": "LS1", "country": "GB"}
        ],
        "telecom": [{"system": "phone", "value": "1"}, {"system": "email", "value": "a@example.org"}],
    }


def test_nothing_given_leaves_no_empty_element() -> None:
    resource = mapping.new_patient(
        "p-9",
        Demographics(given_name="A", family_name="B", address=Address(), contact=Contact()),
        mrn_system=MRN,
    )

    assert not resource.keys() & {"address", "telecom", "identifier", "birthDate", "gender"}


def test_repeated_avatars_become_one() -> None:
    avatar = {"url": AVATAR_URL, "valueInteger": 4}
    before = {"id": "p-1", "extension": [avatar, {"url": "urn:other", "valueString": "x"}, avatar]}

    after = mapping.changed(before, Demographics(), mrn_system=MRN)

    assert after["extension"] == [
        {"url": AVATAR_URL, "valueInteger": avatar_gradient("p-1")},
        {"url": "urn:other", "valueString": "x"},
    ]


@pytest.mark.parametrize(
    ("typed", "searches"),
    [
        ("943 476 5919", [[("identifier", f"{NHS_NUMBER_SYSTEM}|9434765919,{MRN}|943 476 5919")]]),
        ("1980-01-02", [[("birthdate", "1980-01-02")]]),
        ("1980-02-31", []),
        ("byron", [[("name", "byron")]]),
        (
            " ada  byron ",
            [
                [("name", "ada"), ("name", "byron")],
                [("family", "ada byron")],
                [("given", "ada"), ("family", "byron")],
            ],
        ),
        ("M-1", [[("identifier", f"{MRN}|M-1")], [("name", "M-1")]]),
        ("a,b|c$d\\", [[("name", r"a\,b\|c\$d\\")]]),
    ],
)
def test_what_a_person_typed_becomes_searches(typed: str, searches: list[Any]) -> None:
    assert [list(each) for each in mapping.searches_for(typed, mrn_system=MRN)] == searches
