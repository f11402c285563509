"""Refreshing: one use, a short grace for a second tab, and the end of the session after that."""

import asyncio

import asyncpg
import httpx
import pytest

from .harness import Auth, Person, claims_of, eventually

WHEN_EXPIRED = {
    "idle": "UPDATE sign_in_session SET refreshed_at = now() - interval '8 hours 1 second'",
    "absolute": (
        "UPDATE sign_in_session SET created_at = now() - interval '7 days 1 second', refreshed_at = now()"
    ),
}
AGED = "UPDATE refresh_token SET first_used_at = first_used_at - interval '11 seconds'"


def assert_refused(answer: httpx.Response, detail: str, code: str) -> None:
    """401 in the contract's words, and the cookies are gone."""
    assert answer.status_code == 401
    assert (answer.json()["detail"], answer.json()["error_code"]) == (detail, code)
    assert answer.headers["content-type"] == "application/problem+json"
    cleared = answer.headers.get_list("set-cookie")
    assert len(cleared) == 3
    assert all('=""' in line and "Max-Age=0" in line for line in cleared)
    assert any("Path=/api/auth/refresh" in line for line in cleared)


async def test_a_refresh_replaces_all_three_cookies_in_the_same_session(auth: Auth) -> None:
    root = await auth.root()

    answer = await auth.refresh(root.refresh_token)

    assert (answer.status_code, answer.json()) == (200, {"detail": "ok"})
    cookies = {line.split("=")[0]: line.split(";")[0] for line in answer.headers.get_list("set-cookie")}
    assert cookies.keys() == {"access_token", "refresh_token", "XSRF-TOKEN"}
    access_token = cookies["access_token"].partition("=")[2]
    assert claims_of(access_token)["sid"] == root.session_id
    assert claims_of(access_token)["jti"] != claims_of(root.access_token)["jti"]
    assert root.refresh_token not in cookies["refresh_token"]


async def test_tokens_are_stored_hashed(auth: Auth) -> None:
    root = await auth.root()

    (row,) = await auth.sql("SELECT token_hash FROM refresh_token")

    assert len(row["token_hash"]) == 32
    assert root.refresh_token.encode() not in row["token_hash"]


@pytest.mark.parametrize("token", ["x", "x" * 4000, "☃"])
async def test_a_token_that_is_not_ours_is_refused(auth: Auth, token: str) -> None:
    headers = {b"Cookie": b"refresh_token=" + token.encode()}

    assert_refused(
        await auth.client.post("/api/auth/refresh", headers=headers), "Bad refresh token", "bad_refresh_token"
    )


async def test_without_a_cookie_there_is_nothing_to_refresh(auth: Auth) -> None:
    assert_refused(await auth.refresh(None), "No refresh token", "no_refresh_token")
    root = await auth.root()
    assert_refused(await auth.refresh(root.access_token), "Bad refresh token", "bad_refresh_token")


async def test_a_replayed_token_ends_the_session_everywhere(auth: Auth) -> None:
    root = await auth.root()
    child = (await auth.refresh(root.refresh_token)).headers["set-cookie"]
    await auth.sql(AGED)

    assert_refused(await auth.refresh(root.refresh_token), "Session invalidated", "session_invalidated")

    (revoked,) = await auth.recorded("auth.session.revoked.v1")
    assert revoked["user_id"] == root.id
    assert revoked["session_id"] == root.session_id
    assert revoked["reason"] == "refresh_token_replayed"
    rows = await auth.sql("SELECT ended_reason FROM sign_in_session WHERE ended_at IS NOT NULL")
    assert [row["ended_reason"] for row in rows] == ["refresh_token_replayed"]
    assert "refresh_token" in child
    await eventually(lambda: refused_with(auth, root, "Session invalidated"))


async def refused_with(auth: Auth, person: Person, detail: str) -> bool:
    """Whether the access token is refused so."""
    answer = await auth.me(person)
    return answer.status_code == 401 and answer.json()["detail"] == detail


async def test_every_descendant_of_a_replayed_token_is_dead(auth: Auth) -> None:
    root = await auth.root()
    answer = await auth.token(grant_type="refresh_token", refresh_token=root.refresh_token)
    thief = answer.json()["refresh_token"]
    await auth.sql(AGED)
    await auth.refresh(root.refresh_token)

    assert_refused(await auth.refresh(thief), "Session invalidated", "session_invalidated")
    assert len(await auth.recorded("auth.session.revoked.v1")) == 1


async def test_a_second_tab_gets_a_sibling(auth: Auth) -> None:
    root = await auth.root()

    answers = [await auth.refresh(root.refresh_token) for _ in range(3)]

    assert [answer.status_code for answer in answers] == [200, 200, 200]
    assert await auth.recorded("auth.session.revoked.v1") == []
    assert [row["n"] for row in await auth.sql("SELECT count(*) AS n FROM sign_in_session")] == [1]


@pytest.mark.parametrize("attempt", range(5))
async def test_two_tabs_refreshing_at_the_same_instant_both_go_on(auth: Auth, attempt: int) -> None:
    root = await auth.root()

    pair = await asyncio.gather(
        *(auth.token(grant_type="refresh_token", refresh_token=root.refresh_token) for _ in range(2))
    )

    assert [answer.status_code for answer in pair] == [200, 200]
    tokens = [answer.json()["refresh_token"] for answer in pair]
    assert len(set(tokens)) == 2
    for token in tokens:
        assert (await auth.refresh(token)).status_code == 200
    rows = await auth.sql("SELECT count(*) AS n FROM refresh_token WHERE first_used_at IS NULL")
    assert rows[0]["n"] == 2
    sessions = await auth.sql("SELECT id FROM sign_in_session")
    assert [row["id"] for row in sessions] == [root.session_id]


