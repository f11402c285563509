"""Keys from the settings: how each is named in what it made, so that it can be rotated."""

import hmac
from base64 import urlsafe_b64encode
from collections.abc import Sequence

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from pydantic import SecretStr


class SecretKeys:
    """A key in use and its predecessors, by an id that gives nothing of them away.

    Args:
        purpose: keeps two uses of one secret apart.
        current: makes what is new.
        previous: still open what they made.
    """

    def __init__(self, purpose: str, current: SecretStr, previous: Sequence[SecretStr] = ()) -> None:
        derived = [_derived(purpose, each) for each in (current, *previous)]
        self.current_id = _key_id(derived[0])
        self._keys = {_key_id(key): key for key in derived}

    def __getitem__(self, key_id: str) -> bytes:
        """The key of that id, 32 bytes.

        Raises:
            KeyError: the settings do not hold it (any more).
        """
        return self._keys[key_id]

    def __contains__(self, key_id: str) -> bool:
        return key_id in self._keys

    @property
    def current(self) -> bytes:
        """The key in use, 32 bytes."""
        return self._keys[self.current_id]


def _derived(purpose: str, secret: SecretStr) -> bytes:
    hkdf = HKDF(algorithm=SHA256(), length=32, salt=None, info=f"quill-auth {purpose}".encode())
    return hkdf.derive(secret.get_secret_value().encode())


def _key_id(key: bytes) -> str:
    return urlsafe_b64encode(hmac.digest(key, b"key id", "sha256")[:6]).decode()
