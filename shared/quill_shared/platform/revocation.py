"""Tokens that died before their time: revoked sessions, revoked users, outdated powers.

Every process that verifies tokens keeps a `RevocationList` and looks at it on every request, whether
the token was verified a moment ago or not. It is loaded from auth at the start and at every reconnect
to the bus, follows auth's events in between, and is pulled from auth while the bus is away. When
neither the bus nor auth has been heard for longer than `stale_after`, nobody is let in: an
unknown state is refused, never guessed (events contract, Delivery).

    Unauthenticated
    ├── OutdatedToken         401 token_outdated         its powers changed since; a refresh mends it
    ├── InvalidatedSession    401 session_invalidated
    └── InactiveUser          401 inactive_user
"""

import asyncio
import json
import logging
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from typing import Any, Final, Literal, Protocol

from pydantic import AwareDatetime, BaseModel, ConfigDict

from .bus.port import Message, Tap, Transport
from .errors import Unauthenticated, Unavailable

__all__ = [
    "ACCESS_LIFETIME",
    "SESSION_REVOKED",
    "TOKENS_OUTDATED",
    "InactiveUser",
    "InvalidatedSession",
    "OutdatedToken",
    "RevocationList",
    "RevocationSnapshot",
    "RevokedSession",
    "RevokedUser",
    "Subject",
    "UserVersion",
]

ACCESS_LIFETIME: Final = 15 * 60.0
"""Seconds an access token lives (contract, section 2)."""
_MEMORY: Final = ACCESS_LIFETIME + 5 * 60.0
"""Seconds an entry is kept: the lifetime of a token, its time in a cache, and clocks that differ."""

SESSION_REVOKED: Final = "auth.session.revoked.v1"
TOKENS_OUTDATED: Final = "auth.tokens.outdated.v1"

_log = logging.getLogger(__name__)


class OutdatedToken(Unauthenticated):
    """Issued before the account's powers last changed."""

    code = "token_outdated"
    detail = "Invalid token"


class InvalidatedSession(Unauthenticated):
    """The session was ended: logout, password change, replayed refresh token."""

    code = "session_invalidated"
    detail = "Session invalidated"


class InactiveUser(Unauthenticated):
    """The account is deactivated."""

    code = "inactive_user"
    detail = "Inactive user"