@pytest.mark.parametrize("limit", WHEN_EXPIRED)
async def test_a_session_ends_when_idle_and_in_any_case_after_a_week(auth: Auth, limit: str) -> None:
    root = await auth.root()
    await auth.sql(WHEN_EXPIRED[limit])

    assert_refused(await auth.refresh(root.refresh_token), "Session invalidated", "session_expired")


async def test_a_deactivated_user_cannot_refresh(auth: Auth) -> None:
    person = await auth.person("amara")
    root = await auth.root()
    await auth.post(f"/api/users/{person.id}/deactivate", headers=root.headers)

    assert_refused(await auth.refresh(person.refresh_token), "Inactive user", "inactive_user")
    answer = await auth.token(grant_type="refresh_token", refresh_token=person.refresh_token)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")


async def test_a_refresh_racing_a_deactivation_leaves_no_living_token(auth: Auth) -> None:
    person = await auth.person("amara")
    root = await auth.root()

    refreshed, closed = await asyncio.gather(
        auth.token(grant_type="refresh_token", refresh_token=person.refresh_token),
        auth.post(f"/api/users/{person.id}/deactivate", headers=root.headers),
    )

    assert closed.status_code == 200
    (revoked,) = await auth.sql("SELECT sessions_ended_at AS at FROM account WHERE id = $1", person.id)
    if refreshed.status_code == 200:
        assert claims_of(refreshed.json()["access_token"])["iat"] < revoked["at"].timestamp()
        assert (await auth.refresh(refreshed.json()["refresh_token"])).status_code == 401


async def test_a_refresh_mends_outdated_powers(auth: Auth) -> None:
    person = await auth.person("amara", "staff")
    root = await auth.root()
    await auth.client.put(
        f"/api/users/{person.id}/roles", json={"roles": ["Clinician"]}, headers=root.headers
    )

    async def outdated() -> bool:
        answer = await auth.me(person)
        return answer.status_code == 401 and answer.json()["error_code"] == "token_outdated"

    await eventually(outdated)
    answer = await auth.token(grant_type="refresh_token", refresh_token=person.refresh_token)
    claims = claims_of(answer.json()["access_token"])
    assert (claims["roles"], claims["ver"]) == (["Clinician"], 2)
    person.headers = {"Authorization": f"Bearer {answer.json()['access_token']}"}
    assert (await auth.me(person)).status_code == 200


async def test_logout_ends_the_session_on_the_server(auth: Auth) -> None:
    """Safety, fault 11: logout revoked nothing."""
    root = await auth.root()
    other = await auth.root()

    answer = await auth.post("/api/auth/logout", headers=root.headers)

    assert (answer.status_code, answer.json()) == (200, {"detail": "ok"})
    assert len(answer.headers.get_list("set-cookie")) == 3
    (revoked,) = await auth.recorded("auth.session.revoked.v1")
    assert (revoked["session_id"], revoked["reason"]) == (root.session_id, "logout")
    await eventually(lambda: refused_with(auth, root, "Session invalidated"))
    assert_refused(await auth.refresh(root.refresh_token), "Session invalidated", "session_invalidated")
    assert (await auth.me(other)).status_code == 200


async def test_csrf_tokens_are_new_each_time_and_of_one_session(auth: Auth) -> None:
    """Safety, fault 10: the CSRF token never changed; one key signed it and the access tokens."""
    credentials = {"username": "root", "password": "a password of the first superadmin"}
    tokens = []
    for _ in range(2):
        answer = await auth.client.post("/api/auth/login", json=credentials)
        tokens.append((answer.cookies["XSRF-TOKEN"], claims_of(answer.cookies["access_token"])["sid"]))
    (one, session), (other, other_session) = tokens

    assert one != other
    csrf = auth.context.csrf
    assert csrf.verify(one, session)
    assert csrf.verify(other, other_session)
    assert not csrf.verify(one, other_session)
    settings = auth.context.settings
    assert settings.csrf_key != settings.signing_key_encryption_key


async def test_a_replica_with_a_fast_clock_issues_nothing_that_outlives_a_deactivation(auth: Auth) -> None:
    person = await auth.person("amara")
    root = await auth.root()
    await auth.sql(
        "UPDATE sign_in_session SET refreshed_at = now() + interval '2 seconds' WHERE id = $1",
        person.session_id,
    )

    await auth.post(f"/api/users/{person.id}/deactivate", headers=root.headers)

    (row,) = await auth.sql(
        "SELECT a.sessions_ended_at > s.refreshed_at AS after FROM account a"
        " JOIN sign_in_session s ON s.user_id = a.id WHERE a.id = $1",
        person.id,
    )
    assert row["after"]


async def test_a_refresh_waits_for_the_end_of_its_session(auth: Auth) -> None:
    root = await auth.root()
    connection = await asyncpg.connect(auth.database.owner_url.replace("+asyncpg", ""))
    try:
        async with connection.transaction():
            await connection.execute("UPDATE sign_in_session SET ended_at = now(), ended_reason = 'logout'")
            refreshing = asyncio.create_task(auth.refresh(root.refresh_token))
            await asyncio.sleep(0.2)
            assert not refreshing.done()
    finally:
        await connection.close()

    assert_refused(await refreshing, "Session invalidated", "session_invalidated")
