"""The owners of accounts and patients, asked when our own projection does not know (yet)."""

from typing import Protocol

from quill_shared.kernel.access.consumers import AccountFact
from quill_shared.platform.errors import BadGateway
from quill_shared.platform.http import UpstreamClient


class Account(AccountFact):
    """An account as its owner answers it, with the version the answer was made from."""

    sequence: int


class Accounts(Protocol):
    """The owner of accounts."""

    async def find(self, user_id: int) -> Account | None:
        """The account as it is now, or None."""


class Patients(Protocol):
    """The owner of patients."""

    async def exists(self, patient_id: str) -> bool:
        """Whether there is such a patient."""


class HttpAccounts:
    """The auth service."""

    def __init__(self, client: UpstreamClient) -> None:
        self._client = client

    async def find(self, user_id: int) -> Account | None:
        """The account as it is now, or None.

        Raises:
            UpstreamError: auth cannot be asked.
        """
        response = await self._client.request("GET", f"/internal/users/{user_id}")
        if response.status_code == 404:
            return None
        if response.status_code != 200:
            raise BadGateway
        return Account.model_validate_json(response.content)


class HttpPatients:
    """The patients service."""

    def __init__(self, client: UpstreamClient) -> None:
        self._client = client

    async def exists(self, patient_id: str) -> bool:
        """Whether there is such a patient.

        Raises:
            UpstreamError: patients, or the FHIR server behind it, cannot be asked.
        """
        response = await self._client.request("GET", f"/internal/patients/{patient_id}")
        if response.status_code not in (200, 404):
            raise BadGateway
        return response.status_code == 200
