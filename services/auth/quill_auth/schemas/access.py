"""Requests and answers about access for people outside."""

from datetime import datetime

from pydantic import Field

from quill_shared.platform.schemas import RequestModel, ResponseModel, Text

from ..domain.invites import UserType
from .fields import Email, Password, Username


class InviteExternal(RequestModel):
    """Whom to invite to a patient's record."""

    email: Email = Field(min_length=1)
    user_type: UserType


class AcceptInvite(RequestModel):
    """An invitation taken up."""

    token: Text = Field(max_length=512)
    username: Username | None = Field(default=None, description="for a new account")
    password: Password | None = Field(
        default=None, description="for a new account, or of the account with the invited address"
    )


class InviteAnswer(ResponseModel):
    """The invitation; the token is shown this once."""

    invite_url: str
    token: str


class AcceptAnswer(ResponseModel):
    """`access_granted` to an account there was, or `registered`."""

    status: str
    user_id: int


class Grant(ResponseModel):
    """Somebody's access to a patient's record."""

    user_id: int
    username: str
    email: str
    user_type: str
    granted_at: datetime
    granted_by: int = Field(description="id of the account that invited")
    access_level: str = Field(description="`full`: all of the patient's record")


class GrantList(ResponseModel):
    """A page of unrevoked grants, by user id."""

    grants: list[Grant]
    next_cursor: str | None


class Status(ResponseModel):
    """What became of it."""

    status: str
