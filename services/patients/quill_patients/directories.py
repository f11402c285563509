"""The owner of organisations, asked about one that an administrator names."""

from typing import Protocol

from quill_shared.platform.errors import BadGateway
from quill_shared.platform.http import UpstreamClient


class Organisations(Protocol):
    """The owner of organisations."""

    async def exists(self, organisation_id: int) -> bool:
        """Whether there is such an organisation."""


class HttpOrganisations:
    """The orgs service."""

    def __init__(self, client: UpstreamClient) -> None:
        self._client = client

    async def exists(self, organisation_id: int) -> bool:
        """Whether there is such an organisation.

        Raises:
            UpstreamError: orgs cannot be asked.
        """
        response = await self._client.request("GET", f"/internal/organizations/{organisation_id}")
        if response.status_code not in (200, 404):
            raise BadGateway
        return response.status_code == 200
