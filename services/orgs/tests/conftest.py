"""The orgs service under test, with the owners of accounts and patients replaced at their ports."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import partial

import pytest

from quill_orgs.api import OrgsContext
from quill_orgs.bootstrap import definition
from quill_orgs.directories import Account
from quill_shared.platform.migrations import upgrade
from quill_shared.platform.testing.postgres import (
    PostgresServer,
    TestDatabase,
    migrated_database,
    truncate_all,
)
from quill_shared.platform.testing.services import Canary, RunningService, running
from quill_shared.platform.testing.tokens import TokenMint


class KnownAccounts:
    """Accounts by id."""

    def __init__(self) -> None:
        self.by_id: dict[int, Account] = {}

    async def find(self, user_id: int) -> Account | None:
        """The account, or None."""
        return self.by_id.get(user_id)

    def add(self, user_id: int, *, perm: str = "staff", is_active: bool = True) -> Account:
        """One more account."""
        account = Account(
            user_id=user_id,
            username=f"user{user_id}",
            display_name=f"User {user_id}",
            email=f"user{user_id}@example.org",
            system_permissions=perm,
            roles=[],
            fhir_patient_id=None,
            is_active=is_active,
            ver=1,
            sequence=1,
        )
        self.by_id[user_id] = account
        return account


class KnownPatients:
    """Patient ids that exist."""

    def __init__(self) -> None:
        self.ids: set[str] = {"p-1", "p-2"}

    async def exists(self, patient_id: str) -> bool:
        """Whether it is one of them."""
        return patient_id in self.ids


@pytest.fixture(scope="session")
def database(postgres_server: PostgresServer) -> Iterator[TestDatabase]:
    """This worker's database."""
    with migrated_database(postgres_server, "quill_orgs", partial(upgrade, "quill_orgs")) as database:
        yield database


@pytest.fixture
def accounts() -> KnownAccounts:
    """The owner of accounts."""
    return KnownAccounts()


@pytest.fixture
def patients() -> KnownPatients:
    """The owner of patients."""
    return KnownPatients()


@pytest.fixture
async def orgs(
    database: TestDatabase, mint: TokenMint, canary: Canary, accounts: KnownAccounts, patients: KnownPatients
) -> AsyncIterator[RunningService]:
    """The service, empty."""
    await truncate_all(database.owner_url)
    async with running(definition, database, mint, canary) as service:
        service.runtime.context = OrgsContext(accounts=accounts, patients=patients)
        yield service


@pytest.fixture
def make_organisation(orgs: RunningService) -> Callable[..., Awaitable[int]]:
    """Creates an organisation and answers its id."""

    async def make(name: str = "Ward 4", type_: str = "hospital_team") -> int:
        answer = await orgs.client.post(
            "/api/organizations", json={"name": name, "type": type_}, headers=orgs.bearer(perm="admin")
        )
        assert answer.status_code == 200, answer.text
        created: int = answer.json()["id"]
        return created

    return make
