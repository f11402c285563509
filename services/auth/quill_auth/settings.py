"""Settings of the auth service."""

import os
from ipaddress import IPv4Network, IPv6Network
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, SecretStr, model_validator

from quill_shared.platform.settings import BaseUrl, ServiceSettings, StrongSecret

_MINUTE = 60.0
_HOUR = 60 * _MINUTE
_DAY = 24 * _HOUR

_LEAST_ARGON2_WORK = 2 * 19 * 1024
"""Passes times KiB below which production refuses to start (OWASP's least for Argon2id)."""


def _empty_is_unset(value: object) -> object:
    return None if value == "" else value


Optional = BeforeValidator(_empty_is_unset)


class AuthSettings(ServiceSettings):
    """Beside the platform's: keys, password hashing, session rules and limits.

    `previous_…` hold what is being rotated out: still read, never used for anything new.
    """

    port: int = 8101
    patients_url: BaseUrl = "http://127.0.0.1:8102"
    gateway_networks: tuple[IPv4Network | IPv6Network, ...] = Field(
        default=(IPv4Network("127.0.0.0/8"), IPv6Network("::1/128")),
        description="where the gateway is: peers whose X-Forwarded-For names the caller's address",
    )

    csrf_key: StrongSecret = Field(description="signs CSRF tokens; the gateway has the same")
    signing_key_encryption_key: StrongSecret = Field(
        description="encrypts the private keys that sign access tokens"
    )
    previous_signing_key_encryption_keys: tuple[StrongSecret, ...] = ()
    signing_key_bits: Literal[2048, 3072, 4096] = 2048
    password_pepper: StrongSecret = Field(description="keys every password hash; kept outside the database")
    previous_password_peppers: tuple[StrongSecret, ...] = ()

    bootstrap_admin_username: Annotated[str | None, Optional] = None
    bootstrap_admin_email: Annotated[str | None, Optional] = None
    bootstrap_admin_password: Annotated[SecretStr | None, Optional] = None

    argon2_passes: int = Field(default=2, ge=1, le=100)
    argon2_memory_kib: int = Field(default=19 * 1024, ge=8, le=4 * 1024 * 1024)
    argon2_lanes: int = Field(default=1, ge=1, le=16)
    password_workers: int = Field(
        default_factory=lambda: max(1, (os.cpu_count() or 2) // 2), ge=1, description="hashes at once"
    )
    password_queue: int = Field(default=1000, ge=0, description="hashes that may wait before 503 is answered")
    password_wait_seconds: float = Field(
        default=8.0, gt=0, description="longest that a hash may wait before 503 is answered"
    )

    session_idle_seconds: float = Field(default=8 * _HOUR, gt=0)
    session_absolute_seconds: float = Field(default=7 * _DAY, gt=0)
    refresh_grace_seconds: float = Field(default=10.0, ge=0)
    invite_seconds: float = Field(default=7 * _DAY, gt=0)

    sign_in_failures_per_account: int = Field(default=5, ge=1, description="a minute, then a growing delay")
    sign_in_failures_per_address: int = Field(default=100, ge=1, description="a minute")
    sign_in_longest_delay_seconds: float = Field(default=15 * _MINUTE, gt=0)
    registrations_per_account: int = Field(default=20, ge=1, description="a minute")
    registrations_per_address: int = Field(default=20, ge=1, description="a minute")

    @model_validator(mode="after")
    def _bootstrap_is_whole(self) -> Self:
        given = [
            self.bootstrap_admin_username,
            self.bootstrap_admin_email,
            self.bootstrap_admin_password,
        ]
        if any(value is not None for value in given) and None in given:
            raise ValueError("bootstrap_admin_username, _email and _password go together")
        return self

    @model_validator(mode="after")
    def _hashing_is_worth_it(self) -> Self:
        if not self.development and self.argon2_passes * self.argon2_memory_kib < _LEAST_ARGON2_WORK:
            raise ValueError(f"argon2_passes times argon2_memory_kib must be at least {_LEAST_ARGON2_WORK}")
        return self
