"""What auth publishes about dead tokens is understood by the list that every process keeps."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from applications import published
from deliveries import message
from event_catalogue import CATALOGUE, PROCESSES

from quill_shared.platform.bus import EmbeddedTransport
from quill_shared.platform.clock import now
from quill_shared.platform.errors import Unauthenticated
from quill_shared.platform.revocation import (
    InvalidatedSession,
    OutdatedToken,
    RevocationList,
    RevocationSnapshot,
)

PUBLISHED = published()


@dataclass(frozen=True)
class Token:
    """The claims that are looked up."""

    user_id: int
    sid: str
    iat: float
    ver: int


async def nothing_revoked() -> RevocationSnapshot:
    """Auth's list when nobody signed out."""
    return RevocationSnapshot(sessions=[], users=[], versions=[], as_of=now())


async def answer_after(type_: str, data: Mapping[str, Any], token: Token) -> type[Unauthenticated] | None:
    """What a token meets once the event has come through the bus; None if it passes."""
    bus = EmbeddedTransport()
    await bus.start()
    revocations = RevocationList(nothing_revoked)
    async with revocations.following(bus):
        await revocations.reload()
        revocations.check(token)
        event = message(type_, data)
        assert list(await bus.publish([event, event])) == [True, True]
        for _ in range(200):
            if len(revocations):
                break
            await asyncio.sleep(0.005)
        try:
            revocations.check(token)
        except Unauthenticated as refused:
            return type(refused)
        finally:
            await bus.close()
    return None


def test_the_private_queue_reads_what_the_catalogue_gives_every_process() -> None:
    catalogued = {type_ for type_, entry in CATALOGUE.items() if PROCESSES in entry.read_by}
    assert RevocationList(nothing_revoked).tap().types == catalogued
    assert catalogued <= set(PUBLISHED)


@pytest.mark.parametrize("whole_account", [False, True])
async def test_a_published_revocation_ends_the_session(*, whole_account: bool) -> None:
    data = {
        **PUBLISHED["auth.session.revoked.v1"][1].example,
        "not_before": now().isoformat(),
    }
    if whole_account:
        data["session_id"] = None
    token = Token(data["user_id"], data["session_id"] or "any", now().timestamp() - 60, 1)
    assert await answer_after("auth.session.revoked.v1", data, token) is InvalidatedSession


async def test_a_published_change_of_powers_outdates_the_tokens_before_it() -> None:
    data = PUBLISHED["auth.tokens.outdated.v1"][1].example
    before = Token(data["user_id"], "s", now().timestamp() - 60, data["ver"] - 1)
    since = Token(data["user_id"], "s", now().timestamp() - 60, data["ver"])
    assert await answer_after("auth.tokens.outdated.v1", data, before) is OutdatedToken
    assert await answer_after("auth.tokens.outdated.v1", data, since) is None
