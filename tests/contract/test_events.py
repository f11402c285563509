"""Publishers and readers of events agree, and with the catalogue.

Everything is taken from the six definitions, so that a new event or consumer is tested without a line here.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from applications import SERVICES, published, readings
from event_catalogue import CATALOGUE, FURTHER_READERS, LATER_EVENTS, LATER_READERS, PROCESSES

from quill_shared.platform.events import Event

ROOT = Path(__file__).parents[2]
PUBLISHED = published()
TYPE = re.compile(r"[a-z]+\.[a-z]+\.[a-z_]+\.v[1-9][0-9]*")
# Demographics, clinical text and titles never travel; the account directory is the one exception.
FORBIDDEN = re.compile(r"birth|nhs|mrn|address|phone|gender|family|given|body|text|title|subject|content")


def schema_file(type_: str) -> Path:
    """Where the publisher of an event commits its schema."""
    return ROOT / "services" / PUBLISHED[type_][0] / "events" / f"{type_}.schema.json"


def faults(schema: Mapping[str, Any], document: object) -> list[str]:
    """What a JSON Schema validator finds wrong with a document."""
    validator = jsonschema_rs.validator_for(dict(schema), validate_formats=True)
    return [error.message for error in validator.iter_errors(document)]


@pytest.mark.parametrize("type_", PUBLISHED)
def test_an_example_is_what_its_model_and_its_schema_say(type_: str) -> None:
    _, event = PUBLISHED[type_]
    instance = event.model_validate(event.example)
    assert json.loads(instance.model_dump_json()) == event.example, "the example is what travels, in full"
    assert faults(event.model_json_schema(mode="serialization"), event.example) == []


@pytest.mark.parametrize("type_", PUBLISHED)
def test_the_committed_schema_accepts_the_example_and_nothing_more(type_: str) -> None:
    schema = json.loads(schema_file(type_).read_text(encoding="utf-8"))
    example = dict(PUBLISHED[type_][1].example)
    assert faults(schema, example) == []
    assert faults(schema, {**example, "unknown": 1}), "the schema lets unknown members through"
    for member in example:
        missing = {name: value for name, value in example.items() if name != member}
        assert faults(schema, missing), f"{member} may be missing"


@pytest.mark.parametrize("type_", PUBLISHED)
def test_an_event_is_named_for_its_publisher_and_carries_no_demographics(type_: str) -> None:
    publisher, event = PUBLISHED[type_]
    assert TYPE.fullmatch(type_)
    assert type_.split(".")[0] == publisher
    assert [name for name in event.model_fields if FORBIDDEN.search(name)] == []


@pytest.mark.parametrize(("service", "type_"), readings())
def test_a_reader_understands_what_is_published(service: str, type_: str) -> None:
    assert type_ in PUBLISHED, f"{service} reads {type_}, which nobody publishes"
    example = PUBLISHED[type_][1].example
    for consumer in SERVICES[service].consumers.by_type[type_]:
        read = consumer.model.model_validate(example)
        extra = {"added_later": "an expanding publisher", **example}
        assert consumer.model.model_validate(extra) == read, "a reader ignores what it does not know"


def test_what_is_published_is_the_catalogue() -> None:
    assert set(PUBLISHED) == set(CATALOGUE) - set(LATER_EVENTS)


@pytest.mark.parametrize("type_", PUBLISHED)
def test_the_data_of_an_event_is_that_of_the_catalogue(type_: str) -> None:
    assert set(PUBLISHED[type_][1].model_fields) == CATALOGUE[type_].data


@pytest.mark.parametrize("type_", CATALOGUE)
def test_an_event_is_read_by_those_of_the_catalogue(type_: str) -> None:
    registered = {name for name, definition in SERVICES.items() if type_ in definition.consumers.types}
    if type_ in LATER_EVENTS:
        assert registered == set()
        return
    wanted = CATALOGUE[type_].read_by - {PROCESSES}
    assert wanted - registered == {service for each, service in LATER_READERS if each == type_}
    beyond = {service for each, service in FURTHER_READERS if each == type_}
    assert registered - wanted == beyond


def test_no_exception_outlives_its_reason() -> None:
    assert set(LATER_EVENTS) & set(PUBLISHED) == set()
    assert [
        (type_, service) for type_, service in LATER_READERS if type_ in SERVICES[service].consumers.types
    ] == []
    assert all(service in CATALOGUE[type_].read_by for type_, service in LATER_READERS)
    assert not any(service in CATALOGUE[type_].read_by for type_, service in FURTHER_READERS)


def test_the_validator_finds_what_is_wrong() -> None:
    class Something(Event):
        """An event with one member."""

        type_name = "orgs.something.done.v1"
        example = {"organisation_id": 1}  # noqa: RUF012 - declared as a class variable by the base

        organisation_id: int

    assert faults(Something.model_json_schema(), {"organisation_id": "one"})
    assert faults(Something.model_json_schema(), {})
