"""Password hashing: Argon2id (RFC 9106) under a keyed pepper, in a bounded pool of threads.

What is stored is `<pepper key id>:<Argon2 string>`; the Argon2 input is HMAC-SHA256(pepper, NFKC password),
so that a copy of the database alone cannot be attacked (hazard 0026). bcrypt hashes of an older
system verify as they are and are due for an upgrade.
"""

import asyncio
import hmac
import logging
import secrets
import threading
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, Protocol, TypeVar

import argon2
import bcrypt

from .domain import passwords as rules
from .errors import Overloaded
from .secret_keys import SecretKeys

logger = logging.getLogger(__name__)

_BCRYPT: Final = ("$2a$", "$2b$", "$2y$")
_BCRYPT_LONGEST: Final = 72
_BCRYPT_SALT_AND_HASH: Final = 53
_OLD_HASHES_SECONDS: Final = 60.0
_BUSY_SECONDS: Final = 2
_Answer = TypeVar("_Answer")


class Passwords(Protocol):
    """Makes and checks password hashes."""

    async def hash(self, password: str) -> str:
        """A new hash of `password`."""

    async def verify(self, stored: str | None, password: str, *, bcrypt_cost: int | None = None) -> bool:
        """Whether `password` is the one in `stored`. Without `stored` the same work is done for nothing.

        With `bcrypt_cost`, a refusal takes a check of both schemes, whichever `stored` is of: how long it
        takes does not tell which accounts the older system made.
        """

    def outdated(self, stored: str) -> bool:
        """Whether `stored` should be replaced at the next opportunity."""


class PooledPasswords:
    """`Passwords` on threads of their own: Argon2 would stop the event loop for tens of milliseconds.

    Args:
        peppers: the keys; see `SecretKeys`.
        passes, memory_kib, lanes: Argon2's parameters.
        workers: hashes at once.
        queue: hashes that may wait; beyond them callers get 503 instead of a place in an endless line.
        wait: seconds that one may wait; then 503 too.
    """

    def __init__(
        self,
        peppers: SecretKeys,
        *,
        passes: int,
        memory_kib: int,
        lanes: int,
        workers: int,
        queue: int,
        wait: float,
    ) -> None:
        self._peppers = peppers
        self._argon2 = argon2.PasswordHasher(time_cost=passes, memory_cost=memory_kib, parallelism=lanes)
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="passwords")
        self._places = workers + queue
        self._wait = wait
        self._taken = 0
        self._lock = threading.Lock()
        self._nobodys = self._hash(secrets.token_urlsafe(24))

    def close(self) -> None:
        """Ends the threads once they have finished what they have in hand."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    async def hash(self, password: str) -> str:
        """A new hash of `password`.

        Raises:
            Overloaded: no place free, or not in time.
        """
        return await self._run(lambda: self._hash(password))

    async def verify(self, stored: str | None, password: str, *, bcrypt_cost: int | None = None) -> bool:
        """Whether `password` is the one in `stored`; False, after the same work, without `stored`.

        Raises:
            Overloaded: no place free, or not in time.
        """
        known = stored is not None
        matches = await self._run(lambda: self._verify_evenly(stored or self._nobodys, password, bcrypt_cost))
        return known and matches

    def outdated(self, stored: str) -> bool:
        """Whether `stored` is of another scheme, pepper or strength than new hashes are."""
        key_id, _, encoded = stored.partition(":")
        if stored.startswith(_BCRYPT) or key_id != self._peppers.current_id:
            return True
        return self._argon2.check_needs_rehash(encoded)

    def _hash(self, password: str) -> str:
        return f"{self._peppers.current_id}:{self._argon2.hash(_peppered(self._peppers.current, password))}"

    def _verify_evenly(self, stored: str, password: str, bcrypt_cost: int | None) -> bool:
        if self._verify(stored, password):
            # Who knows the password learns nothing, and the others in the queue are not kept waiting.
            return True
        if stored.startswith(_BCRYPT):
            self._verify(self._nobodys, password)
        elif bcrypt_cost is not None:
            self._verify(f"$2b${bcrypt_cost:02d}${'.' * _BCRYPT_SALT_AND_HASH}", password)
        return False

    def _verify(self, stored: str, password: str) -> bool:
        if stored.startswith(_BCRYPT):
            # bcrypt looks at 72 bytes and the old system cut what was longer.
            return bcrypt.checkpw(password.encode()[:_BCRYPT_LONGEST], stored.encode())
        key_id, _, encoded = stored.partition(":")
        if key_id not in self._peppers:
            # Nobody can tell any more whether it is right. The answer must not differ from a wrong one.
            logger.error("password hash made with a pepper that the settings do not hold")
            return self._verify(self._nobodys, password)
        try:
            return self._argon2.verify(encoded, _peppered(self._peppers[key_id], password))
        except argon2.exceptions.VerifyMismatchError:
            return False

    async def _run(self, work: Callable[[], _Answer]) -> _Answer:
        with self._lock:
            if self._taken >= self._places:
                raise Overloaded(retry_after=_BUSY_SECONDS)
            self._taken += 1
        latest = time.monotonic() + self._wait

        def work_in_time() -> _Answer:
            # All before this one began in time or came to nothing at once, so it gets here soon after.
            if time.monotonic() > latest:
                raise Overloaded(retry_after=_BUSY_SECONDS)
            return work()

        future = self._pool.submit(work_in_time)
        # Counted until the thread is done with it, even when the caller has gone away.
        future.add_done_callback(self._leave)
        return await asyncio.wrap_future(future)

    def _leave(self, _: "Future[_Answer]") -> None:
        with self._lock:
            self._taken -= 1


class OldHashes:
    """The cost of the bcrypt hashes there still are, looked up once a minute.

    Args:
        clock: seconds that only rise.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._cost: int | None = None
        self._next_at = float("-inf")

    async def cost(self, look_up: Callable[[], Awaitable[int | None]]) -> int | None:
        """The highest, None if there are none left; `look_up` finds it in the database."""
        instant = self._clock()
        if instant >= self._next_at:
            self._next_at = instant + _OLD_HASHES_SECONDS
            self._cost = await look_up()
        return self._cost


def _peppered(pepper: bytes, password: str) -> bytes:
    return hmac.digest(pepper, rules.normalised(password).encode(), "sha256")
