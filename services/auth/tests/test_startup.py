"""The first key and the first superadmin; keys at rest."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any

import jwt
import pytest
from cryptography.exceptions import InvalidTag
from pydantic import SecretStr, ValidationError

from quill_auth.bootstrap import definition
from quill_auth.keys import KeyFactory, KeyRecord, NoSigningKey, Signer, key_set
from quill_auth.repository import keys as keys_repository
from quill_auth.secret_keys import SecretKeys
from quill_auth.service.housekeeping import keep_house
from quill_auth.service.startup import BootstrapError
from quill_auth.settings import AuthSettings
from quill_shared.platform.clock import now
from quill_shared.platform.testing.postgres import TestDatabase
from quill_shared.platform.testing.services import Canary, RunningService, running, secret
from quill_shared.platform.testing.tokens import TokenMint

from .harness import ADMIN_PASSWORD, SETTINGS, Auth


@asynccontextmanager
async def started(
    database: TestDatabase, mint: TokenMint, canary: Canary, **settings: Any
) -> AsyncIterator[RunningService]:
    """A replica of the service."""
    values = {**SETTINGS, **settings}
    async with running(definition, database, mint, canary, own_tokens=True, **values) as service:
        yield service


async def test_replicas_that_start_together_make_one_key_and_one_superadmin(
    empty_database: TestDatabase, mint: TokenMint, canary: Canary
) -> None:
    async with AsyncExitStack() as stack:
        replicas = await asyncio.gather(
            *(
                stack.enter_async_context(started(empty_database, mint, canary, database_pool_size=2))
                for _ in range(3)
            )
        )
        sets = [(await replica.client.get("/.well-known/jwks.json")).json() for replica in replicas]
        assert sets[0] == sets[1] == sets[2]
        assert len(sets[0]["keys"]) == 1
        login = {"username": "root", "password": ADMIN_PASSWORD}
        answer = await replicas[0].client.post("/api/auth/login", json=login)
        assert answer.status_code == 200
        headers = {"Authorization": f"Bearer {answer.cookies['access_token']}"}
        users = await replicas[1].client.get("/api/users", headers=headers)
        assert [user["system_permissions"] for user in users.json()["users"]] == ["superadmin"]
        assert len(await replicas[2].recorded("auth.user.registered.v1")) == 1


async def test_a_later_start_makes_no_further_superadmin(
    keyed_database: TestDatabase, mint: TokenMint, canary: Canary
) -> None:
    async with started(keyed_database, mint, canary):
        pass
    changed = {"bootstrap_admin_username": "other", "bootstrap_admin_email": "other@example.org"}
    async with started(keyed_database, mint, canary, **changed) as service:
        login = {"username": "other", "password": ADMIN_PASSWORD}
        assert (await service.client.post("/api/auth/login", json=login)).status_code == 400


async def test_a_name_that_is_somebody_elses_is_not_promoted(
    keyed_database: TestDatabase, mint: TokenMint, canary: Canary
) -> None:
    nobody = dict.fromkeys(("bootstrap_admin_username", "bootstrap_admin_email", "bootstrap_admin_password"))
    async with started(keyed_database, mint, canary, **nobody) as service:
        body = {"username": "root", "email": "squatter@example.org", "password": ADMIN_PASSWORD}
        assert (await service.client.post("/api/auth/register", json=body)).status_code == 200

    with pytest.raises(BootstrapError, match="no superadmin"):
        async with started(keyed_database, mint, canary):
            pass


async def test_a_key_that_cannot_be_opened_is_told_at_the_start(
    keyed_database: TestDatabase, mint: TokenMint, canary: Canary
) -> None:
    with pytest.raises(BootstrapError, match="QUILL_SIGNING_KEY_ENCRYPTION_KEY"):
        async with started(keyed_database, mint, canary, signing_key_encryption_key=secret()):
            pass


async def test_in_production_cookies_are_secure(
    keyed_database: TestDatabase, mint: TokenMint, canary: Canary
) -> None:
    strong = {"env": "production", "argon2_passes": 2, "argon2_memory_kib": 19 * 1024}
    async with started(keyed_database, mint, canary, **strong) as service:
        login = {"username": "root", "password": ADMIN_PASSWORD}
        answer = await service.client.post("/api/auth/login", json=login)
        assert answer.status_code == 200
        assert all("; Secure" in line for line in answer.headers.get_list("set-cookie"))
        cleared = await service.client.post("/api/auth/refresh", headers={"Cookie": "refresh_token=x"})
        assert all("; Secure" in line for line in cleared.headers.get_list("set-cookie"))


def test_bootstrap_settings_go_together() -> None:
    values = {
        "service_key": secret(),
        "database_url": "postgresql+asyncpg://x",
        **SETTINGS,
        "env": "development",
        "bootstrap_admin_password": "",
    }
    with pytest.raises(ValidationError, match="go together"):
        AuthSettings(**values)


def test_production_refuses_hashing_that_is_too_cheap() -> None:
    values = {"service_key": secret(), "database_url": "postgresql+asyncpg://x", **SETTINGS}

    with pytest.raises(ValidationError, match="must be at least"):
        AuthSettings(**values, env="production")
    assert AuthSettings(**{**values, "argon2_passes": 2, "argon2_memory_kib": 19456}).env == "production"


async def test_the_key_set_holds_public_keys_only(auth: Auth) -> None:
    answer = await auth.client.get("/.well-known/jwks.json")

    (key,) = answer.json()["keys"]
    assert key.keys() == {"kty", "kid", "use", "alg", "n", "e"}
    assert (key["kty"], key["use"], key["alg"]) == ("RSA", "sig", "RS256")
    root = await auth.root()
    claims = jwt.decode(
        root.access_token, jwt.PyJWK(key).key, algorithms=["RS256"], audience="quill-api", issuer="quill"
    )
    assert claims["sub"] == "1"
    assert jwt.get_unverified_header(root.access_token)["kid"] == key["kid"]


async def test_a_rotated_key_signs_once_active_and_the_old_one_stays_published(auth: Auth) -> None:
    (old,) = (await auth.client.get("/.well-known/jwks.json")).json()["keys"]
    successor = await auth.context.key_factory.new(activates_at=now() + timedelta(minutes=10))
    async with auth.service.runtime.database.unit_of_work() as uow, uow.session.begin():
        await keys_repository.add(uow.session, successor)

    async def kid_in_use() -> str:
        context = replace(auth.context, signer=Signer(auth.context.key_factory))
        auth.service.runtime.context = context
        return str(jwt.get_unverified_header((await auth.root()).access_token)["kid"])

    keys = (await auth.client.get("/.well-known/jwks.json")).json()["keys"]
    assert {key["kid"] for key in keys} == {old["kid"], successor.kid}
    assert await kid_in_use() == old["kid"]
    await auth.sql("UPDATE signing_key SET activates_at = now() WHERE kid = $1", successor.kid)
    assert await kid_in_use() == successor.kid
    await auth.sql("UPDATE signing_key SET expires_at = now() WHERE kid = $1", old["kid"])
    (left,) = (await auth.client.get("/.well-known/jwks.json")).json()["keys"]
    assert left["kid"] == successor.kid


def test_a_private_key_is_sealed_to_its_row(signing_key: KeyRecord) -> None:
    sealing = SecretKeys("signing keys", SecretStr(SETTINGS["signing_key_encryption_key"]))
    factory = KeyFactory(sealing, bits=2048)
    assert factory.open(signing_key).key_size == 2048
    assert b"PRIVATE" not in signing_key.private_key

    with pytest.raises(InvalidTag):
        factory.open(replace(signing_key, kid="another"))
    with pytest.raises(KeyError):
        KeyFactory(SecretKeys("signing keys", SecretStr(secret())), bits=2048).open(signing_key)
    rotated = SecretKeys(
        "signing keys", SecretStr(secret()), [SecretStr(SETTINGS["signing_key_encryption_key"])]
    )
    assert KeyFactory(rotated, bits=2048).open(signing_key).key_size == 2048


def test_without_an_active_key_nothing_is_signed(signing_key: KeyRecord) -> None:
    sealing = SecretKeys("signing keys", SecretStr(SETTINGS["signing_key_encryption_key"]))
    signer = Signer(KeyFactory(sealing, bits=2048))

    with pytest.raises(NoSigningKey):
        signer.sign({})
    with pytest.raises(NoSigningKey):
        signer.adopt([replace(signing_key, activates_at=now() + timedelta(hours=1))])
    expired = replace(signing_key, expires_at=now())
    assert key_set([expired]) == {"keys": []}


async def test_housekeeping_keeps_what_still_matters(auth: Auth) -> None:
    living, ended = await auth.root(), await auth.root()
    await auth.post("/api/auth/logout", headers=ended.headers)
    await auth.root()
    await auth.sql(
        "UPDATE sign_in_session SET created_at = now() - interval '9 days'"
        " WHERE id <> $1 AND ended_at IS NULL",
        living.session_id,
    )
    await auth.post("/api/auth/login", {"username": "x", "password": "y"})

    async def sweep() -> set[str]:
        task = asyncio.create_task(keep_house(auth.service.runtime))
        await asyncio.sleep(0.2)
        task.cancel()
        return {row["id"] for row in await auth.sql("SELECT id FROM sign_in_session")}

    assert await sweep() == {living.session_id, ended.session_id}
    assert len(await auth.sql("SELECT 1 FROM throttle_bucket")) == 2
    await auth.sql("UPDATE sign_in_session SET ended_at = ended_at - interval '25 hours'")
    await auth.sql("UPDATE throttle_bucket SET last_at = now() - interval '25 hours'")
    assert await sweep() == {living.session_id}
    assert len(await auth.sql("SELECT 1 FROM refresh_token")) == 1
    assert await auth.sql("SELECT 1 FROM throttle_bucket") == []
