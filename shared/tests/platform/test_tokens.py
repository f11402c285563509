"""Who gets in with which token."""

import asyncio
import hmac
import json
import secrets
import time
from base64 import urlsafe_b64encode
from datetime import UTC, datetime
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import RSAAlgorithm
from pydantic import SecretStr

from quill_shared.platform.csrf import CsrfTokens
from quill_shared.platform.errors import Unavailable
from quill_shared.platform.revocation import InvalidatedSession, RevocationList, RevocationSnapshot
from quill_shared.platform.tokens import InvalidToken, JwksCache, TokenVerifier, bearer_token

ISSUER, AUDIENCE = "quill", "quill-api"
KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
OTHER_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)


class Clock:
    """A time that stands still until moved."""

    def __init__(self, now: float = 1_700_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class Jwks:
    """Auth's key set, with a count of how often it was asked for."""

    def __init__(self, **keys: rsa.RSAPrivateKey) -> None:
        self.keys = keys
        self.fetches = 0
        self.down = False
        self.delay = 0.0

    async def __call__(self) -> dict[str, Any]:
        self.fetches += 1
        await asyncio.sleep(self.delay)
        if self.down:
            raise OSError("no route")
        return {
            "keys": [
                {
                    **RSAAlgorithm.to_jwk(key.public_key(), as_dict=True),
                    "kid": kid,
                    "use": "sig",
                    "alg": "RS256",
                }
                for kid, key in self.keys.items()
            ]
        }


class World:
    """A verifier with everything it stands on."""

    def __init__(self, **cache: Any) -> None:
        self.clock = Clock()
        self.jwks = Jwks(k1=KEY)
        self.keys = JwksCache(self.jwks, clock=self.clock, **cache)
        self.revocations = RevocationList(_nothing_revoked, clock=self.clock)
        self.verifier = TokenVerifier(
            self.keys, ISSUER, AUDIENCE, self.revocations, max_cached=50, clock=self.clock
        )

    def claims(self, **changes: Any) -> dict[str, Any]:
        claims = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": "7",
            "sid": "session-1",
            "jti": secrets.token_urlsafe(8),
            "iat": self.clock.now - 1.25,
            "exp": int(self.clock.now) + 900,
            "typ": "access",
            "username": "a.nurse",
            "roles": ["Clinician"],
            "perm": "staff",
            "cbac": {"bp": "registered_nurse", "add": ["x"], "rem": []},
            "ver": 3,
            **changes,
        }
        return {name: value for name, value in claims.items() if value is not ...}

    def token(
        self, *, key: Any = KEY, kid: str | None = "k1", algorithm: str = "RS256", **changes: Any
    ) -> str:
        headers = {} if kid is None else {"kid": kid}
        return jwt.encode(self.claims(**changes), key, algorithm=algorithm, headers=headers)

    async def verify(self, **changes: Any) -> Any:
        return await self.verifier.verify(self.token(**changes))


async def _nothing_revoked() -> RevocationSnapshot:
    return RevocationSnapshot(sessions=[], users=[], versions=[], as_of=datetime.now(UTC))


@pytest.fixture
async def world() -> World:
    world = World()
    assert await world.revocations.reload()
    return world


async def test_claims_of_a_good_token(world: World) -> None:
    claims = await world.verify(pid="pat-1")
    assert (claims.user_id, claims.sid, claims.username, claims.perm) == (7, "session-1", "a.nurse", "staff")
    assert (claims.roles, claims.ver, claims.pid) == (("Clinician",), 3, "pat-1")
    assert (claims.cbac.bp, claims.cbac.add, claims.cbac.rem) == ("registered_nurse", ("x",), ())
    assert claims.iat == world.clock.now - 1.25
    assert (await world.verify()).pid is None


