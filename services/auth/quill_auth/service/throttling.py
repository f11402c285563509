"""Slowing down who fails too often."""

from collections.abc import Sequence
from hashlib import sha256
from ipaddress import IPv6Address, ip_address, ip_network

from quill_shared.platform.clock import now
from quill_shared.platform.database import UnitOfWork

from ..domain.throttling import Bucket, Policy, after_failure, seconds_to_wait
from ..errors import TooManyAttempts
from ..repository import throttling as buckets

_IPV6_SITE = 64
"""An IPv6 caller has a whole network of addresses; the network is counted."""


def bucket_key(kind: str, value: str) -> bytes:
    """The key of a bucket; from it nobody learns what was typed."""
    return sha256(f"{kind}|{value}".encode()).digest()


def address_key(kind: str, address: str) -> bytes:
    """The key of an address's bucket."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return bucket_key(kind, address)
    if isinstance(parsed, IPv6Address):
        if parsed.ipv4_mapped is not None:
            return bucket_key(kind, str(parsed.ipv4_mapped))
        return bucket_key(kind, str(ip_network((parsed, _IPV6_SITE), strict=False)))
    return bucket_key(kind, str(parsed))


class Throttle:
    """The buckets an attempt is counted in: first the account's, then the address's.

    The decision is made twice. `check` spares the work of an attempt that is not looked at anyway; it
    locks nothing. `count` and `passed` decide for good with the bucket locked, after the work: of
    a hundred guesses made at once no more than the limit ever learn whether they were right.
    """

    def __init__(self, uow: UnitOfWork, counted: Sequence[tuple[bytes, Policy]]) -> None:
        self._session = uow.session
        self._counted = counted

    async def check(self) -> None:
        """Refuses an attempt that has to wait.

        Raises:
            TooManyAttempts: with the seconds to wait.
        """
        for key, _ in self._counted:
            _refuse_closed(await buckets.read(self._session, key))

    async def count(self) -> None:
        """Counts a failure (or an attempt, where every attempt counts).

        Raises:
            TooManyAttempts: others failed meanwhile; nothing about this attempt may be told.
        """
        for key, policy in self._counted:
            instant = now()
            bucket = await buckets.claimed(self._session, key, Bucket(0, instant, 0, None, instant))
            _refuse_closed(bucket)
            await buckets.write(self._session, key, after_failure(bucket, instant, policy))

    async def passed(self) -> None:
        """Forgets the account's failures; the address's stand, or one good account would clear them.

        Raises:
            TooManyAttempts: others failed meanwhile; nothing about this attempt may be told.
        """
        key, _ = self._counted[0]
        bucket = await buckets.locked(self._session, key)
        if bucket is not None:
            _refuse_closed(bucket)
            await buckets.forget(self._session, key)


def _refuse_closed(bucket: Bucket | None) -> None:
    wait = seconds_to_wait(bucket, now())
    if wait:
        raise TooManyAttempts(retry_after=wait)
