"""The same cases for the stand-ins and for the real servers, as far as such are named.

QUILL_TEST_FHIR_URL is the base of a HAPI FHIR server set up as `deploy/hapi` says; QUILL_TEST_OPENEHR_URL,
_USERNAME and _PASSWORD are an EHRbase server's. They may hold anything and keep what the cases store.
"""

import os
from typing import Final

import pytest

_SERVERS: Final = {"hapi": "QUILL_TEST_FHIR_URL", "ehrbase": "QUILL_TEST_OPENEHR_URL"}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the cases of a real server that no variable names."""
    absent = {marker for marker, variable in _SERVERS.items() if not os.environ.get(variable)}
    left_out = [item for item in items if any(item.get_closest_marker(marker) for marker in absent)]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in set(left_out)]
