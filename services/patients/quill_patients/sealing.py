"""Sealed texts: what a client carries for us and can neither read nor change."""

import base64
import hashlib
import hmac
import json
from typing import Any

from cryptography.fernet import Fernet, InvalidToken


def derived_key(secret: str, purpose: str) -> bytes:
    """A key of its own for one purpose, from a secret that serves several."""
    return hmac.digest(secret.encode(), f"quill.patients.{purpose}".encode(), hashlib.sha256)


class Seal:
    """Seals small JSON values: the search behind a `next` link, which must not lie open in an address."""

    def __init__(self, key: bytes) -> None:
        self._fernet = Fernet(base64.urlsafe_b64encode(key))

    def close(self, value: Any) -> str:
        """`value` as a URL-safe text."""
        return self._fernet.encrypt(json.dumps(value).encode()).decode().rstrip("=")

    def open(self, text: str) -> Any:
        """The value in a text that `close` made; None for any other."""
        try:
            return json.loads(self._fernet.decrypt((text + "=" * (-len(text) % 4)).encode()))
        except (InvalidToken, ValueError):
            return None
