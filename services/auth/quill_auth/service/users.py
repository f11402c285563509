"""Administration of accounts."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from quill_shared.kernel.access import CareAccess
from quill_shared.kernel.permissions import SystemPermission, UnknownPermissionError
from quill_shared.kernel.principal import Principal
from quill_shared.platform.database import UnitOfWork
from quill_shared.platform.errors import PreconditionFailed, Unprocessable
from quill_shared.platform.pagination import Page, PageRequest, cut

from ..context import AuthContext
from ..domain import names
from ..domain.administration import may_administer
from ..errors import (
    AlreadyInState,
    CarersHidden,
    EmailExists,
    InvalidPermissionLevel,
    LastSuperadmin,
    MissingFields,
    OwnAccount,
    OwnPowers,
    PatientAlreadyLinked,
    PatientNotFound,
    SuperadminRequired,
    UsernameExists,
    UserNotFound,
)
from ..models import Account
from ..repository import accounts
from .accounts import (
    announce_changed,
    end_sessions,
    known_competencies,
    known_permission,
    known_profession,
    known_roles,
    powers,
    require_good_password,
    with_actor,
)
from .registration import add_account

_TOO_SHORT = "Password must be at least 8 characters"
_MISSING = "Missing required fields"
_POWERS = {
    "base_profession": known_profession,
    "additional_competencies": known_competencies,
    "removed_competencies": known_competencies,
    "system_permissions": known_permission,
    "roles": known_roles,
}


class Users:
    """Accounts, as administrators see and change them (safety, fault 4).

    Everything that changes an account decides by the caller's own account as it is now, not by what the
    token says it was.
    """

    def __init__(self, uow: UnitOfWork, context: AuthContext) -> None:
        self._uow = uow
        self._session = uow.session
        self._context = context

    async def page(
        self,
        page: PageRequest,
        *,
        principal: Principal,
        patient_id: str | None,
        permission_level: str | None,
    ) -> Page[Account]:
        """Accounts by id: all, or those who care for a patient; those of a level and above, if given.

        Raises:
            InvalidPermissionLevel: naming it.
            CarersHidden: the caller may not see the patient (safety, fault 3).
        """
        permissions = _at_least(permission_level) if permission_level is not None else None
        if patient_id is None:
            rows = await accounts.page(self._session, page, permissions)
        else:
            if not await CareAccess(self._session).may_view(principal, patient_id):
                raise CarersHidden
            rows = await accounts.carers(self._session, page, patient_id, permissions)
        return cut(rows, page, lambda each: (each.id,))

    async def find(self, user_id: int) -> Account:
        """One account.

        Raises:
            UserNotFound: no such account.
        """
        account = await accounts.get(self._session, user_id)
        if account is None:
            raise UserNotFound
        return account

    async def create(
        self,
        principal: Principal,
        *,
        name: str,
        username: str,
        email: str,
        password: str,
        given_powers: Mapping[str, Any],
    ) -> Account:
        """A new account with the powers given; the user name defaults to the name.

        Raises:
            MissingFields, PasswordTooShort, UnknownValue, Unprocessable: nothing was done.
            SuperadminRequired: only a superadmin makes superadmins.
            UsernameExists, EmailExists: somebody has it.
        """
        if not (name and email and password):
            raise MissingFields(_MISSING)
        require_good_password(password, too_short=_TOO_SHORT)
        username = username or names.derived_username(name)
        if (fault := names.username_fault(username)) is not None:
            raise Unprocessable.field("username", f"as made from the name, {fault}")
        wanted = _known_powers(given_powers)
        permission = SystemPermission.parse(wanted.get("system_permissions", SystemPermission.PATIENT.value))
        if not may_administer(principal.permission, permission):
            raise SuperadminRequired
        password_hash = await self._context.passwords.hash(password)
        actor, _ = await with_actor(self._uow, principal)
        if not may_administer(SystemPermission.parse(actor.system_permissions), permission):
            raise SuperadminRequired
        return await add_account(
            self._uow,
            username=username,
            email=email,
            full_name=name,
            password_hash=password_hash,
            powers=wanted,
        )

    async def update(
        self,
        principal: Principal,
        user_id: int,
        *,
        given: Mapping[str, str],
        given_powers: Mapping[str, Any],
        if_match: Collection[int] | None = None,
    ) -> Account:
        """Changes what is given: `name`, `username`, `email`, `password` and powers. Whose password an
        administrator sets has to sign in again everywhere; powers that change outdate the tokens issued
        before.

        Raises:
            MissingFields, PasswordTooShort, UnknownValue, UserNotFound: nothing was done.
            SuperadminRequired, OwnPowers, LastSuperadmin: the caller may not.
            UsernameExists, EmailExists: somebody has it.
            PreconditionFailed: the account is not at a version of `if_match`.
        """
        if not all(given.values()):
            raise MissingFields(_MISSING)
        password = given.get("password")
        if password is not None:
            require_good_password(password, too_short=_TOO_SHORT)
        changes: dict[str, Any] = _known_powers(given_powers)
        if password is not None:
            changes["password_hash"] = await self._context.passwords.hash(password)
        if "system_permissions" in changes:
            await accounts.lock_superadmins(self._session)
        _, account = await self._administered(principal, user_id, if_match=if_match)
        for name, column in (("username", "username"), ("email", "email"), ("name", "full_name")):
            if name in given:
                changes[column] = given[name]
                if name != "name":
                    changes[f"{column}_key"] = names.key(given[name])
        await self._change(principal, account, changes)
        if password is not None:
            own = principal.session_id if user_id == principal.user_id else None
            await end_sessions(self._uow, account, reason="password_changed", but=own)
        return account

    async def set_roles(
        self,
        principal: Principal,
        user_id: int,
        roles: Sequence[str],
        *,
        if_match: Collection[int] | None = None,
    ) -> Account:
        """Replaces the roles of an account.

        Raises:
            UnknownValue, UserNotFound, SuperadminRequired, OwnPowers, PreconditionFailed: see `update`.
        """
        changes = {"roles": known_roles(roles)}
        _, account = await self._administered(principal, user_id, if_match=if_match)
        await self._change(principal, account, changes)
        return account

    async def deactivate(self, principal: Principal, user_id: int) -> Account:
        """Closes an account: no sign-in, and what it is signed in with is dead at once.

        Raises:
            OwnAccount, AlreadyInState, LastSuperadmin, UserNotFound, SuperadminRequired: nothing was done.
        """
        await accounts.lock_superadmins(self._session)
        _, account = await self._administered(principal, user_id)
        if user_id == principal.user_id:
            raise OwnAccount("You cannot deactivate your own account")
        if not account.is_active:
            raise AlreadyInState("User is already deactivated", code="already_deactivated")
        await self._require_another_superadmin(account)
        account.is_active = False
        await end_sessions(self._uow, account, reason="deactivated")
        await announce_changed(self._uow, account, powers_changed=False)
        return account

    async def reactivate(self, principal: Principal, user_id: int) -> Account:
        """Opens an account again; what it was signed in with before stays dead.

        Raises:
            OwnAccount, AlreadyInState, UserNotFound, SuperadminRequired: nothing was done.
        """
        _, account = await self._administered(principal, user_id)
        if user_id == principal.user_id:
            raise OwnAccount("You cannot reactivate your own account")
        if account.is_active:
            raise AlreadyInState("User is already active", code="already_active")
        account.is_active = True
        await announce_changed(self._uow, account, powers_changed=False)
        return account

    async def link_patient(
        self,
        principal: Principal,
        user_id: int,
        patient_id: str,
        *,
        if_match: Collection[int] | None = None,
    ) -> Account:
        """Makes a patient's record the account's own.

        Raises:
            UserNotFound, PatientNotFound: no such one.
            SuperadminRequired: only a superadmin edits superadmins.
            PatientAlreadyLinked: the record is another account's.
            PreconditionFailed: the account is not at a version of `if_match`.
        """
        await self._administered(principal, user_id, if_match=if_match)
        # The patients service is not waited for with the account locked.
        await self._uow.rollback()
        if not await self._context.patients.exists(patient_id):
            raise PatientNotFound
        _, account = await self._administered(principal, user_id, if_match=if_match)
        await self._change(principal, account, {"fhir_patient_id": patient_id})
        return account

    async def _administered(
        self, principal: Principal, user_id: int, *, if_match: Collection[int] | None = None
    ) -> tuple[Account, Account]:
        """The caller's account and the one to change, locked, if the one may administer the other."""
        actor, found = await with_actor(self._uow, principal, user_id)
        account = found.get(user_id)
        if account is None:
            raise UserNotFound
        if not may_administer(
            SystemPermission.parse(actor.system_permissions),
            SystemPermission.parse(account.system_permissions),
        ):
            raise SuperadminRequired
        if if_match is not None and account.version not in if_match:
            raise PreconditionFailed
        return actor, account

    async def _change(self, principal: Principal, account: Account, changes: Mapping[str, Any]) -> None:
        """Applies `changes` and tells the others of what they show; a change to the same is none."""
        effective = {name: value for name, value in changes.items() if getattr(account, name) != value}
        if not effective:
            return
        permission = SystemPermission.parse(effective.get("system_permissions", account.system_permissions))
        if not may_administer(principal.permission, permission):
            raise SuperadminRequired
        before = powers(account)
        if permission is not SystemPermission.SUPERADMIN:
            await self._require_another_superadmin(account)
        violated = await accounts.assign(self._session, account, effective)
        if violated is not None:
            raise _CONFLICTS[violated]
        if account.id == principal.user_id and before.raised_by(powers(account)):
            raise OwnPowers
        if effective.keys() != {"password_hash"}:
            powers_changed = bool(effective.keys() & (_POWERS.keys() | {"fhir_patient_id"}))
            await announce_changed(self._uow, account, powers_changed=powers_changed)

    async def _require_another_superadmin(self, account: Account) -> None:
        if account.system_permissions != SystemPermission.SUPERADMIN.value or not account.is_active:
            return
        if await accounts.active_superadmins(self._session) < 2:
            raise LastSuperadmin


_CONFLICTS = {
    "uq_account_username_key": UsernameExists,
    "uq_account_email_key": EmailExists,
    "uq_account_fhir_patient_id": PatientAlreadyLinked,
}


def _at_least(level: str) -> list[str]:
    try:
        required = SystemPermission.parse(level)
    except UnknownPermissionError:
        raise InvalidPermissionLevel(f"Invalid permission_level: {level}") from None
    return [each.value for each in SystemPermission if each.at_least(required)]


def _known_powers(given: Mapping[str, Any]) -> dict[str, Any]:
    """`given` with everything in it found in the catalogues."""
    found: dict[str, Any] = {}
    for name, value in given.items():
        known = _POWERS[name](value)
        found[name] = known.value if isinstance(known, SystemPermission) else known
    return found
