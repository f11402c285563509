"""Settings of the letters service."""

from pydantic import Field, SecretStr

from quill_shared.platform.settings import BaseUrl, ServiceSettings


class LettersSettings(ServiceSettings):
    """Beside the platform's: the openEHR server."""

    port: int = 8103
    openehr_url: BaseUrl = Field(
        default="http://127.0.0.1:8082/ehrbase/rest/openehr/v1", description="root of the openEHR REST API v1"
    )
    openehr_username: str | None = Field(
        default=None, description="for servers that want Basic authentication"
    )
    openehr_password: SecretStr | None = None
