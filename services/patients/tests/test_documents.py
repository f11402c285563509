"""FHIR JSON goes through unchanged."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quill_patients.fhir import documents
from quill_patients.fhir.documents import DocumentError

numbers = st.one_of(
    st.integers(-(10**25), 10**25).map(str),
    st.decimals(allow_nan=False, allow_infinity=False, places=4).map(str),
    st.from_regex(r"-?(0|[1-9][0-9]{0,8})\.[0-9]{1,12}(e[+-]?[0-9]{1,2})?", fullmatch=True),
)


@given(numbers)
def test_numbers_keep_their_digits(number: str) -> None:
    text = f'{{"a":{number},"b":[{number}]}}'

    assert documents.dump(documents.parse(text)) == text


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(st.text(), json_values, max_size=5))
def test_what_is_dumped_is_what_was_parsed(document: dict[str, Any]) -> None:
    assert json.loads(documents.dump(document)) == document
    if all(text.isprintable() for text in document):
        assert documents.parse(documents.dump(document)) == document


@given(st.lists(st.dictionaries(st.text(), json_values, max_size=3), max_size=5), st.sampled_from([None, 2]))
def test_a_bundle_is_cut_into_the_texts_of_its_resources(
    resources: list[dict[str, Any]], indent: int | None
) -> None:
    texts = [json.dumps(resource, indent=indent) for resource in resources]
    entries = ",\n ".join(
        f'{{"fullUrl": "x", "resource": {text}, "search": {{"mode": "match"}}}}' for text in texts
    )
    link = '{"relation": "next", "url": "http://fhir.test/2"}'
    page = documents.bundle_page(
        f' {{ "resourceType": "Bundle" , "meta": {{"lastUpdated": "then"}}, "link": [{link}],'
        f' "entry" : [ {entries} ] }} '
    )

    assert [each.text for each in page.resources] == texts
    assert [each.content for each in page.resources] == resources
    assert (page.next_url, page.as_of) == ("http://fhir.test/2", "then")


def test_an_outcome_among_the_entries_is_no_match() -> None:
    page = documents.bundle_page(
        '{"resourceType":"Bundle","entry":[{"resource":{"a":1},"search":{"mode":"outcome"}},{"fullUrl":"x"}]}'
    )

    assert page.resources == []


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "[]",
        "{",
        '{"resourceType":"Bundle"',
        '{"resourceType":"Patient"}',
        '{"resourceType":"Bundle","entry":[{]}',
        '{"resourceType":"Bundle","entry":[{"resource":{}},]}',
        '{"resourceType":"Bundle","entry":{}}',
        '{"resourceType":"Bundle","link":[{}]}',
        '{"resourceType":"Bundle","meta":7}',
    ],
)
def test_other_texts_are_no_bundle(text: str) -> None:
    with pytest.raises(DocumentError):
        documents.bundle_page(text)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[]",
        b'"x"',
        b"{",
        b'{"a":1,"a":2}',
        b'{"a":NaN}',
        b'{"a":1e999}',
        b'{"a":' + b"9" * 5000 + b"}",
        b'{"a":' * 100 + b"1" + b"}" * 100,
        b"[" * 100_000,
        b"\xff\xfe",
        b'{"a":01}',
    ],
)
def test_other_texts_are_no_resource(text: bytes) -> None:
    with pytest.raises(DocumentError):
        documents.parse(text)


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ('{"a":1.10}', '{"a":1.10,"is_active":true}'),
        (' {"a":1.10 } ', '{"a":1.10,"is_active":true}'),
        ("{}", '{"is_active":true}'),
    ],
)
def test_members_are_added_at_the_end(text: str, result: str) -> None:
    assert documents.with_members(text.lstrip(), is_active=True) == result
