"""Sessions: sign in, refresh, sign out, who am I, and what is revoked."""

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any

from quill_shared.kernel.access.repository import enabled_features, primary_organisation
from quill_shared.kernel.principal import Principal
from quill_shared.platform.clock import now
from quill_shared.platform.context import current
from quill_shared.platform.database import UnitOfWork
from quill_shared.platform.identifiers import new_id
from quill_shared.platform.revocation import (
    ACCESS_LIFETIME,
    InactiveUser,
    InvalidatedSession,
    RevocationSnapshot,
    RevokedSession,
    RevokedUser,
    UserVersion,
)

from ..context import AuthContext
from ..domain.sessions import Family, Verdict, expiry, judge
from ..errors import BadRefreshToken, ExpiredSession, NoRefreshToken, ReplayedRefreshToken
from ..keys import KeyRecord
from ..models import Account
from ..repository import accounts, keys, sessions
from .accounts import announce_session_end, competencies, display_name
from .credentials import CredentialCheck

_REFRESH_BYTES = 32
_MEMORY = timedelta(seconds=ACCESS_LIFETIME + 5 * 60)
"""How long a revocation is told of: no token it concerns lives longer, and clocks differ."""


@dataclass(frozen=True, slots=True)
class SignedIn:
    """What a sign-in or a refresh gives: two tokens of a session, and whose it is."""

    access_token: str
    refresh_token: str
    session_id: str
    username: str
    roles: list[str]


@dataclass(frozen=True, slots=True)
class Me:
    """The caller's account and session."""

    account: Account
    name: str
    competencies: tuple[str, ...]
    enabled_features: list[str]
    session_expires_at: datetime


