"""Failures slow an account or an address down, alike for known and unknown names."""

import asyncio
from typing import Any

import httpx
import pytest

from .harness import ADMIN_PASSWORD, PASSWORD, Auth


@pytest.fixture
def settings() -> dict[str, Any]:
    """Small limits per address, so that a test reaches them."""
    return {
        "sign_in_failures_per_address": 12,
        "registrations_per_address": 4,
        "registrations_per_account": 3,
    }


async def fail(auth: Auth, username: str, *, address: str = "192.0.2.1") -> httpx.Response:
    """A failed sign-in from an address."""
    return await auth.post(
        "/api/auth/login",
        {"username": username, "password": "wrong password"},
        headers={"X-Forwarded-For": address},
    )


async def sign_in(auth: Auth, *, address: str = "192.0.2.1") -> httpx.Response:
    """A good sign-in from an address."""
    return await auth.post(
        "/api/auth/login",
        {"username": "root", "password": ADMIN_PASSWORD},
        headers={"X-Forwarded-For": address},
    )


@pytest.mark.parametrize("username", ["root", "nobody", "ROOT@example.org"])
async def test_five_failures_a_minute_then_a_wait(auth: Auth, username: str) -> None:
    """Safety, fault 7 and hazard 0020: the limiter lived in one process and knew only the address."""
    answers = [await fail(auth, username, address=f"192.0.2.{number}") for number in range(7)]

    assert [answer.status_code for answer in answers] == [400] * 5 + [429] * 2
    refused = answers[-1]
    assert refused.json()["error_code"] == "too_many_attempts"
    assert 50 <= int(refused.headers["retry-after"]) <= 60
    assert auth.passwords.verified == 5


async def test_even_the_right_password_waits(auth: Auth) -> None:
    for _ in range(5):
        await fail(auth, "Root")

    assert (await sign_in(auth)).status_code == 429


async def test_the_delay_grows_and_ends(auth: Auth) -> None:
    for _ in range(5):
        await fail(auth, "root")
    waits = []
    for _ in range(6):
        await auth.sql("UPDATE throttle_bucket SET closed_until = now() - interval '1 second'")
        assert (await fail(auth, "root")).status_code == 400
        waits.append(int((await fail(auth, "root")).headers["retry-after"]))

    assert waits == [120, 240, 480, 900, 900, 900]
    await auth.sql("UPDATE throttle_bucket SET closed_until = now() - interval '1 second'")
    assert (await sign_in(auth)).status_code == 200


async def test_a_success_forgets_the_failures_of_the_account(auth: Auth) -> None:
    for _ in range(3):
        for number in range(4):
            assert (await fail(auth, "root", address=f"192.0.2.{number}")).status_code == 400
        assert (await sign_in(auth)).status_code == 200


async def test_a_hundred_guesses_at_once_tell_no_more_than_five(auth: Auth) -> None:
    guesses = [fail(auth, "root", address=f"198.51.100.{number}") for number in range(30)]

    statuses = sorted(answer.status_code for answer in await asyncio.gather(*guesses))

    assert statuses.count(400) == 5
    assert statuses.count(429) == 25


async def test_an_address_is_slowed_across_accounts(auth: Auth) -> None:
    answers = [await fail(auth, f"user{number}") for number in range(13)]

    assert [answer.status_code for answer in answers] == [400] * 12 + [429]
    assert (await fail(auth, "user99", address="192.0.2.2")).status_code == 400


async def test_an_ipv6_site_counts_as_one_address(auth: Auth) -> None:
    answers = [await fail(auth, f"user{number}", address=f"2001:db8:1:2::{number}") for number in range(13)]

    assert answers[-1].status_code == 429
    assert (await fail(auth, "user99", address="2001:db8:1:3::1")).status_code == 400


async def test_only_the_gateway_names_the_address(auth: Auth) -> None:
    transport = httpx.ASGITransport(auth.service.app, client=("203.0.113.5", 4711))
    async with httpx.AsyncClient(transport=transport, base_url="http://service.test") as stranger:
        answers = [
            await stranger.post(
                "/api/auth/login",
                json={"username": f"user{number}", "password": "x"},
                headers={"X-Forwarded-For": f"192.0.2.{number}"},
            )
            for number in range(13)
        ]

    assert answers[-1].status_code == 429


async def test_the_token_route_counts_and_waits_the_same(auth: Auth) -> None:
    for _ in range(3):
        await fail(auth, "root")
    for _ in range(2):
        assert (await auth.token(grant_type="password", username="root", password="wrong")).status_code == 400

    answer = await auth.token(grant_type="password", username="root", password=ADMIN_PASSWORD)

    assert answer.status_code == 429
    assert answer.json()["error"] == "temporarily_unavailable"
    assert "retry-after" in answer.headers


async def test_registrations_are_limited_by_address(auth: Auth) -> None:
    answers = [
        await auth.post(
            "/api/auth/register",
            {"username": f"user{number}", "email": f"user{number}@example.org", "password": PASSWORD},
        )
        for number in range(5)
    ]

    assert [answer.status_code for answer in answers] == [200] * 4 + [429]
    assert "retry-after" in answers[-1].headers


async def test_refused_registrations_count_too(auth: Auth) -> None:
    body = {"username": "root", "email": "x@example.org", "password": PASSWORD}

    answers = [
        await auth.post("/api/auth/register", body, headers={"X-Forwarded-For": f"192.0.2.{number}"})
        for number in range(4)
    ]

    assert [answer.status_code for answer in answers] == [400] * 3 + [429]


async def test_what_strangers_type_is_not_kept(auth: Auth) -> None:
    await fail(auth, "my secret password typed into the wrong field")

    rows = await auth.sql("SELECT * FROM throttle_bucket")

    assert len(rows) == 2
    assert all(len(row["key"]) == 32 for row in rows)
