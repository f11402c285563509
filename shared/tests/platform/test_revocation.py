"""Tokens that must die before their time do, and nobody gets in on a guess."""

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from quill_shared.platform.bus.port import Message, Parked, Subscription, Tap
from quill_shared.platform.errors import Unavailable
from quill_shared.platform.revocation import (
    SESSION_REVOKED,
    TOKENS_OUTDATED,
    InactiveUser,
    InvalidatedSession,
    OutdatedToken,
    RevocationList,
    RevocationSnapshot,
)

NOW = datetime.now(UTC)


@dataclass
class Token:
    """The claims that matter here."""

    user_id: int = 7
    sid: str = "s1"
    iat: float = NOW.timestamp() - 60
    ver: int = 1


class Bus:
    """A transport that a test connects, cuts and speaks through."""

    name = "fake"

    def __init__(self, *, connected: bool = True) -> None:
        self.connected = connected
        self.taps: list[Tap] = []

    async def start(self) -> None: ...

    async def publish(self, messages: Sequence[Message]) -> Sequence[bool]:
        for message in messages:
            for tap in self.taps:
                if self.connected and message.type in tap.types:
                    await tap.deliver(message)
        return [True for _ in messages]

    async def subscribe(self, subscription: Subscription) -> None: ...

    async def tap(self, tap: Tap) -> None:
        self.taps.append(tap)
        if self.connected:
            await tap.connected()

    async def parked(self, service: str) -> Sequence[Parked]:
        return []

    async def replay(self, service: str, event_id: Any = None) -> int:
        return 0

    async def discard(self, service: str, event_id: Any) -> bool:
        return False

    async def stop_consuming(self) -> None: ...

    async def close(self) -> None: ...

    async def reconnect(self) -> None:
        self.connected = True
        for tap in self.taps:
            await tap.connected()

    async def say(self, type: str, data: Any) -> None:
        body = data if isinstance(data, bytes) else json.dumps({"type": type, "data": data}).encode()
        await self.publish([Message(uuid4(), type, body)])


class Auth:
    """Auth's own list and whether it answers."""

    def __init__(self) -> None:
        self.sessions: list[dict[str, Any]] = []
        self.users: list[dict[str, Any]] = []
        self.versions: list[dict[str, Any]] = []
        self.down = False
        self.loads = 0

    async def __call__(self) -> RevocationSnapshot:
        self.loads += 1
        if self.down:
            raise ConnectionRefusedError
        return RevocationSnapshot.model_validate(
            {
                "sessions": self.sessions,
                "users": self.users,
                "versions": self.versions,
                "as_of": NOW.isoformat(),
            }
        )


def quick(auth: Auth, **settings: Any) -> RevocationList:
    defaults = {"pull_interval": 0.05, "retry_interval": 0.01, "watch_interval": 0.01, "stale_after": 0.25}
    return RevocationList(auth, **{**defaults, **settings})


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(3):
        while not condition():
            await asyncio.sleep(0.005)


def passes(revocations: RevocationList, token: Token) -> bool:
    try:
        revocations.check(token)
    except (InactiveUser, InvalidatedSession, OutdatedToken):
        return False
    return True


@pytest.fixture
async def revocations() -> RevocationList:
    revocations = RevocationList(Auth())
    assert await revocations.reload()
    return revocations


async def test_a_revoked_session_ends_and_others_go_on(revocations: RevocationList) -> None:
    revocations.check(Token())
    revocations.revoke_session("s1", at=NOW, reason="logout")
    with pytest.raises(InvalidatedSession) as refused:
        revocations.check(Token())
    assert (refused.value.detail, refused.value.code) == ("Session invalidated", "session_invalidated")
    revocations.check(Token(sid="s2"))


async def test_a_deactivated_user_is_out_until_reactivated(revocations: RevocationList) -> None:
    revocations.revoke_user(7, not_before=NOW, reason="deactivated")
    with pytest.raises(InactiveUser) as refused:
        revocations.check(Token())
    assert (refused.value.detail, refused.value.code) == ("Inactive user", "inactive_user")
    revocations.check(Token(sid="after", iat=NOW.timestamp() + 0.000_001))
    revocations.check(Token(user_id=8))


