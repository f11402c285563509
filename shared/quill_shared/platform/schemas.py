"""Bases of request and response models, and the field types every service shares."""

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from .pagination import storable


def _checked(value: Any) -> Any:
    if isinstance(value, str) and not storable(value):
        raise ValueError("must not contain NUL or unpaired surrogates")
    return value


Text = Annotated[str, BeforeValidator(_checked)]
"""Text that a database can hold."""

Id = Annotated[int, Field(strict=True, ge=1, le=2**63 - 1)]
"""The id of a user, organisation, conversation or message in a body: a number, not what looks like one
(`true` would be user 1)."""

IdInAddress = Annotated[int, Field(ge=1, le=2**63 - 1)]
"""The same in a path or query, where everything is text."""


class RequestModel(BaseModel):
    """Base of request bodies: unknown fields and mere look-alikes of a type are refused."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, str_strip_whitespace=False, hide_input_in_errors=True
    )


class ResponseModel(BaseModel):
    """Base of answers."""

    model_config = ConfigDict(frozen=True, from_attributes=True)
