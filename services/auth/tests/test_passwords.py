"""Password hashes: peppered, upgraded at sign-in, and computed where they stop nobody else."""

import asyncio
import threading

import bcrypt
import pytest
from pydantic import SecretStr

from quill_auth.errors import Overloaded
from quill_auth.passwords import PooledPasswords
from quill_auth.secret_keys import SecretKeys
from quill_shared.platform.testing.services import secret

from .harness import PASSWORD, Auth

PEPPER = SecretStr(secret())


def hasher(
    pepper: SecretStr = PEPPER,
    *,
    previous: tuple[SecretStr, ...] = (),
    passes: int = 1,
    workers: int = 2,
    queue: int = 8,
) -> PooledPasswords:
    """As cheap as Argon2 goes."""
    peppers = SecretKeys("password pepper", pepper, previous)
    return PooledPasswords(peppers, passes=passes, memory_kib=8, lanes=1, workers=workers, queue=queue)


async def test_a_hash_names_its_pepper_and_says_nothing_else() -> None:
    passwords = hasher()
    one, other = await passwords.hash(PASSWORD), await passwords.hash(PASSWORD)

    assert one != other
    assert one.partition(":")[2].startswith("$argon2id$v=19$m=8,t=1,p=1$")
    assert await passwords.verify(one, PASSWORD)
    assert not await passwords.verify(one, PASSWORD + " ")
    assert not await passwords.verify(None, PASSWORD)
    assert not passwords.outdated(one)


async def test_without_the_pepper_a_hash_is_worthless() -> None:
    stored = await hasher().hash(PASSWORD)

    assert not await hasher(SecretStr(secret())).verify(stored, PASSWORD)


async def test_a_rotated_pepper_still_verifies_and_asks_for_an_upgrade() -> None:
    stored = await hasher().hash(PASSWORD)
    rotated = hasher(SecretStr(secret()), previous=(PEPPER,))

    assert await rotated.verify(stored, PASSWORD)
    assert rotated.outdated(stored)
    assert hasher(passes=2).outdated(stored)


async def test_bcrypt_hashes_of_an_older_system_verify() -> None:
    passwords = hasher()
    long = "ä" * 60
    for password in (PASSWORD, long):
        stored = bcrypt.hashpw(password.encode()[:72], bcrypt.gensalt(4)).decode()
        assert await passwords.verify(stored, password)
        assert not await passwords.verify(stored, "wrong password")
        assert passwords.outdated(stored)


async def test_a_bcrypt_hash_is_upgraded_at_sign_in(auth: Auth) -> None:
    person = await auth.person("amara")
    stored = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()
    await auth.sql("UPDATE account SET password_hash = $1 WHERE id = $2", stored, person.id)

    answers = await asyncio.gather(*(auth.sign_in(person) for _ in range(3)))

    assert len({each.session_id for each in answers}) == 3
    (row,) = await auth.sql("SELECT password_hash FROM account WHERE id = $1", person.id)
    assert "$argon2id$" in row["password_hash"]
    assert (await auth.sign_in(person)).access_token


async def test_a_full_queue_is_answered_and_not_joined() -> None:
    passwords = hasher(workers=1, queue=1)
    held = threading.Event()
    blocked = passwords._pool.submit(held.wait)

    waiting = [asyncio.create_task(passwords.hash(PASSWORD)) for _ in range(2)]
    await asyncio.sleep(0.05)
    with pytest.raises(Overloaded) as refused:
        await passwords.hash(PASSWORD)
    assert refused.value.status == 503
    assert refused.value.headers["Retry-After"] == "1"
    held.set()
    assert blocked.result(5)
    assert len({await task for task in waiting}) == 2
    assert await passwords.hash(PASSWORD), "places are given back"
    passwords.close()


async def test_the_event_loop_goes_on_while_hashes_are_computed() -> None:
    peppers = SecretKeys("password pepper", PEPPER)
    passwords = PooledPasswords(peppers, passes=2, memory_kib=64 * 1024, lanes=1, workers=1, queue=8)
    hashing = asyncio.create_task(passwords.hash(PASSWORD))
    turns = 0
    while not hashing.done():
        await asyncio.sleep(0)
        turns += 1

    assert turns > 10
    passwords.close()


async def test_a_caller_who_leaves_gives_the_place_back() -> None:
    passwords = hasher(workers=1, queue=0)
    for _ in range(5):
        task = asyncio.create_task(passwords.hash(PASSWORD))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await asyncio.sleep(0.05)
    assert await passwords.hash(PASSWORD)
    passwords.close()