class _Shape(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class RevokedSession(_Shape):
    """A session that ended at `at`."""

    session_id: str
    user_id: int
    reason: str
    at: AwareDatetime


class RevokedUser(_Shape):
    """All tokens of a user issued before `not_before` are dead."""

    user_id: int
    not_before: AwareDatetime
    reason: str


class UserVersion(_Shape):
    """Tokens of a user with a lower `ver` are outdated."""

    user_id: int
    ver: int


class RevocationSnapshot(_Shape):
    """Auth's answer to `GET /internal/revocations`: everything that a token alive now may run into."""

    sessions: list[RevokedSession]
    users: list[RevokedUser]
    versions: list[UserVersion]
    as_of: AwareDatetime


class _SessionRevoked(_Shape):
    user_id: int
    session_id: str | None
    not_before: AwareDatetime
    reason: str


class _Document(BaseModel):
    type: Literal["auth.session.revoked.v1", "auth.tokens.outdated.v1"]
    data: dict[str, Any]


class Subject(Protocol):
    """What is looked up: the claims of a verified token."""

    @property
    def user_id(self) -> int:
        """The account."""

    @property
    def sid(self) -> str:
        """The session."""

    @property
    def iat(self) -> float:
        """When the token was issued, in seconds since the epoch."""

    @property
    def ver(self) -> int:
        """The version of the account's powers it was issued with."""


class RevocationList:
    """What is known about tokens that must not pass although their signature does.

    Args:
        load: fetches auth's current list; any exception counts as "not now".
        max_entries: bound of each of the three tables. When one is full its oldest entry makes room,
            and every token issued before that instant is treated as outdated instead: clients refresh
            and go on, the revoked one cannot. A flood of revocations costs work, never safety.
        pull_interval: seconds between pulls while the bus is away.
        stale_after: seconds without bus and without a successful pull after which `check` refuses.
        clock: seconds since the epoch.

    Example:
        revocations = RevocationList(load)
        async with revocations.following(transport):
            revocations.check(claims)
    """

    def __init__(
        self,
        load: Callable[[], Awaitable[RevocationSnapshot]],
        *,
        max_entries: int = 50_000,
        pull_interval: float = 10.0,
        retry_interval: float = 0.5,
        watch_interval: float = 1.0,
        stale_after: float = 30.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._load = load
        self._max_entries = max_entries
        self._pull_interval = pull_interval
        self._retry_interval = retry_interval
        self._watch_interval = watch_interval
        self._stale_after = stale_after
        self._clock = clock
        # Each value begins with the instant from which the entry's memory runs.
        self._sessions: dict[str, tuple[float, bool]] = {}
        self._users: dict[int, tuple[float, bool]] = {}
        self._versions: dict[int, tuple[float, int]] = {}
        self._floor = -math.inf
        self._trusted_until = -math.inf
        self._in_step = False
        self._next_pull = -math.inf
        self._loading = asyncio.Lock()

    @property
    def ever_known(self) -> bool:
        """Whether it was loaded at least once."""
        return self._trusted_until > -math.inf

    @property
    def known(self) -> bool:
        """Whether the list is fit to decide with."""
        return time.monotonic() <= self._trusted_until

    def __len__(self) -> int:
        """Entries held."""
        return len(self._sessions) + len(self._users) + len(self._versions)

    def check(self, token: Subject) -> None:
        """Lets `token` pass or says why not.

        Raises:
            Unavailable: the list was never loaded, or is too old to trust (503, Retry-After 1).
            InactiveUser: the account was deactivated after the token was issued.
            InvalidatedSession: its session, or all sessions of the user, ended.
            OutdatedToken: the account's powers changed since.
        """
        if time.monotonic() > self._trusted_until:
            raise Unavailable("Session state is not known yet", retry_after=1, code="session_state_unknown")
        if self._users:
            user = self._users.get(token.user_id)
            if user is not None and token.iat < user[0]:
                raise InactiveUser() if user[1] else InvalidatedSession()
        if self._sessions:
            session = self._sessions.get(token.sid)
            if session is not None:
                raise InactiveUser() if session[1] else InvalidatedSession()
        if self._versions:
            version = self._versions.get(token.user_id)
            if version is not None and token.ver < version[1]:
                raise OutdatedToken
        if token.iat <= self._floor:
            raise OutdatedToken

    def revoke_session(self, session_id: str, *, at: datetime, reason: str) -> None:
        """Ends one session."""
        since = at.timestamp()
        if since + _MEMORY < self._clock():
            return
        self._sessions.pop(session_id, None)
        self._sessions[session_id] = (since, reason == "deactivated")
        self._bound(self._sessions)

    def revoke_user(self, user_id: int, *, not_before: datetime, reason: str) -> None:
        """Ends everything the user got before `not_before`; what is issued later lives."""
        since = not_before.timestamp()
        known = self._users.get(user_id)
        if since + _MEMORY < self._clock() or (known is not None and known[0] > since):
            return
        deactivated = reason == "deactivated" or (known is not None and known[0] == since and known[1])
        self._users.pop(user_id, None)
        self._users[user_id] = (since, deactivated)
        self._bound(self._users)

    def outdate(self, user_id: int, *, ver: int) -> None:
        """Refuses the user's tokens below `ver`."""
        known = self._versions.pop(user_id, None)
        self._versions[user_id] = (self._clock(), max(ver, known[1]) if known else ver)
        self._bound(self._versions)

    def apply(self, snapshot: RevocationSnapshot) -> None:
        """Takes in auth's list. Nothing already known is forgotten: an event may be ahead of the list."""
        for session in snapshot.sessions:
            self.revoke_session(session.session_id, at=session.at, reason=session.reason)
        for user in snapshot.users:
            self.revoke_user(user.user_id, not_before=user.not_before, reason=user.reason)
        for version in snapshot.versions:
            self.outdate(version.user_id, ver=version.ver)
        self.prune()

    def prune(self) -> None:
        """Forgets entries that no living token can meet."""
        oldest = self._clock() - _MEMORY
        self._sessions = {key: entry for key, entry in self._sessions.items() if entry[0] >= oldest}
        self._users = {key: entry for key, entry in self._users.items() if entry[0] >= oldest}
        self._versions = {key: entry for key, entry in self._versions.items() if entry[0] >= oldest}

    def tap(self) -> Tap:
        """The subscription that feeds this list."""
        return Tap(
            types=frozenset({SESSION_REVOKED, TOKENS_OUTDATED}),
            deliver=self._deliver,
            connected=self._connected,
        )

    @asynccontextmanager
    async def following(self, transport: Transport) -> AsyncIterator[None]:
        """Keeps the list current for the block. Entering does not wait for the first load."""
        await transport.tap(self.tap())
        watcher = asyncio.create_task(self._watch(transport), name="revocations")
        try:
            yield
        finally:
            watcher.cancel()
            with suppress(asyncio.CancelledError):
                await watcher

    async def reload(self) -> bool:
        """Fetches and applies auth's list; whether that worked."""
        async with self._loading:
            try:
                async with asyncio.timeout(5):
                    snapshot = await self._load()
            except Exception as error:  # noqa: BLE001 - whatever the fault, the watcher goes on and tries again
                _log.warning("revocation list not loaded", extra={"error_type": type(error).__name__})
                return False
            self.apply(snapshot)
            self._trusted_until = time.monotonic() + self._stale_after
            return True

    async def _connected(self) -> None:
        # Events may have been missed until now; those from now on reach _deliver while the list loads.
        self._in_step = False
        self._in_step = await self.reload()
        self._next_pull = time.monotonic()

    async def _deliver(self, message: Message) -> None:
        try:
            document = _Document.model_validate(json.loads(message.body))
            if document.type == SESSION_REVOKED:
                revoked = _SessionRevoked.model_validate(document.data)
                if revoked.session_id is None:
                    self.revoke_user(revoked.user_id, not_before=revoked.not_before, reason=revoked.reason)
                else:
                    self.revoke_session(revoked.session_id, at=revoked.not_before, reason=revoked.reason)
            else:
                outdated = UserVersion.model_validate(document.data)
                self.outdate(outdated.user_id, ver=outdated.ver)
        except ValueError:
            # A revocation we cannot read is one we do not know of: ask auth for the whole list.
            _log.error("unreadable revocation, loading the list", extra={"event_type": message.type})
            self._in_step = False

    async def _watch(self, transport: Transport) -> None:
        pruned = time.monotonic()
        while True:
            now = time.monotonic()
            if not transport.connected:
                self._in_step = False
            if self._in_step:
                self._trusted_until = now + self._stale_after
                self._next_pull = now
            elif now >= self._next_pull:
                connected = transport.connected
                loaded = await self.reload()
                # Loaded while connected from before to after: nothing can have been missed.
                self._in_step = loaded and connected and transport.connected
                self._next_pull = time.monotonic() + (self._pull_interval if loaded else self._retry_interval)
            if now - pruned > 60:
                self.prune()
                pruned = now
            await asyncio.sleep(
                self._watch_interval if self.known else min(self._watch_interval, self._retry_interval)
            )

    def _bound(self, table: dict[Any, tuple[float, Any]]) -> None:
        if len(table) > self._max_entries:
            oldest = next(iter(table))
            since = table.pop(oldest)[0]
            self._floor = max(self._floor, since)
