"""The FHIR R4 REST API as the messaging service uses it."""

from typing import Protocol

from quill_shared.platform.errors import UpstreamError
from quill_shared.platform.http import UpstreamClient


class Fhir(Protocol):
    """A FHIR server."""

    async def works(self) -> bool:
        """Whether it answers a search for Communications."""


class FhirServer:
    """One reached over HTTP, such as HAPI."""

    def __init__(self, client: UpstreamClient) -> None:
        self._client = client

    async def works(self) -> bool:
        """Whether it answers a search for Communications; none found counts (FHIR R4 §3.1.0.9)."""
        try:
            response = await self._client.request(
                "GET", "/Communication", params={"_count": "1"}, headers={"Accept": "application/fhir+json"}
            )
        except UpstreamError:
            return False
        return response.status_code == 200