@pytest.mark.parametrize(
    "changes",
    [
        {"typ": "refresh"},
        {"typ": "invite"},
        {"typ": ...},
        {"iss": "elsewhere"},
        {"iss": ...},
        {"aud": "other-api"},
        {"aud": ...},
        {"exp": 1_699_999_999},
        {"exp": 1_700_000_000},
        {"exp": ...},
        {"exp": "1700000900"},
        {"exp": True},
        {"exp": float("inf")},
        {"iat": ...},
        {"iat": float("nan")},
        {"iat": 1_700_000_000 + 3600},
        {"iat": 1_700_000_000 - 3600, "exp": 1_700_000_000 + 3600},
        {"sub": ...},
        {"sub": "0"},
        {"sub": "-7"},
        {"sub": "seven"},
        {"sub": "9223372036854775808"},
        {"sub": "\u0667"},
        {"sid": ...},
        {"sid": ""},
        {"sid": 5},
        {"jti": ...},
        {"username": ...},
        {"username": None},
        {"roles": ...},
        {"roles": "Clinician"},
        {"roles": [1]},
        {"perm": ...},
        {"perm": ["admin"]},
        {"cbac": ...},
        {"cbac": []},
        {"cbac": {"bp": "patient"}},
        {"ver": ...},
        {"ver": "3"},
        {"ver": True},
        {"ver": -1},
        {"pid": 7},
        {"nbf": 1_900_000_000},
        {"kid": "nobody"},
        {"kid": None},
        {"kid": ""},
        {"kid": "k" * 200},
    ],
    ids=str,
)
async def test_anything_else_is_an_invalid_token(world: World, changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidToken) as refused:
        await world.verify(**changes)
    assert (refused.value.detail, refused.value.code, refused.value.status) == (
        "Invalid token",
        "invalid_token",
        401,
    )
    assert world.verifier.cached == 0


def _segment(text: str) -> str:
    return urlsafe_b64encode(text.encode()).rstrip(b"=").decode()


def _signed_with_the_public_key(world: World) -> str:
    """The classic confusion: HMAC keyed with what everybody knows."""
    public = KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    signed = f"{_segment(json.dumps({'alg': 'HS256', 'kid': 'k1'}))}.{_segment(json.dumps(world.claims()))}"
    mac = urlsafe_b64encode(hmac.digest(public, signed.encode(), "sha256")).rstrip(b"=").decode()
    return f"{signed}.{mac}"


async def test_only_rs256_counts(world: World) -> None:
    for token in (
        world.token(algorithm="RS512"),
        world.token(algorithm="PS256"),
        world.token(key="s" * 40, algorithm="HS256"),
        _signed_with_the_public_key(world),
        jwt.encode(world.claims(), None, algorithm="none", headers={"kid": "k1"}),  # type: ignore[arg-type]
    ):
        with pytest.raises(InvalidToken):
            await world.verifier.verify(token)
    assert world.jwks.fetches == 0, "a token of another algorithm is refused before any key is looked for"


@pytest.mark.parametrize(
    "token",
    [
        "",
        ".",
        "..",
        "a.b",
        "a.b.c",
        "ünïcode.x.y",
        "\ud800.x.y",
        "\0\0.\0.\0",
        "x" * 9000,
        f"{_segment('[]')}.{_segment('{}')}.x",
        f"{_segment('[' * 5000)}.{_segment('{}')}.x",
        f"{_segment(json.dumps({'alg': 'RS256', 'kid': 5}))}.{_segment('{}')}.x",
        f"{_segment(json.dumps({'alg': ['RS256'], 'kid': 'k1'}))}.{_segment('{}')}.x",
        f"{_segment(json.dumps({'alg': 'RS256', 'kid': 'k1'}))}.{_segment('{}')}.",
    ],
    ids=lambda token: token[:20].encode("ascii", "backslashreplace").decode(),
)
async def test_garbage_is_an_invalid_token(world: World, token: str) -> None:
    with pytest.raises(InvalidToken):
        await world.verifier.verify(token)


async def test_somebody_elses_signature_is_refused(world: World) -> None:
    with pytest.raises(InvalidToken):
        await world.verify(key=OTHER_KEY)


async def test_a_changed_payload_is_refused(world: World) -> None:
    header, _, signature = world.token().split(".")
    payload = _segment(json.dumps(world.claims(perm="superadmin")))
    with pytest.raises(InvalidToken):
        await world.verifier.verify(f"{header}.{payload}.{signature}")


