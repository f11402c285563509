"""Conditional requests (RFC 9110 §13): entity tags and If-Match."""

from typing import Annotated

from fastapi import Depends, Header

from .errors import PreconditionFailed


def entity_tag(version: int | str) -> str:
    """The tag of a resource at `version`, weak as FHIR writes it: `W/"3"`."""
    return f'W/"{version}"'


def _versions(if_match: Annotated[str | None, Header(max_length=1000)] = None) -> frozenset[str] | None:
    if if_match is None or if_match.strip() == "*":
        return None
    tags = (each.strip().removeprefix("W/").strip('"') for each in if_match.split(","))
    return frozenset(tags)


IfMatch = Annotated[frozenset[str] | None, Depends(_versions)]
"""The versions an If-Match header accepts; None: any. Weak and strong tags count alike, as in FHIR
(R4 §3.1.0.5): the version says it all."""


def require_match(if_match: frozenset[str] | None, version: int | str) -> None:
    """Refuses a change to a version the caller did not mean.

    Raises:
        PreconditionFailed: `version` is not among the accepted ones.
    """
    if if_match is not None and str(version) not in if_match:
        raise PreconditionFailed
