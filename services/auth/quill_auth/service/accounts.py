"""What the use cases on accounts have in common: facts, events, powers, the end of sessions."""

from collections.abc import Collection, Sequence
from datetime import timedelta
from typing import Any

from quill_shared.kernel.cbac import (
    UnknownIdError,
    final_competencies,
    require_base_profession,
    require_competencies,
)
from quill_shared.kernel.permissions import SystemPermission, UnknownPermissionError
from quill_shared.kernel.principal import Principal
from quill_shared.platform.clock import now
from quill_shared.platform.database import UnitOfWork
from quill_shared.platform.errors import Unprocessable
from quill_shared.platform.revocation import InactiveUser, OutdatedToken

from ..domain import passwords as password_rules
from ..domain.administration import Powers, unknown_roles
from ..domain.passwords import PasswordFault
from ..errors import PasswordTooShort, UnknownValue
from ..events import Cbac, SessionRevoked, TokensOutdated, UserDeactivated, UserRegistered, UserUpdated
from ..models import Account
from ..repository import accounts, sessions

_INSTANT = timedelta(microseconds=1)


def display_name(account: Account) -> str:
    """How an account is shown to people."""
    return account.full_name or account.username


def competencies(account: Account) -> tuple[str, ...]:
    """What an account may do clinically, sorted."""
    return final_competencies(
        account.base_profession, account.additional_competencies, account.removed_competencies
    )


def powers(account: Account) -> Powers:
    """Everything that decides what an account may do."""
    return Powers(
        SystemPermission.parse(account.system_permissions),
        frozenset(account.roles),
        frozenset(competencies(account)),
    )


def facts(account: Account) -> dict[str, Any]:
    """The data of the events about an account, and of its internal route."""
    return {
        "user_id": account.id,
        "username": account.username,
        "display_name": display_name(account),
        "email": account.email,
        "system_permissions": account.system_permissions,
        "roles": list(account.roles),
        "cbac": Cbac(
            bp=account.base_profession,
            add=list(account.additional_competencies),
            rem=list(account.removed_competencies),
        ),
        "fhir_patient_id": account.fhir_patient_id,
        "is_active": account.is_active,
        "ver": account.ver,
    }


def subject(user_id: int) -> str:
    """The subject of an account's events."""
    return f"user:{user_id}"


async def announce_registered(uow: UnitOfWork, account: Account) -> None:
    """Tells the others of a new account."""
    await uow.publish(UserRegistered(**facts(account)), subject=subject(account.id), sequence=account.version)


async def announce_changed(uow: UnitOfWork, account: Account, *, powers_changed: bool) -> None:
    """Tells the others of a changed account. With changed powers its access tokens are outdated too."""
    account.updated_at = now()
    if powers_changed:
        account.ver += 1
        account.powers_changed_at = account.updated_at
        account.version += 1
        await uow.publish(
            TokensOutdated(user_id=account.id, ver=account.ver),
            subject=subject(account.id),
            sequence=account.version,
        )
    account.version += 1
    fact = UserUpdated if account.is_active else UserDeactivated
    await uow.publish(fact(**facts(account)), subject=subject(account.id), sequence=account.version)


async def end_sessions(uow: UnitOfWork, account: Account, *, reason: str, but: str | None = None) -> None:
    """Ends every session of a locked account, except one if named.

    A user's tokens are told apart by when they were issued; the instant given lies after the newest of
    them even if another replica, whose clock is ahead, issued it.
    """
    instant = now()
    if but is None:
        newest = await sessions.newest_token_at(uow.session, account.id)
        if newest is not None and newest >= instant:
            instant = newest + _INSTANT
    ended = await sessions.end_all(uow.session, account.id, reason=reason, at=instant, but=but)
    if but is not None:
        for session_id in ended:
            await announce_session_end(
                uow, user_id=account.id, session_id=session_id, at=instant, reason=reason
            )
        return
    account.sessions_ended_at = instant
    account.sessions_ended_reason = reason
    account.version += 1
    await uow.publish(
        SessionRevoked(user_id=account.id, session_id=None, not_before=instant, reason=reason),
        subject=subject(account.id),
        sequence=account.version,
    )


async def announce_session_end(
    uow: UnitOfWork, *, user_id: int, session_id: str, at: Any, reason: str
) -> None:
    """Tells everybody who verifies tokens that a session is over. It ends once, so this is its one event."""
    await uow.publish(
        SessionRevoked(user_id=user_id, session_id=session_id, not_before=at, reason=reason),
        subject=f"session:{session_id}",
        sequence=1,
    )


async def with_actor(
    uow: UnitOfWork, principal: Principal, *targets: int
) -> tuple[Account, dict[int, Account]]:
    """The caller's account as it is now and the targets', all locked.

    A token may be some milliseconds behind the account; who was demoted in them administers nobody.

    Raises:
        InactiveUser, OutdatedToken: the caller is not what the token says any more.
    """
    if targets:
        found = await accounts.locked(uow.session, {principal.user_id, *targets})
        actor = found.get(principal.user_id)
    else:
        found = {}
        actor = await accounts.shared(uow.session, principal.user_id)
    if actor is None or not actor.is_active:
        raise InactiveUser
    if actor.ver != principal.powers_version:
        raise OutdatedToken
    return actor, {user_id: account for user_id, account in found.items() if user_id in targets}


def known_permission(value: str) -> SystemPermission:
    """`value` as a permission.

    Raises:
        UnknownValue: naming it.
    """
    try:
        return SystemPermission.parse(value)
    except UnknownPermissionError as error:
        raise UnknownValue(str(error), code="unknown_permission") from None


def known_profession(value: str) -> str:
    """`value`, if it is a base profession.

    Raises:
        UnknownValue: naming it.
    """
    try:
        return require_base_profession(value)
    except UnknownIdError as error:
        raise UnknownValue(str(error), code="unknown_profession") from None


def known_competencies(values: Collection[str]) -> list[str]:
    """`values`, each once and sorted, if all are competencies.

    Raises:
        UnknownValue: naming the first that is not.
    """
    try:
        return sorted(require_competencies(values))
    except UnknownIdError as error:
        raise UnknownValue(str(error), code="unknown_competency") from None


def known_roles(values: Sequence[str]) -> list[str]:
    """`values`, each once and sorted, if all are roles.

    Raises:
        UnknownValue: naming the first that is not.
    """
    unknown = unknown_roles(values)
    if unknown:
        raise UnknownValue(f"Unknown role: {unknown[0]}", code="unknown_role")
    return sorted(set(values))


def require_good_password(password: str, *, too_short: str = PasswordTooShort.detail) -> None:
    """Refuses a password that may not be set.

    Args:
        too_short: the route's words for a short one.

    Raises:
        PasswordTooShort, Unprocessable: too short, too long.
    """
    fault = password_rules.password_fault(password)
    if fault is PasswordFault.TOO_SHORT:
        raise PasswordTooShort(too_short)
    if fault is PasswordFault.TOO_LONG:
        raise Unprocessable.field("password", f"must be at most {password_rules.LONGEST} characters")
