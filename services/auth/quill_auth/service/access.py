"""Access for people outside: invitations to a patient's record, and the grants that come of them."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any

from quill_shared.kernel.principal import Principal
from quill_shared.platform.clock import now
from quill_shared.platform.database import UnitOfWork
from quill_shared.platform.errors import Forbidden
from quill_shared.platform.pagination import Page, PageRequest, cut

from ..context import AuthContext
from ..domain import names
from ..domain.invites import InviteState, UserType, undoes_revocation
from ..errors import (
    EmailExists,
    GrantNotFound,
    GuessedInvite,
    InvalidInvite,
    NameTaken,
    PatientNotFound,
    RegistrationFieldsRequired,
    UsernameExists,
)
from ..events import AccessGranted, AccessRevoked
from ..models import Account, Invite
from ..repository import access, accounts
from .accounts import require_good_password
from .credentials import CredentialCheck
from .registration import add_account
from .throttling import Throttle, address_key

_TOKEN_BYTES = 32


@dataclass(frozen=True, slots=True)
class Acceptance:
    """Who accepts: a new account, made with `password_hash`, or an account there is."""

    account: Account | None
    username: str = ""
    password_hash: str = ""


class ExternalAccess:
    """Who is invited sees one patient's record until it is revoked (contract, section 9; safety, fault 9).

    All that opens or closes access to one record happens one after the other.
    """

    def __init__(self, uow: UnitOfWork, context: AuthContext) -> None:
        self._uow = uow
        self._session = uow.session
        self._context = context

    async def invite(self, principal: Principal, patient_id: str, *, email: str, user_type: UserType) -> str:
        """Invites the owner of an e-mail address; answers the token, which is not stored.

        Of several invitations of one address to one record the newest alone stands.

        Raises:
            Forbidden: neither the linked patient nor an administrator.
            PatientNotFound: there is no such record to be invited to.
        """
        _require_patient_or_admin(
            principal, patient_id, "Only the patient or an admin can invite external users"
        )
        if principal.fhir_patient_id != patient_id and not await self._context.patients.exists(patient_id):
            raise PatientNotFound
        token = secrets.token_urlsafe(_TOKEN_BYTES)
        await access.lock_patient(self._session, patient_id)
        instant, email_key = now(), names.key(email)
        await access.revoke_invites(self._session, patient_id, email_key, by=principal.user_id, at=instant)
        await access.add_invite(
            self._session,
            Invite(
                token_hash=_token_hash(token),
                patient_id=patient_id,
                email=email,
                email_key=email_key,
                user_type=user_type.value,
                invited_by=principal.user_id,
                created_at=instant,
                expires_at=instant + timedelta(seconds=self._context.settings.invite_seconds),
            ),
        )
        return token

    async def accept(
        self,
        principal: Principal | None,
        token: str,
        *,
        username: str,
        password: str,
        address: str,
    ) -> tuple[str, int]:
        """Takes up an invitation, once; answers `access_granted` or `registered`, and the account's id.

        The account with the invited address accepts by being signed in or by its password; where there is
        none, one is made.

        Raises:
            InvalidInvite: unknown, used, revoked, expired, or older than a revocation of the same access.
            RegistrationFieldsRequired: nobody is identified and no account can be made of what was sent.
            InvalidCredentials, PasswordTooShort, NameTaken, TooManyAttempts, Overloaded.
        """
        token_hash = _token_hash(token)
        throttle = Throttle(
            self._uow, [(address_key("invite address", address), self._context.limits.address)]
        )
        await throttle.check()
        invite = await access.invite(self._session, token_hash)
        if invite is None or not _state(invite).stands(now()):
            await throttle.count()
            raise GuessedInvite
        patient_id, email, email_key = invite.patient_id, invite.email, invite.email_key
        accepts = await self._acceptance(
            principal, email_key, username=username, password=password, address=address
        )
        await access.lock_patient(self._session, patient_id)
        invite = await access.invite(self._session, token_hash)
        instant = now()
        if invite is None or not _state(invite).stands(instant):
            raise InvalidInvite
        account = accepts.account
        if account is None:
            account = await self._register(
                invite, email, username=accepts.username, password_hash=accepts.password_hash
            )
        grant = await access.grant_of(self._session, account.id, patient_id)
        if grant is not None and undoes_revocation(_state(invite), grant.revoked_at):
            raise InvalidInvite
        invite.used_at = instant
        invite.used_by = account.id
        await self._grant(account, invite, instant)
        return ("access_granted" if accepts.account is not None else "registered"), account.id

    async def page(self, principal: Principal, patient_id: str, page: PageRequest) -> Page[Mapping[Any, Any]]:
        """The unrevoked grants for a patient.

        Raises:
            Forbidden: neither the linked patient nor an administrator.
        """
        _require_patient_or_admin(principal, patient_id, "Access denied")
        rows = await access.grants(self._session, patient_id, page)
        return cut(rows, page, lambda each: (each["user_id"],))

    async def revoke(self, principal: Principal, patient_id: str, user_id: int) -> None:
        """Closes the record to a user, and with it every invitation to it they have not yet taken up.

        Raises:
            Forbidden: neither the linked patient nor an administrator.
            GrantNotFound: there is nothing to revoke, neither access nor an open invitation.
        """
        _require_patient_or_admin(principal, patient_id, "Access denied")
        await access.lock_patient(self._session, patient_id)
        instant = now()
        revoked = await access.revoke_grant(
            self._session, user_id, patient_id, by=principal.user_id, at=instant
        )
        account = await accounts.get(self._session, user_id)
        withdrawn = account is not None and await access.revoke_invites(
            self._session, patient_id, account.email_key, by=principal.user_id, at=instant
        )
        if revoked is None:
            if not withdrawn:
                raise GrantNotFound
            return
        user_type, version = revoked
        await self._uow.publish(
            AccessRevoked(user_id=user_id, patient_id=patient_id, user_type=user_type),
            subject=_subject(user_id, patient_id),
            sequence=version,
        )

    async def _acceptance(
        self, principal: Principal | None, email_key: str, *, username: str, password: str, address: str
    ) -> Acceptance:
        invited = await accounts.by_email(self._session, email_key)
        if invited is not None and principal is not None and principal.user_id == invited.id:
            account = await accounts.shared(self._session, invited.id)
            if account is not None and account.is_active:
                return Acceptance(account)
        if invited is not None and password:
            account = await CredentialCheck(self._uow, self._context).check(
                email_key, password, address=address
            )
            return Acceptance(account)
        missing = [name for name, value in (("username", username), ("password", password)) if not value]
        # Without a password both are answered alike, whether the invited address has an account or not.
        if missing:
            raise RegistrationFieldsRequired(missing)
        require_good_password(password)
        # The connection is others' while this one waits for its hash.
        await self._uow.rollback()
        return Acceptance(None, username, await self._context.passwords.hash(password))

    async def _register(self, invite: Invite, email: str, *, username: str, password_hash: str) -> Account:
        try:
            return await add_account(
                self._uow,
                username=username,
                email=email,
                full_name=None,
                password_hash=password_hash,
                powers={"system_permissions": invite.user_type},
            )
        except UsernameExists:
            raise NameTaken from None
        except EmailExists:
            raise NameTaken("Email already exists", code="email_taken") from None

    async def _grant(self, account: Account, invite: Invite, instant: datetime) -> None:
        """Opens the record; the granter is who invited, not who accepts."""
        version = await access.open_grant(
            self._session,
            user_id=account.id,
            patient_id=invite.patient_id,
            user_type=invite.user_type,
            by=invite.invited_by,
            at=instant,
        )
        await self._uow.publish(
            AccessGranted(user_id=account.id, patient_id=invite.patient_id, user_type=invite.user_type),
            subject=_subject(account.id, invite.patient_id),
            sequence=version,
        )


def _require_patient_or_admin(principal: Principal, patient_id: str, detail: str) -> None:
    if not principal.is_admin and principal.fhir_patient_id != patient_id:
        raise Forbidden(detail, code="patient_or_admin_required")


def _state(invite: Invite) -> InviteState:
    return InviteState(invite.created_at, invite.expires_at, invite.used_at, invite.revoked_at)


def _token_hash(token: str) -> bytes:
    return sha256(token.encode()).digest()


def _subject(user_id: int, patient_id: str) -> str:
    return f"grant:{user_id}:{patient_id}"
