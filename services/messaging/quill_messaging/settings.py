"""Settings of the messaging service."""

from pydantic import Field

from quill_shared.platform.settings import BaseUrl, ServiceSettings


class MessagingSettings(ServiceSettings):
    """Beside the platform's: the FHIR server."""

    port: int = 8104
    fhir_url: BaseUrl = Field(default="http://127.0.0.1:8081/fhir", description="root of the FHIR R4 API")
