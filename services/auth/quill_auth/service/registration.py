"""People who register themselves."""

from collections.abc import Mapping
from typing import Any

from quill_shared.kernel.permissions import SystemPermission
from quill_shared.platform.database import UnitOfWork
from quill_shared.platform.pagination import Page, PageRequest, cut

from ..context import AuthContext
from ..domain import names
from ..errors import EmailExists, MissingFields, UnknownOrganisation, UsernameExists
from ..events import JoinRequested
from ..models import Account
from ..repository import accounts, organisations
from .accounts import announce_registered, require_good_password, subject
from .throttling import Throttle, address_key, bucket_key

PATIENT_PROFESSION = "patient"


class Registration:
    """An account that somebody makes for themselves has the lowest powers, whatever they ask for."""

    def __init__(self, uow: UnitOfWork, context: AuthContext) -> None:
        self._uow = uow
        self._session = uow.session
        self._context = context

    async def organisations(self, page: PageRequest) -> Page[Mapping[Any, Any]]:
        """The organisations somebody may ask to join, by name."""
        rows = await organisations.page(self._session, page)
        return cut(rows, page, lambda each: (each["name"], each["id"]))

    async def register(
        self,
        *,
        username: str,
        email: str,
        password: str,
        full_name: str | None,
        organisation_id: int | None,
        address: str,
    ) -> int:
        """A new patient-level account; answers its id. With an organisation, a request to join it and
        nothing more: an administrator decides (safety, fault 1).

        Raises:
            MissingFields, PasswordTooShort, UnknownOrganisation: nothing was done.
            UsernameExists, EmailExists: somebody has it.
            TooManyAttempts: too many registrations; each attempt counts.
        """
        if not (username and email and password):
            raise MissingFields
        require_good_password(password)
        limits = self._context.limits
        throttle = Throttle(
            self._uow,
            [
                (bucket_key("register account", names.key(username)), limits.registration_account),
                (address_key("register address", address), limits.registration_address),
            ],
        )
        await throttle.check()
        if organisation_id is not None and not await organisations.exists(self._session, organisation_id):
            raise UnknownOrganisation
        # The connection is others' while this one waits for its hash.
        await self._uow.rollback()
        password_hash = await self._context.passwords.hash(password)
        await throttle.count()
        account = await add_account(
            self._uow,
            username=username,
            email=email,
            full_name=full_name,
            password_hash=password_hash,
        )
        if organisation_id is not None:
            account.version += 1
            await self._uow.publish(
                JoinRequested(user_id=account.id, organisation_id=organisation_id),
                subject=subject(account.id),
                sequence=account.version,
            )
        return account.id


async def add_account(
    uow: UnitOfWork,
    *,
    username: str,
    email: str,
    full_name: str | None,
    password_hash: str,
    powers: Mapping[str, Any] | None = None,
) -> Account:
    """A new account, told to the others. Two of one name at once: the database lets one in.

    Args:
        powers: permission, profession, competencies and roles, where they are not the lowest.

    Raises:
        UsernameExists, EmailExists: somebody has it.
    """
    values = {
        "base_profession": PATIENT_PROFESSION,
        "additional_competencies": [],
        "removed_competencies": [],
        "system_permissions": SystemPermission.PATIENT.value,
        "roles": [],
        **(powers or {}),
        "username": username,
        "username_key": names.key(username),
        "email": email,
        "email_key": names.key(email),
        "full_name": full_name,
        "password_hash": password_hash,
    }
    account = await accounts.add(uow.session, values)
    if account is None:
        if await accounts.username_taken(uow.session, names.key(username)):
            raise UsernameExists
        raise EmailExists
    await announce_registered(uow, account)
    return account