async def test_all_sessions_end_at_an_instant_finer_than_a_second(revocations: RevocationList) -> None:
    instant = NOW.replace(microsecond=500_000)
    revocations.revoke_user(7, not_before=instant, reason="password_reset")
    with pytest.raises(InvalidatedSession):
        revocations.check(Token(iat=instant.timestamp() - 0.001))
    revocations.check(Token(iat=instant.timestamp()))


async def test_the_latest_instant_counts_whatever_the_order(revocations: RevocationList) -> None:
    revocations.revoke_user(7, not_before=NOW, reason="deactivated")
    revocations.revoke_user(7, not_before=NOW - timedelta(minutes=2), reason="logout_all")
    with pytest.raises(InactiveUser):
        revocations.check(Token(iat=NOW.timestamp() - 1))


async def test_powers_that_changed_outdate_older_tokens(revocations: RevocationList) -> None:
    revocations.outdate(7, ver=3)
    revocations.outdate(7, ver=2)
    with pytest.raises(OutdatedToken) as refused:
        revocations.check(Token(ver=2))
    assert (refused.value.detail, refused.value.code) == ("Invalid token", "token_outdated")
    revocations.check(Token(ver=3))


async def test_entries_go_once_no_living_token_can_meet_them() -> None:
    clock = [NOW.timestamp()]
    revocations = RevocationList(Auth(), clock=lambda: clock[0])
    revocations.revoke_session("s1", at=NOW, reason="logout")
    revocations.revoke_user(7, not_before=NOW, reason="deactivated")
    revocations.outdate(7, ver=3)
    clock[0] += 15 * 60
    revocations.prune()
    assert len(revocations) == 3
    clock[0] += 6 * 60
    revocations.prune()
    assert len(revocations) == 0
    revocations.revoke_session("s1", at=NOW, reason="logout")
    assert len(revocations) == 0, "news of an hour ago concerns no living token"


async def test_memory_is_bounded_and_what_is_forgotten_stays_out() -> None:
    revocations = RevocationList(Auth(), max_entries=100)
    await revocations.reload()
    tokens = []
    for number in range(300):
        at = NOW - timedelta(seconds=300 - number)
        revocations.revoke_session(f"s{number}", at=at, reason="logout")
        tokens.append(Token(sid=f"s{number}", iat=at.timestamp() - 30))
    assert len(revocations) == 100
    assert not any(passes(revocations, token) for token in tokens)
    with pytest.raises(OutdatedToken):
        revocations.check(Token(sid="innocent but old", iat=tokens[0].iat))
    revocations.check(Token(sid="new", iat=NOW.timestamp()))


async def test_events_take_effect_at_once() -> None:
    bus, auth = Bus(), Auth()
    revocations = quick(auth)
    async with revocations.following(bus):
        at = NOW.isoformat()
        data = {"user_id": 1, "session_id": "s1", "not_before": at, "reason": "logout", "new_member": 1}
        await bus.say(SESSION_REVOKED, data)
        data = {"user_id": 2, "session_id": None, "not_before": at, "reason": "deactivated"}
        await bus.say(SESSION_REVOKED, data)
        await bus.say(TOKENS_OUTDATED, {"user_id": 3, "ver": 5})
        assert not passes(revocations, Token(user_id=1))
        assert not passes(revocations, Token(user_id=2, sid="s2"))
        assert not passes(revocations, Token(user_id=3, sid="s3", ver=4))
        assert passes(revocations, Token(user_id=3, sid="s3", ver=5))


async def test_the_list_is_loaded_at_the_start() -> None:
    bus, auth = Bus(), Auth()
    auth.sessions = [{"session_id": "s1", "user_id": 7, "reason": "logout", "at": NOW.isoformat()}]
    auth.users = [{"user_id": 8, "not_before": NOW.isoformat(), "reason": "deactivated"}]
    auth.versions = [{"user_id": 9, "ver": 4}]
    revocations = quick(auth)
    async with revocations.following(bus):
        await until(lambda: revocations.known)
        assert not passes(revocations, Token())
        assert not passes(revocations, Token(user_id=8, sid="s2"))
        assert not passes(revocations, Token(user_id=9, sid="s3", ver=3))


