"""The settings that a stack on one machine gives to gateway and services.

Every settings class takes what it knows of one set of values. What is not given here comes from the
environment as in any other deployment, so that, say, `QUILL_SESSION_RATE=5 make run` does what it says.
"""

import os
from collections.abc import Mapping
from typing import Any, Final, TypeVar

from pydantic import ValidationError

from quill_shared.platform.settings import PlatformSettings

from .configuration import Configuration
from .errors import StackError
from .ports import HOST
from .world import SUPERADMIN

__all__ = ["checked", "common"]

_SHUTDOWN_GRACE_SECONDS: Final = 5.0

Settings = TypeVar("Settings", bound=PlatformSettings)


def common(
    configuration: Configuration, keys: Mapping[str, str], defaults: Mapping[str, Any]
) -> dict[str, Any]:
    """What every stack gives, and `defaults`, where the environment says nothing else about those."""
    ports = configuration.ports
    usual = {"shutdown_grace_seconds": _SHUTDOWN_GRACE_SECONDS, **defaults}
    values: dict[str, Any] = {
        **{name: value for name, value in usual.items() if f"QUILL_{name.upper()}" not in os.environ},
        "env": "development",
        "host": HOST,
        "log_level": configuration.log_level,
        **{f"{name}_url": ports.url(name) for name in ("auth", "patients", "letters", "messaging", "orgs")},
        **{name: keys[name] for name in keys if name != "demo_password"},
    }
    if not os.environ.get("QUILL_BOOTSTRAP_ADMIN_USERNAME"):
        values["bootstrap_admin_username"] = SUPERADMIN.username
        values["bootstrap_admin_email"] = SUPERADMIN.email
        values["bootstrap_admin_password"] = keys["demo_password"]
    return values


def checked(name: str, kind: type[Settings], values: Mapping[str, Any]) -> Settings:
    """The settings of the service `name`, of the class `kind`.

    Raises:
        StackError: the class refuses a value, which then came from the environment.
    """
    try:
        return kind(**values)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        setting = f"QUILL_{first['loc'][0]}".upper() if first["loc"] else "its settings"
        reason = first["msg"].removeprefix("Value error, ")
        raise StackError(f"The {name} service refuses {setting}: {reason}.") from None
