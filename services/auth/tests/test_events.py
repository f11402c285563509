"""The events auth publishes: their examples hold, and its own consumers read them."""

import pytest

from quill_auth.bootstrap import definition
from quill_auth.events import PUBLISHED
from quill_shared.platform.events import Event


@pytest.mark.parametrize("event", PUBLISHED)
def test_an_example_is_a_valid_event(event: type[Event]) -> None:
    parsed = event.model_validate(dict(event.example))

    assert parsed.model_dump(mode="json") == dict(event.example)
    assert event.type_name.startswith("auth.")
    assert event.__doc__


@pytest.mark.parametrize("event", PUBLISHED)
def test_an_example_is_read_by_who_consumes_it_here(event: type[Event]) -> None:
    for consumer in definition.consumers.by_type.get(event.type_name, ()):
        consumer.model.model_validate(dict(event.example))
