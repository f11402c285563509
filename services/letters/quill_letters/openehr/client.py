"""The openEHR REST API (v1) as the letters service uses it."""

from typing import Protocol

from quill_shared.platform.errors import UpstreamError
from quill_shared.platform.http import UpstreamClient


class OpenEhr(Protocol):
    """An openEHR server."""

    async def works(self) -> bool:
        """Whether its template list answers."""


class OpenEhrServer:
    """One reached over HTTP, such as EHRbase."""

    def __init__(self, client: UpstreamClient) -> None:
        self._client = client

    async def works(self) -> bool:
        """Whether its template list answers (openEHR REST, Definition API, ADL 1.4 template list)."""
        try:
            response = await self._client.request(
                "GET", "/definition/template/adl1.4", headers={"Accept": "application/json"}
            )
        except UpstreamError:
            return False
        return response.status_code == 200
