"""What tests of the auth service do again and again: people with sessions, and looks behind the scenes."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Any

import asyncpg
import httpx
import jwt

from quill_auth.context import AuthContext
from quill_auth.passwords import OldHashes, Passwords
from quill_shared.platform.testing.postgres import (
    TestDatabase,
)
from quill_shared.platform.testing.services import RunningService, secret

ADMIN_PASSWORD = "a password of the first superadmin"
PASSWORD = "correct horse battery staple"
SEALING_KEY = secret()
SETTINGS: dict[str, Any] = {
    "csrf_key": secret(),
    "signing_key_encryption_key": SEALING_KEY,
    "password_pepper": secret(),
    "bootstrap_admin_username": "root",
    "bootstrap_admin_email": "root@example.org",
    "bootstrap_admin_password": ADMIN_PASSWORD,
    # As cheap as Argon2 goes: how strong a hash is does not matter here.
    "argon2_passes": 1,
    "argon2_memory_kib": 8,
    "password_workers": 2,
}


class KnownPatients:
    """Patient ids that exist."""

    def __init__(self) -> None:
        self.ids: set[str] = {"p-1", "p-2"}

    async def exists(self, patient_id: str) -> bool:
        """Whether it is one of them."""
        return patient_id in self.ids


class CountedPasswords:
    """Passwords as they are, and how often a hash was computed to check one."""

    def __init__(self, real: Passwords) -> None:
        self.real = real
        self.verified = 0

    async def hash(self, password: str) -> str:
        """A new hash."""
        return await self.real.hash(password)

    async def verify(self, stored: str | None, password: str, *, bcrypt_cost: int | None = None) -> bool:
        """Counts and checks."""
        self.verified += 1
        return await self.real.verify(stored, password, bcrypt_cost=bcrypt_cost)

    def outdated(self, stored: str) -> bool:
        """Whether it should be replaced."""
        return self.real.outdated(stored)


@dataclass
class Person:
    """An account and the tokens of its session."""

    id: int
    username: str
    email: str
    password: str = PASSWORD
    access_token: str = ""
    refresh_token: str = ""
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def session_id(self) -> str:
        """The session of the access token."""
        return str(claims_of(self.access_token)["sid"])


@dataclass
class Auth:
    """The running service and what tests do with it again and again."""

    service: RunningService
    database: TestDatabase
    passwords: CountedPasswords
    patients: KnownPatients

    @property
    def client(self) -> httpx.AsyncClient:
        """Talks to the service, without keeping cookies."""
        return self.service.client

    @property
    def context(self) -> AuthContext:
        """The service's adapters."""
        context: AuthContext = self.service.runtime.context
        return context

    def forget_old_hashes(self) -> None:
        """Has the next sign-in look for bcrypt hashes, as a minute would."""
        self.service.runtime.context = replace(self.context, old_hashes=OldHashes())

    async def post(self, path: str, json: Any = None, **more: Any) -> httpx.Response:
        """A POST whose cookies are forgotten: each call says who makes it."""
        answer = await self.client.post(path, json=json, **more)
        self.client.cookies.clear()
        return answer

    async def token(self, **form: str) -> httpx.Response:
        """The OAuth token route."""
        return await self.client.post("/api/auth/token", data=form)

    async def sign_in(self, person: Person) -> Person:
        """A (further) session for `person`."""
        answer = await self.token(grant_type="password", username=person.username, password=person.password)
        assert answer.status_code == 200, answer.text
        tokens = answer.json()
        return replace(
            person,
            access_token=tokens["access_token"],
            refresh_token=tokens["refresh_token"],
            headers={"Authorization": f"Bearer {tokens['access_token']}"},
        )

    async def root(self) -> Person:
        """The first superadmin, signed in."""
        return await self.sign_in(Person(1, "root", "root@example.org", ADMIN_PASSWORD))

    async def person(self, name: str, perm: str = "patient", **powers: Any) -> Person:
        """A new account with a session; `patient` links it to a record."""
        root = await self.root()
        patient = powers.pop("patient", None)
        body = {
            "name": name,
            "email": f"{name}@example.org",
            "password": PASSWORD,
            "system_permissions": perm,
            **powers,
        }
        answer = await self.post("/api/users", body, headers=root.headers)
        assert answer.status_code == 200, answer.text
        person = Person(answer.json()["id"], answer.json()["username"], answer.json()["email"])
        if patient is not None:
            answer = await self.client.patch(
                f"/api/users/{person.id}/link-patient",
                json={"fhir_patient_id": patient},
                headers=root.headers,
            )
            assert answer.status_code == 200, answer.text
        return await self.sign_in(person)

    async def refresh(self, token: str | None) -> httpx.Response:
        """The cookie route, with `token` as its cookie."""
        headers = {} if token is None else {"Cookie": f"refresh_token={token}"}
        return await self.post("/api/auth/refresh", headers=headers)

    async def me(self, person: Person) -> httpx.Response:
        """Who `person` is."""
        return await self.client.get("/api/auth/me", headers=person.headers)

    async def sql(self, statement: str, *values: Any) -> list[asyncpg.Record]:
        """Looks into the database, or changes what tests could not wait for."""
        connection = await asyncpg.connect(self.database.owner_url.replace("+asyncpg", ""))
        try:
            rows: list[asyncpg.Record] = await connection.fetch(statement, *values)
            return rows
        finally:
            await connection.close()

    async def recorded(self, type_: str) -> list[dict[str, Any]]:
        """The data of the events of a type, oldest first."""
        return [event["data"] for event in await self.service.recorded(type_)]


def claims_of(token: str) -> dict[str, Any]:
    """What an access token says, unverified."""
    claims: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    return claims


async def eventually(condition: Callable[[], Awaitable[bool]]) -> None:
    """Waits for what takes effect within a second."""
    async with asyncio.timeout(2):
        while not await condition():
            await asyncio.sleep(0.01)
