"""The owner of patients, asked before an account or a stranger is tied to a record."""

from typing import Protocol

from quill_shared.platform.errors import BadGateway
from quill_shared.platform.http import UpstreamClient


class Patients(Protocol):
    """The owner of patients."""

    async def exists(self, patient_id: str) -> bool:
        """Whether there is such a patient."""


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
