"""Password hashes: peppered, upgraded at sign-in, and computed where they stop nobody else."""

import asyncio
import threading

import argon2
import bcrypt
import pytest
from pydantic import SecretStr

from quill_auth.errors import Overloaded
from quill_auth.passwords import OldHashes, PooledPasswords
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
    wait: float = 5.0,
) -> PooledPasswords:
    """As cheap as Argon2 goes."""
    peppers = SecretKeys("password pepper", pepper, previous)
    return PooledPasswords(
        peppers, passes=passes, memory_kib=8, lanes=1, workers=workers, queue=queue, wait=wait
    )


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
    assert refused.value.headers["Retry-After"] == "2"
    held.set()
    assert blocked.result(5)
    assert len({await task for task in waiting}) == 2
    assert await passwords.hash(PASSWORD), "places are given back"
    passwords.close()


async def test_who_waited_too_long_is_answered_so_and_costs_no_work() -> None:
    passwords = hasher(workers=1, queue=100, wait=0.1)
    held = threading.Event()
    blocked = passwords._pool.submit(held.wait)

    waiting = [asyncio.create_task(passwords.hash(PASSWORD)) for _ in range(20)]
    await asyncio.sleep(0.2)
    held.set()

    assert blocked.result(5)
    refused = await asyncio.gather(*waiting, return_exceptions=True)
    assert {type(each) for each in refused} == {Overloaded}
    assert await passwords.hash(PASSWORD), "places are given back"
    passwords.close()


async def test_a_ward_that_signs_in_at_once_is_served(auth: Auth) -> None:
    person = await auth.person("amara")
    pooled = auth.passwords.real
    assert isinstance(pooled, PooledPasswords)
    held = threading.Event()
    blocked = [pooled._pool.submit(held.wait) for _ in range(2)]

    strangers = [
        asyncio.create_task(auth.post("/api/auth/login", {"username": f"user{n}", "password": "x" * 12}))
        for n in range(90)
    ]
    known = asyncio.create_task(auth.sign_in(person))
    async with asyncio.timeout(10):
        while pooled._taken < 91:
            await asyncio.sleep(0.01)
    held.set()

    assert all(each.result(5) for each in blocked)
    assert (await known).access_token
    assert {answer.status_code for answer in await asyncio.gather(*strangers)} == {400}


async def test_a_refusal_takes_both_schemes_while_bcrypt_hashes_are_left(
    auth: Auth, monkeypatch: pytest.MonkeyPatch
) -> None:
    await auth.person("amara")
    old = await auth.person("old")
    done: list[str] = []
    check, verify = bcrypt.checkpw, argon2.PasswordHasher.verify

    def counted_check(password: bytes, stored: bytes) -> bool:
        done.append(stored[:7].decode())
        return check(password, stored)

    def counted_verify(self: argon2.PasswordHasher, stored: str, password: bytes) -> bool:
        done.append("argon2")
        return verify(self, stored, password)

    monkeypatch.setattr(bcrypt, "checkpw", counted_check)
    monkeypatch.setattr(argon2.PasswordHasher, "verify", counted_verify)

    async def work(name: str, password: str, status: int) -> list[str]:
        done.clear()
        answer = await auth.post("/api/auth/login", {"username": name, "password": password})
        assert answer.status_code == status
        return sorted(done)

    auth.forget_old_hashes()
    for name in ("amara", "old", "nobody"):
        assert await work(name, "a wrong password", 400) == ["argon2"]
    stored = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(5)).decode()
    await auth.sql("UPDATE account SET password_hash = $1 WHERE id = $2", stored, old.id)
    auth.forget_old_hashes()
    for name in ("amara", "old", "nobody"):
        assert await work(name, "a wrong password", 400) == ["$2b$05$", "argon2"]
    assert await work("amara", PASSWORD, 200) == ["argon2"]
    assert await work("old", PASSWORD, 200) == ["$2b$05$"]
    auth.forget_old_hashes()
    for name in ("amara", "old", "nobody"):
        assert await work(name, "a wrong password", 400) == ["argon2"]


async def test_old_hashes_are_looked_for_once_a_minute() -> None:
    now, found = [0.0], [12, None]
    old = OldHashes(lambda: now[0])

    async def look_up() -> int | None:
        return found.pop(0)

    assert [await old.cost(look_up) for _ in range(3)] == [12, 12, 12]
    now[0] += 60
    assert [await old.cost(look_up) for _ in range(2)] == [None, None]


async def test_the_event_loop_goes_on_while_hashes_are_computed() -> None:
    peppers = SecretKeys("password pepper", PEPPER)
    passwords = PooledPasswords(
        peppers, passes=2, memory_kib=64 * 1024, lanes=1, workers=1, queue=8, wait=5.0
    )
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