class Sessions:
    """A session begins with a sign-in, lives by refreshes and ends once (contract, section 2)."""

    def __init__(self, uow: UnitOfWork, context: AuthContext) -> None:
        self._uow = uow
        self._session = uow.session
        self._context = context

    async def sign_in(self, *, username: str, password: str, address: str) -> SignedIn:
        """A new session for who knows the password.

        Raises:
            InvalidCredentials, TooManyAttempts, Overloaded: see `CredentialCheck.check`.
        """
        account = await CredentialCheck(self._uow, self._context).check(username, password, address=address)
        instant = now()
        begun = await sessions.begin(
            self._session,
            session_id=str(new_id()),
            user_id=account.id,
            client=current().user_agent.replace("\0", ""),
            at=instant,
        )
        return await self._issue(account, begun.id, instant)

    async def refresh(self, token: str | None) -> SignedIn:
        """New tokens of the session a refresh token belongs to (RFC 9700 §4.14.2).

        The account is locked against change and the session for this transaction alone, so that
        refreshes of one session happen one after the other and never beside a deactivation.

        Raises:
            NoRefreshToken: there is none.
            BadRefreshToken: not one of ours.
            InactiveUser: the account was deactivated.
            InvalidatedSession, ExpiredSession: the session is over.
            ReplayedRefreshToken: used again after the grace; now the session is over.
        """
        if not token:
            raise NoRefreshToken
        token_hash = _token_hash(token)
        owner = await sessions.owner(self._session, token_hash)
        if owner is None:
            raise BadRefreshToken
        session_id, user_id = owner
        account = await accounts.shared(self._session, user_id)
        session = await sessions.locked(self._session, session_id)
        presented = await sessions.token(self._session, token_hash)
        if account is None or session is None or presented is None:
            raise BadRefreshToken
        instant = now()
        family = Family(
            session.created_at, session.refreshed_at, session.ended_at is not None, account.is_active
        )
        verdict = judge(family, presented.first_used_at, instant, self._context.sessions)
        if verdict is Verdict.REPLAYED:
            await self._end(session_id, user_id, reason="refresh_token_replayed")
        _refuse(verdict)
        if verdict is Verdict.ROTATE:
            presented.first_used_at = instant
        session.refreshed_at = instant
        return await self._issue(account, session_id, instant)

    async def sign_out(self, principal: Principal) -> None:
        """Ends the caller's session, here and wherever tokens are verified (safety, fault 11)."""
        await self._end(principal.session_id, principal.user_id, reason="logout")

    async def me(self, principal: Principal) -> Me:
        """The caller, as the account is now.

        Raises:
            InvalidatedSession, InactiveUser: the session or the account ended a moment ago.
        """
        found = await sessions.with_account(self._session, principal.session_id)
        if found is None or found[1].id != principal.user_id:
            raise InvalidatedSession
        session, account = found
        if not account.is_active:
            raise InactiveUser
        if session.ended_at is not None:
            raise InvalidatedSession
        organisation_id = await primary_organisation(self._session, account.id)
        features = await enabled_features(self._session, organisation_id) if organisation_id else frozenset()
        return Me(
            account=account,
            name=display_name(account),
            competencies=competencies(account),
            enabled_features=sorted(features),
            session_expires_at=expiry(session.created_at, session.refreshed_at, self._context.sessions),
        )

    async def _end(self, session_id: str, user_id: int, *, reason: str) -> None:
        instant = now()
        if await sessions.end(self._session, session_id, reason=reason, at=instant):
            await announce_session_end(
                self._uow, user_id=user_id, session_id=session_id, at=instant, reason=reason
            )

    async def _issue(self, account: Account, session_id: str, instant: datetime) -> SignedIn:
        refresh_token = secrets.token_urlsafe(_REFRESH_BYTES)
        await sessions.add_token(
            self._session, token_hash=_token_hash(refresh_token), session_id=session_id, at=instant
        )
        return SignedIn(
            access_token=await self._access_token(account, session_id, instant),
            refresh_token=refresh_token,
            session_id=session_id,
            username=account.username,
            roles=list(account.roles),
        )

    async def _access_token(self, account: Account, session_id: str, instant: datetime) -> str:
        """A signed access token. `iat` keeps its fraction: revocations are told apart by it."""
        signer, settings = self._context.signer, self._context.settings
        if signer.stale:
            signer.adopt(await keys.live(self._session, instant))
        issued = instant.timestamp()
        claims: dict[str, Any] = {
            "iss": settings.token_issuer,
            "aud": settings.token_audience,
            "sub": str(account.id),
            "sid": session_id,
            "jti": secrets.token_urlsafe(16),
            "iat": issued,
            "exp": issued + ACCESS_LIFETIME,
            "typ": "access",
            "username": account.username,
            "roles": list(account.roles),
            "perm": account.system_permissions,
            "cbac": {
                "bp": account.base_profession,
                "add": list(account.additional_competencies),
                "rem": list(account.removed_competencies),
            },
            "ver": account.ver,
        }
        if account.fhir_patient_id is not None:
            claims["pid"] = account.fhir_patient_id
        return signer.sign(claims)


async def published_keys(uow: UnitOfWork) -> list[KeyRecord]:
    """Every key that a living token may be signed with."""
    return list(await keys.live(uow.session, now()))


async def revocations(uow: UnitOfWork) -> RevocationSnapshot:
    """Everything that a token alive now may run into."""
    instant = now()
    since = instant - _MEMORY
    return RevocationSnapshot(
        sessions=[RevokedSession(**each) for each in await sessions.ended_since(uow.session, since)],
        users=[RevokedUser(**each) for each in await sessions.users_ended_since(uow.session, since)],
        versions=[UserVersion(**each) for each in await sessions.powers_changed_since(uow.session, since)],
        as_of=instant,
    )


def _refuse(verdict: Verdict) -> None:
    refusals = {
        Verdict.INACTIVE: InactiveUser,
        Verdict.ENDED: InvalidatedSession,
        Verdict.EXPIRED: ExpiredSession,
        Verdict.REPLAYED: ReplayedRefreshToken,
    }
    refusal = refusals.get(verdict)
    if refusal is not None:
        raise refusal


def _token_hash(token: str) -> bytes:
    return sha256(token.encode(errors="surrogatepass")).digest()
