"""Identifiers we make up."""

import uuid

import uuid_utils.compat


def new_id() -> uuid.UUID:
    """A UUIDv7 (RFC 9562 §5.7): unique, and sorted by the time it was made."""
    return uuid_utils.compat.uuid7()
