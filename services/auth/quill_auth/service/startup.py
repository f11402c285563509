"""What a deployment needs before anybody can sign in: a key that signs, and a first superadmin."""

import logging

from cryptography.exceptions import InvalidTag

from quill_shared.kernel.permissions import SystemPermission
from quill_shared.platform.clock import now
from quill_shared.platform.database import Database

from ..context import AuthContext
from ..domain import names
from ..domain.passwords import password_fault
from ..errors import EmailExists, UsernameExists
from ..repository import accounts, keys
from .registration import add_account

logger = logging.getLogger(__name__)


class BootstrapError(RuntimeError):
    """The settings and the database do not fit together; says what to look at."""


async def ensure_signing_key(database: Database, context: AuthContext) -> None:
    """Makes the first key if there is none to sign with; replicas that start together make one.

    Raises:
        BootstrapError: the key there is cannot be opened with the settings.
    """
    async with database.transaction() as uow:
        await keys.lock(uow.session)
        instant = now()
        known = list(await keys.live(uow.session, instant))
        if not any(record.activates_at <= instant for record in known):
            known.append(await context.key_factory.new(activates_at=instant))
            await keys.add(uow.session, known[-1])
            logger.info("signing key made")
    try:
        context.signer.adopt(known)
    except (KeyError, InvalidTag):
        raise BootstrapError(
            "QUILL_SIGNING_KEY_ENCRYPTION_KEY does not open the signing keys in the database"
        ) from None


async def ensure_superadmin(database: Database, context: AuthContext) -> None:
    """Makes the superadmin of the settings if there is none at all; replicas that start together make one.

    Raises:
        BootstrapError: the settings' values cannot be used; says which.
    """
    settings = context.settings
    username, email, password = (
        settings.bootstrap_admin_username,
        settings.bootstrap_admin_email,
        settings.bootstrap_admin_password,
    )
    if username is None or email is None or password is None:
        return
    async with database.transaction() as uow:
        await accounts.lock_superadmins(uow.session)
        if await accounts.active_superadmins(uow.session):
            return
        username = names.normalised(username)
        if (fault := names.username_fault(username)) is not None or not username:
            raise BootstrapError(f"QUILL_BOOTSTRAP_ADMIN_USERNAME {fault or 'is blank'}")
        if password_fault(password.get_secret_value()) is not None:
            raise BootstrapError("QUILL_BOOTSTRAP_ADMIN_PASSWORD must have 8 to 128 characters")
        try:
            await add_account(
                uow,
                username=username,
                email=names.normalised(email),
                full_name=None,
                password_hash=await context.passwords.hash(password.get_secret_value()),
                powers={
                    "base_profession": "system_administrator",
                    "system_permissions": SystemPermission.SUPERADMIN.value,
                },
            )
        except (UsernameExists, EmailExists):
            raise BootstrapError(
                "QUILL_BOOTSTRAP_ADMIN_USERNAME or _EMAIL belongs to an account that is no superadmin"
            ) from None
        logger.info("first superadmin made")
