"""The definition of the auth service; the only place where its adapters are chosen."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from quill_shared.kernel.access import access_metadata
from quill_shared.platform.csrf import CsrfTokens
from quill_shared.platform.revocation import RevocationSnapshot
from quill_shared.platform.service import Runtime, ServiceDefinition, TokenSources
from quill_shared.platform.service_clients import service_client

from .api import routers
from .api.cookies import REFRESH_PATH, render_refresh_error
from .api.oauth import render_oauth_error
from .consumers import consumers
from .context import AuthContext, session_limits, throttle_limits
from .directories import HttpPatients
from .events import PUBLISHED
from .keys import KeyFactory, Signer, key_set
from .models import Base
from .passwords import OldHashes, PooledPasswords
from .secret_keys import SecretKeys
from .service.housekeeping import keep_house
from .service.sessions import published_keys, revocations
from .service.startup import ensure_signing_key, ensure_superadmin
from .settings import AuthSettings


def _passwords(settings: AuthSettings) -> PooledPasswords:
    return PooledPasswords(
        SecretKeys("password pepper", settings.password_pepper, settings.previous_password_peppers),
        passes=settings.argon2_passes,
        memory_kib=settings.argon2_memory_kib,
        lanes=settings.argon2_lanes,
        workers=settings.password_workers,
        queue=settings.password_queue,
        wait=settings.password_wait_seconds,
    )


def _key_factory(settings: AuthSettings) -> KeyFactory:
    sealing = SecretKeys(
        "signing keys",
        settings.signing_key_encryption_key,
        settings.previous_signing_key_encryption_keys,
    )
    return KeyFactory(sealing, bits=settings.signing_key_bits)


@asynccontextmanager
async def lifespan(runtime: Runtime) -> AsyncIterator[None]:
    """Opens the password pool and the connection to patients; makes the first key and superadmin."""
    settings: AuthSettings = runtime.settings
    passwords = _passwords(settings)
    key_factory = _key_factory(settings)
    try:
        async with service_client(runtime, "patients", settings.patients_url) as patients:
            runtime.context = AuthContext(
                settings=settings,
                passwords=passwords,
                old_hashes=OldHashes(),
                patients=HttpPatients(patients),
                key_factory=key_factory,
                signer=Signer(key_factory),
                csrf=CsrfTokens(settings.csrf_key),
                sessions=session_limits(settings),
                limits=throttle_limits(settings),
            )
            await ensure_signing_key(runtime.database, runtime.context)
            await ensure_superadmin(runtime.database, runtime.context)
            yield
    finally:
        passwords.close()


def token_sources(runtime: Runtime) -> TokenSources:
    """Keys and revocations straight from the tables: auth does not ask itself over HTTP."""

    async def keys() -> Mapping[str, Any]:
        async with runtime.database.unit_of_work() as uow:
            return key_set(await published_keys(uow))

    async def revoked() -> RevocationSnapshot:
        async with runtime.database.unit_of_work() as uow:
            return await revocations(uow)

    return TokenSources(keys=keys, revocations=revoked)


definition = ServiceDefinition(
    name="auth",
    title="Quill authentication and accounts",
    package="quill_auth",
    settings=AuthSettings,
    routers=routers,
    publishes=PUBLISHED,
    consumers=consumers,
    metadata=(Base.metadata, access_metadata),
    lifespan=lifespan,
    background=(keep_house,),
    error_renderers={"/api/auth/token": render_oauth_error, REFRESH_PATH: render_refresh_error},
    token_sources=token_sources,
)