async def test_until_the_first_load_everybody_is_refused() -> None:
    bus, auth = Bus(), Auth()
    auth.down = True
    revocations = quick(auth)
    async with revocations.following(bus):
        await until(lambda: auth.loads > 3)
        with pytest.raises(Unavailable) as refused:
            revocations.check(Token())
        assert refused.value.headers == {"Retry-After": "1"}
        assert refused.value.detail == "Session state is not known yet"
        auth.down = False
        await until(lambda: revocations.known)
        revocations.check(Token())


async def test_what_was_missed_while_cut_off_is_fetched_at_the_reconnect() -> None:
    bus, auth = Bus(), Auth()
    revocations = quick(auth, pull_interval=60)
    async with revocations.following(bus):
        await until(lambda: revocations.known)
        bus.connected = False
        await asyncio.sleep(0.05)
        auth.sessions = [{"session_id": "s1", "user_id": 7, "reason": "logout", "at": NOW.isoformat()}]
        await bus.reconnect()
        assert not passes(revocations, Token())


async def test_a_reconnect_whose_load_fails_is_made_up_for() -> None:
    bus, auth = Bus(), Auth()
    revocations = quick(auth, pull_interval=60, stale_after=60)
    async with revocations.following(bus):
        await until(lambda: revocations.known)
        auth.down = True
        auth.sessions = [{"session_id": "s1", "user_id": 7, "reason": "logout", "at": NOW.isoformat()}]
        await bus.reconnect()
        auth.down = False
        await until(lambda: not passes(revocations, Token()))


async def test_the_list_is_pulled_while_the_bus_is_away() -> None:
    bus, auth = Bus(connected=False), Auth()
    revocations = quick(auth)
    async with revocations.following(bus):
        await until(lambda: revocations.known)
        auth.sessions = [{"session_id": "s1", "user_id": 7, "reason": "logout", "at": NOW.isoformat()}]
        await until(lambda: not passes(revocations, Token()))


async def test_no_pulling_while_the_bus_works() -> None:
    bus, auth = Bus(), Auth()
    revocations = quick(auth)
    async with revocations.following(bus):
        await until(lambda: revocations.known)
        loads = auth.loads
        await asyncio.sleep(0.2)
        assert auth.loads <= loads + 1
        assert revocations.known


async def test_without_bus_and_without_auth_trust_runs_out() -> None:
    bus, auth = Bus(), Auth()
    revocations = quick(auth)
    async with revocations.following(bus):
        await until(lambda: revocations.known)
        bus.connected = False
        auth.down = True
        revocations.check(Token())
        await until(lambda: not revocations.known)
        with pytest.raises(Unavailable):
            revocations.check(Token())
        auth.down = False
        await until(lambda: revocations.known)


async def test_auth_alone_being_away_stops_nobody() -> None:
    bus, auth = Bus(), Auth()
    revocations = quick(auth)
    async with revocations.following(bus):
        await until(lambda: revocations.known)
        await asyncio.sleep(0.05)
        auth.down = True
        await asyncio.sleep(0.4)
        revocations.check(Token())


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff",
        b"[]",
        b"{}",
        b'{"type":"auth.session.revoked.v1","data":{}}',
        b'{"type":"x","data":{}}',
    ],
)
async def test_a_revocation_that_cannot_be_read_is_asked_for(body: bytes) -> None:
    bus, auth = Bus(), Auth()
    revocations = quick(auth)
    async with revocations.following(bus):
        await until(lambda: revocations.known)
        await asyncio.sleep(0.03)
        auth.sessions = [{"session_id": "s1", "user_id": 7, "reason": "logout", "at": NOW.isoformat()}]
        await bus.say(SESSION_REVOKED, body)
        await until(lambda: not passes(revocations, Token()))


async def test_a_load_never_forgets_what_an_event_said() -> None:
    bus, auth = Bus(), Auth()
    revocations = quick(auth)
    async with revocations.following(bus):
        await bus.say(TOKENS_OUTDATED, {"user_id": 7, "ver": 9})
        auth.versions = [{"user_id": 7, "ver": 8}]
        await revocations.reload()
        assert not passes(revocations, Token(ver=8))


async def test_stopping_leaves_no_task_behind() -> None:
    revocations = quick(Auth())
    async with revocations.following(Bus()):
        await until(lambda: revocations.known)
    assert [task for task in asyncio.all_tasks() if task.get_name() == "revocations"] == []
