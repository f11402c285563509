"""Settings of the gateway, besides those every process has."""

import re
from ipaddress import IPv4Network, IPv6Network
from typing import Self

from pydantic import Field, field_validator, model_validator

from quill_shared.platform.settings import BaseUrl, PlatformSettings, StrongSecret

_ORIGIN = re.compile(r"\*|https?://([a-z0-9.-]+|\[[0-9a-f:.]+\])(:[0-9]{1,5})?")


class GatewaySettings(PlatformSettings):
    """Where the services are, who may speak to them from a browser, and how much."""

    port: int = 8000
    patients_url: BaseUrl = "http://127.0.0.1:8102"
    letters_url: BaseUrl = "http://127.0.0.1:8103"
    messaging_url: BaseUrl = "http://127.0.0.1:8104"
    orgs_url: BaseUrl = "http://127.0.0.1:8105"

    csrf_key: StrongSecret = Field(description="signs CSRF tokens; the same as auth's, and nothing else's")
    csrf_previous_key: StrongSecret | None = Field(
        default=None, description="the key before, accepted while a rotation is under way"
    )
    public_url: BaseUrl | None = Field(
        default=None, description="address at which browsers find us; unset: the Host they name"
    )
    cors_origins: tuple[str, ...] = Field(
        default=(), description="origins besides our own whose pages may call with cookies"
    )
    trusted_proxies: tuple[IPv4Network | IPv6Network, ...] = Field(
        default=(), description="proxies in front whose X-Forwarded-For, -Proto and -Host are believed"
    )

    max_body_bytes: int = Field(default=1024 * 1024, gt=0)
    max_header_bytes: int = Field(default=16 * 1024, gt=0)
    max_headers: int = Field(default=64, gt=0)
    body_idle_seconds: float = Field(
        default=20.0, gt=0, description="longest pause of a client sending a body"
    )
    body_deadline_seconds: float = Field(
        default=30.0, gt=0, description="longest time that a client may take to send a body"
    )
    body_memory_bytes: int = Field(
        default=128 * 1024 * 1024, gt=0, description="of bodies held at once, before 503 is answered"
    )
    body_memory_bytes_per_address: int = Field(
        default=16 * 1024 * 1024,
        gt=0,
        description="of bodies of one address held at once, before 429 is answered; a hospital may be one",
    )

    session_rate: float = Field(default=200.0, gt=0, description="requests a second of one session")
    session_burst: int = Field(default=1000, gt=0)
    address_rate: float = Field(
        default=1000.0,
        gt=0,
        description="requests a second of one address outside sessions; a hospital may be one",
    )
    address_burst: int = Field(default=3000, gt=0)

    upstream_connections: int = Field(default=100, gt=0, description="connections to each service")
    upstream_deadline_seconds: float = Field(default=30.0, gt=0, description="longest silence of a service")
    upstream_connect_seconds: float = Field(default=2.0, gt=0)
    upstream_keepalive_seconds: float = Field(
        default=4.0,
        gt=0,
        description="idle connections are closed after this; less than the services' own limit",
    )

    @field_validator("cors_origins")
    @classmethod
    def _are_origins(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        cleaned = tuple(origin.rstrip("/").lower() for origin in origins)
        for origin in cleaned:
            if not _ORIGIN.fullmatch(origin):
                raise ValueError(f"not an origin (scheme://host[:port]): {origin}")
        return cleaned

    @model_validator(mode="after")
    def _no_wildcard_in_production(self) -> Self:
        if "*" in self.cors_origins and not self.development:
            raise ValueError("cors_origins must name each origin in production, not *")
        return self

    @model_validator(mode="after")
    def _one_body_fits(self) -> Self:
        if not self.max_body_bytes <= self.body_memory_bytes_per_address <= self.body_memory_bytes:
            raise ValueError(
                "max_body_bytes must not exceed body_memory_bytes_per_address, nor that body_memory_bytes"
            )
        return self

    @property
    def service_urls(self) -> dict[str, str]:
        """The root of each service, by its name."""
        return {
            "auth": self.auth_url,
            "patients": self.patients_url,
            "letters": self.letters_url,
            "messaging": self.messaging_url,
            "orgs": self.orgs_url,
        }
