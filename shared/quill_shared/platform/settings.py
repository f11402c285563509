"""Settings every process of Quill has. A service adds its own in its `settings.py`.

Read from the environment with the prefix `QUILL_`. Nothing secret has a default: a process that
lacks one refuses to start and names it.
"""

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, AnyHttpUrl, BeforeValidator, Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

_KNOWN_WEAK = frozenset({"secret", "changeme", "password", "development", "example"})
_MIN_SECRET_LENGTH = 32
_MIN_DISTINCT_CHARACTERS = 10


def _strong(value: SecretStr) -> SecretStr:
    text = value.get_secret_value()
    if (
        len(text) < _MIN_SECRET_LENGTH
        or len(set(text)) < _MIN_DISTINCT_CHARACTERS
        or any(weak in text.lower() for weak in _KNOWN_WEAK)
    ):
        raise ValueError(
            "too weak: at least 32 characters, 10 different ones, no dictionary word; "
            "`openssl rand -base64 48` makes a good one"
        )
    return value


StrongSecret = Annotated[SecretStr, AfterValidator(_strong)]
"""A key or password for machines: long, random, not a word (hazard 0040)."""


def _without_slash(value: object) -> object:
    return str(value).rstrip("/") if isinstance(value, str | AnyHttpUrl) else value


BaseUrl = Annotated[str, BeforeValidator(_without_slash), Field(pattern=r"^https?://[^\s?#]+$")]
"""The root of an HTTP service, without a slash at the end."""


class PlatformSettings(BaseSettings):
    """What any process needs to be reached, watched and stopped."""

    model_config = SettingsConfigDict(
        env_prefix="QUILL_", extra="ignore", frozen=True, hide_input_in_errors=True
    )

    env: Literal["development", "production"] = "production"
    host: str = "127.0.0.1"
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    otlp_endpoint: BaseUrl | None = Field(
        default=None, description="OpenTelemetry collector (OTLP over HTTP); unset: traces are not exported"
    )
    shutdown_grace_seconds: float = Field(
        default=20.0, gt=0, description="time for requests in flight to finish"
    )
    clinical_services: bool = Field(
        default=True, description="false: a deployment without clinical records; those routes answer 503"
    )
    auth_url: BaseUrl = "http://127.0.0.1:8101"
    token_issuer: str = "quill"  # noqa: S105 - the name of the issuer, not a secret
    token_audience: str = "quill-api"  # noqa: S105 - the name of the audience, not a secret
    service_key: StrongSecret = Field(description="signs the tokens that services show each other")
    rabbitmq_url: SecretStr | None = Field(
        default=None, description="amqp://…; needed wherever the embedded transport is not given"
    )

    @property
    def development(self) -> bool:
        """Whether conveniences that would be faults in production are on."""
        return self.env == "development"

    @model_validator(mode="after")
    def _secrets_differ(self) -> Self:
        seen: dict[str, str] = {}
        for name in type(self).model_fields:
            value = getattr(self, name)
            if isinstance(value, SecretStr):
                text = value.get_secret_value()
                if text in seen:
                    raise ValueError(f"{seen[text]} and {name} must not be the same secret")
                seen[text] = name
        return self


class ServiceSettings(PlatformSettings):
    """What a service with a database needs besides."""

    port: int = 8000
    database_url: SecretStr = Field(description="postgresql+asyncpg://…, the restricted role of this service")
    database_pool_size: int = Field(default=10, ge=1)
    database_pool_overflow: int = Field(default=10, ge=0)
    statement_timeout_seconds: float = Field(default=10.0, gt=0)
    intent_grace_seconds: float = Field(
        default=60.0,
        gt=0,
        description="age at which an unfinished upstream write is settled by the reconciler",
    )
    event_consumers: frozenset[str] = Field(
        default=frozenset({"auth", "patients", "letters", "messaging", "orgs"}),
        description="services whose queues must exist before events leave: a fresh installation loses none",
    )
    delivery_limit: int = Field(
        default=5, ge=1, description="failed deliveries of an event before it is parked"
    )
