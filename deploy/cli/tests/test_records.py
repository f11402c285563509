"""Reading NDJSON and Bundles."""

import io
import json
from decimal import Decimal

import pytest

from quill_cli.errors import CommandError
from quill_cli.records import Record, count, read


def records(text: str | bytes) -> list[Record]:
    return list(read(io.BytesIO(text.encode() if isinstance(text, str) else text)))


def test_a_line_is_handed_on_byte_for_byte() -> None:
    line = '{"resourceType":"Patient", "id":"a", "x": 1.50, "name":"\\u00e9"}'
    assert records(line + "\n") == [Record(1, line.encode(), "Patient", "a")]


def test_blank_lines_and_a_byte_order_mark_do_not_count() -> None:
    text = b'\xef\xbb\xbf{"resourceType":"Patient","id":"a"}\n\n  \n{"resourceType":"Patient","id":"b"}'
    assert [(each.number, each.id) for each in records(text)] == [(1, "a"), (4, "b")]


def test_broken_lines_are_told_apart_and_the_others_go_on() -> None:
    text = b'{"resourceType":"Patient","id":"a"}\nnonsense\n\xff\xfe\n[]\n{"resourceType":"Patient"}\n'
    assert [(each.number, each.fault) for each in records(text)] == [
        (1, ""),
        (2, "not JSON"),
        (3, "not UTF-8"),
        (4, "not a JSON object"),
        (5, ""),
    ]


def test_the_first_line_may_be_the_broken_one() -> None:
    text = '{"resourceType":"Patient"\n{"resourceType":"Patient","id":"b"}\n'
    assert [(each.number, each.fault, each.id) for each in records(text)] == [
        (1, "not JSON", ""),
        (2, "", "b"),
    ]


@pytest.mark.parametrize("indent", [None, 2])
def test_a_bundle_gives_its_entries_with_their_numbers_as_typed(indent: int | None) -> None:
    patient = {"resourceType": "Patient", "id": "a", "x": [True, None, "é"]}
    text = json.dumps(
        {"resourceType": "Bundle", "entry": [{"resource": patient}, {"fullUrl": "urn:x"}]}, indent=indent
    ).replace("true", "1.500000000000000000001")
    first, second = records(text)
    assert (first.number, first.type, first.id) == (1, "Patient", "a")
    assert json.loads(first.content, parse_float=Decimal)["x"] == [
        Decimal("1.500000000000000000001"),
        None,
        "é",
    ]
    assert second == Record(2, fault="the entry has no resource")


def test_one_patient_over_several_lines_is_one_record() -> None:
    assert [each.id for each in records(json.dumps({"resourceType": "Patient", "id": "a"}, indent=2))] == [
        "a"
    ]


@pytest.mark.parametrize("text", ["[1]", '[\n{"resourceType":"Patient"}\n]'])
def test_an_array_is_no_ndjson(text: str) -> None:
    with pytest.raises(CommandError, match="JSON array"):
        records(text)


def test_nothing_is_nothing() -> None:
    assert records("") == records("\n \n") == []


def test_another_id_changes_nothing_else() -> None:
    (record,) = records('{"resourceType":"Patient","x":0.10,"id":"old"}')
    assert record.with_id("new") == b'{"resourceType":"Patient","x":0.10,"id":"new"}'


def test_lines_are_counted_where_that_is_quick() -> None:
    file = io.BytesIO(b'{"resourceType":"Patient"}\n\n{"resourceType":"Patient"}\n')
    assert count(file) == 2
    assert file.tell() == 0
    assert count(io.BytesIO(b'{"resourceType":"Bundle"}')) is None
    assert count(io.BytesIO(b"{\n}")) is None