async def test_a_verified_token_is_remembered_until_it_expires_and_a_minute_at_most(world: World) -> None:
    short, long = world.token(exp=int(world.clock.now) + 30), world.token()
    assert world.verifier.verify_cached(short) is None
    for token in (short, long):
        claims = await world.verifier.verify(token)
        assert world.verifier.verify_cached(token) is claims
        assert world.verifier.verify_cached(token.encode()) is claims
    world.clock.now += 30
    assert world.verifier.verify_cached(short) is None
    with pytest.raises(InvalidToken):
        await world.verifier.verify(short)
    assert world.verifier.verify_cached(long) is not None
    world.clock.now += 30
    assert world.verifier.verify_cached(long) is None
    assert (await world.verifier.verify(long)).user_id == 7


async def test_the_memory_for_tokens_is_bounded_and_keeps_the_recently_used(world: World) -> None:
    first = world.token()
    await world.verifier.verify(first)
    for _ in range(60):
        await world.verify()
        await world.verifier.verify(first)
    assert world.verifier.cached == 50
    assert world.verifier.verify_cached(first) is not None


async def test_a_flood_of_bad_tokens_grows_nothing_and_fetches_no_keys(world: World) -> None:
    await world.verify()
    world.clock.now += 10
    for number in range(200):
        with pytest.raises(InvalidToken):
            await world.verify(kid=f"made-up-{number}")
        with pytest.raises(InvalidToken):
            await world.verifier.verify(world.token()[:-8] + secrets.token_hex(4))
    assert world.jwks.fetches == 2
    assert world.verifier.cached == 1


async def test_waiting_for_keys_is_shared() -> None:
    world = World()
    await world.revocations.reload()
    world.jwks.delay = 0.05
    claims = await asyncio.gather(*(world.verify() for _ in range(20)))
    assert len(claims) == 20
    assert world.jwks.fetches == 1


async def test_who_gives_up_waiting_does_not_end_the_fetch_for_others() -> None:
    world = World()
    await world.revocations.reload()
    world.jwks.delay = 0.05
    impatient = asyncio.create_task(world.verify())
    patient = asyncio.create_task(world.verify())
    await asyncio.sleep(0.01)
    impatient.cancel()
    assert (await patient).user_id == 7
    with pytest.raises(asyncio.CancelledError):
        await impatient


async def test_keys_rotate_without_downtime(world: World) -> None:
    old = world.token()
    await world.verifier.verify(old)
    world.jwks.keys = {"k1": KEY, "k2": OTHER_KEY}
    world.clock.now += 4
    assert (await world.verify(key=OTHER_KEY, kid="k2")).user_id == 7
    assert world.verifier.cached == 1, "the memory was emptied when the keys changed"
    assert (await world.verifier.verify(old)).user_id == 7


async def test_a_withdrawn_key_goes_and_its_tokens_with_it(world: World) -> None:
    old = world.token()
    await world.verifier.verify(old)
    world.jwks.keys = {"k2": OTHER_KEY}
    world.clock.now += 301
    fresh = world.token()
    assert (await world.verifier.verify(fresh)).user_id == 7, "renewal goes on in the background"
    await asyncio.sleep(0.02)
    assert world.verifier.verify_cached(fresh) is None
    with pytest.raises(InvalidToken):
        await world.verifier.verify(fresh)


async def test_known_keys_stay_while_auth_is_away(world: World) -> None:
    await world.verify()
    world.jwks.down = True
    world.clock.now += 3600
    assert (await world.verify()).user_id == 7
    await asyncio.sleep(0.02)
    assert (await world.verify()).user_id == 7


async def test_without_any_key_the_answer_is_503_not_401() -> None:
    world = World()
    await world.revocations.reload()
    world.jwks.down = True
    with pytest.raises(Unavailable):
        await world.verify()
    world.jwks.down = False
    world.clock.now += 4
    assert (await world.verify()).user_id == 7


@pytest.mark.parametrize(
    "document",
    [
        [],
        {},
        {"keys": {}},
        {"keys": []},
        {"keys": [{"kty": "oct", "kid": "k1", "k": "c2VjcmV0"}]},
        {"keys": [{"kty": "RSA", "kid": "k1", "n": "AQ", "e": "AQAB"}]},
    ],
    ids=str,
)
async def test_a_key_set_that_holds_nothing_usable_changes_nothing(world: World, document: Any) -> None:
    await world.verify()

    async def broken() -> Any:
        return document

    world.keys._fetch = broken
    world.clock.now += 3600
    await world.verify()
    await asyncio.sleep(0.02)
    assert (await world.verify()).user_id == 7


