"""Who somebody is, by password."""

from functools import partial

from quill_shared.platform.database import UnitOfWork

from ..context import AuthContext
from ..domain import names
from ..errors import InvalidCredentials
from ..models import Account
from ..repository import accounts
from .throttling import Throttle, address_key, bucket_key


class CredentialCheck:
    """Checks user name (or e-mail address) and password, alike for known and unknown accounts (fault 7).

    Failures are counted by what was typed, not by the account it led to: were they counted together,
    the wait would tell that a user name and an address belong to one account.
    """

    def __init__(self, uow: UnitOfWork, context: AuthContext) -> None:
        self._uow = uow
        self._session = uow.session
        self._passwords = context.passwords
        self._old_hashes = context.old_hashes
        self._limits = context.limits

    async def check(self, typed: str, password: str, *, address: str) -> Account:
        """The active account that both belong to, which stays as it is until the end of this transaction.

        A hash is computed in every case. Hashes of an older strength or scheme are replaced.

        Raises:
            InvalidCredentials: anything is wrong; counted.
            TooManyAttempts: the account or the address has to wait.
            Overloaded: too many passwords are being checked.
        """
        typed_key = names.key(typed)
        throttle = Throttle(
            self._uow,
            [
                (bucket_key("sign-in account", typed_key), self._limits.account),
                (address_key("sign-in address", address), self._limits.address),
            ],
        )
        await throttle.check()
        known = await accounts.credentials(self._session, typed_key)
        bcrypt_cost = await self._old_hashes.cost(partial(accounts.bcrypt_cost, self._session))
        # Nothing was written; the connection is others' while this one waits for its hash.
        await self._uow.rollback()
        stored = known.password_hash if known else None
        matches = await self._passwords.verify(stored, password, bcrypt_cost=bcrypt_cost)
        account = None
        if known is not None and matches:
            account = await self._as_it_is_now(known.user_id, known.password_hash, password)
        if account is None:
            await throttle.count()
            raise InvalidCredentials
        await throttle.passed()
        return account

    async def _as_it_is_now(self, user_id: int, verified: str, password: str) -> Account | None:
        """The account, locked, if the password still opens it: either may have changed during the hash."""
        outdated = self._passwords.outdated(verified)
        replacement = await self._passwords.hash(password) if outdated else None
        if replacement is None:
            account = await accounts.shared(self._session, user_id)
        else:
            account = (await accounts.locked(self._session, [user_id])).get(user_id)
        if account is None or not account.is_active:
            return None
        if account.password_hash != verified:
            return account if await self._passwords.verify(account.password_hash, password) else None
        if replacement is not None:
            account.password_hash = replacement
        return account