async def test_a_private_key_published_by_mistake_is_not_used() -> None:
    world = World()
    await world.revocations.reload()
    private = {**RSAAlgorithm.to_jwk(KEY, as_dict=True), "kid": "k1"}

    async def leaky() -> Any:
        return {"keys": [private]}

    world.keys._fetch = leaky
    with pytest.raises(Unavailable):
        await world.verify()


async def test_the_revocation_list_is_asked_for_remembered_tokens_too(world: World) -> None:
    token = world.token()
    await world.verifier.verify(token)
    world.revocations.revoke_session(
        "session-1", at=datetime.fromtimestamp(world.clock.now, UTC), reason="logout"
    )
    with pytest.raises(InvalidatedSession):
        world.verifier.verify_cached(token)
    with pytest.raises(InvalidatedSession):
        await world.verifier.verify(token)


async def test_before_the_list_is_known_nobody_gets_in() -> None:
    world = World()
    with pytest.raises(Unavailable) as refused:
        await world.verify()
    assert refused.value.detail == "Session state is not known yet"
    assert refused.value.headers["Retry-After"] == "1"
    await world.revocations.reload()
    assert (await world.verify()).user_id == 7


@pytest.mark.parametrize(
    ("header", "token"),
    [
        ("Bearer abc.d-e_f.x", "abc.d-e_f.x"),
        ("bearer   abc", "abc"),
        ("Bearer abc ", "abc"),
        (None, None),
        ("", None),
        ("Bearer", None),
        ("Bearer ", None),
        ("Bearer a b", None),
        ("Bearer a, Bearer b", None),
        ("Basic YTpi", None),
    ],
)
def test_the_authorization_header(header: str | None, token: str | None) -> None:
    assert bearer_token(header) == token


CSRF_KEY = SecretStr("kF3v9qLw2Zx7Rt5Yb8Nc1Mh4Jd6Gs0Pa")
NEXT_CSRF_KEY = SecretStr("Wq8Ln2Vb6Xs4Ke0Tz9Hd3Gf7Jm1Rc5Py")


def test_a_csrf_token_is_good_for_its_session_only() -> None:
    tokens = CsrfTokens(CSRF_KEY)
    token = tokens.issue("session-1")
    assert token != tokens.issue("session-1")
    assert set(token) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._~-")
    assert tokens.accepts(header=token, cookie=token, session_id="session-1")
    assert not tokens.accepts(header=token, cookie=token, session_id="session-2")
    assert not tokens.accepts(header=token, cookie=tokens.issue("session-1"), session_id="session-1")
    assert not tokens.accepts(header=None, cookie=token, session_id="session-1")
    assert not tokens.accepts(header=token, cookie=None, session_id="session-1")
    assert not tokens.accepts(header="", cookie="", session_id="session-1")


def test_a_csrf_token_that_was_touched_is_no_good() -> None:
    tokens = CsrfTokens(CSRF_KEY)
    version, kid, random, mac = tokens.issue("s").split(".")
    flipped = ("A" if mac[0] != "A" else "B") + mac[1:]
    for forged in (
        f"{version}.{kid}.{random}.{flipped}",
        f"{version}.{kid}.{'A' * 22}.{mac}",
        f"v2.{kid}.{random}.{mac}",
        f"{version}.{'A' * 8}.{random}.{mac}",
        f"{version}.{kid}.{random}.{mac}\n",
        f"{version}.{kid}.{random}",
        "\ud800",
        "é" * 80,
        "",
    ):
        assert not tokens.verify(forged, "s")
        assert not tokens.accepts(header=forged, cookie=forged, session_id="s")


def test_csrf_keys_rotate() -> None:
    before = CsrfTokens(CSRF_KEY)
    during = CsrfTokens(NEXT_CSRF_KEY, previous=[CSRF_KEY])
    after = CsrfTokens(NEXT_CSRF_KEY)
    old = before.issue("s")
    assert during.verify(old, "s")
    assert not after.verify(old, "s")
    assert after.verify(during.issue("s"), "s")


async def test_verifying_is_fast_enough_to_do_on_the_event_loop(world: World) -> None:
    tokens = [world.token() for _ in range(50)]
    await world.verifier.verify(tokens[0])
    started = time.perf_counter()
    for token in tokens:
        await world.verifier.verify(token)
    assert (time.perf_counter() - started) / len(tokens) < 0.01
