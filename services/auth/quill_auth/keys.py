"""The keys that sign access tokens: RS256 pairs in the database, their private halves encrypted.

AES-256-GCM under a key from the settings, whose id is stored beside; the key pair's own id is the
associated data, so that one row's private key cannot be passed off as another's.
"""

import asyncio
import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from jwt.algorithms import RSAAlgorithm

from quill_shared.platform.clock import now
from quill_shared.platform.tokens import ALGORITHM

from .domain.keys import KeyLife, signing_key
from .secret_keys import SecretKeys

_NONCE_BYTES: Final = 12
_TRUSTED_FOR: Final = timedelta(seconds=30)
"""How long keys read from the database are signed with before they are read again."""


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """A key pair as it is stored."""

    kid: str
    public_key: str
    private_key: bytes
    sealed_with: str
    activates_at: datetime
    expires_at: datetime | None

    @property
    def life(self) -> KeyLife:
        """When it signs and is published."""
        return KeyLife(self.activates_at, self.expires_at)


class KeyFactory:
    """Makes key pairs and opens stored ones."""

    def __init__(self, sealing: SecretKeys, *, bits: int) -> None:
        self._sealing = sealing
        self._bits = bits

    async def new(self, *, activates_at: datetime) -> KeyRecord:
        """A new pair, its private half sealed. Off the event loop: it takes a while."""
        key = await asyncio.to_thread(rsa.generate_private_key, public_exponent=65537, key_size=self._bits)
        kid = secrets.token_urlsafe(12)
        private = key.private_bytes(
            serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        public = key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        nonce = secrets.token_bytes(_NONCE_BYTES)
        sealed = nonce + AESGCM(self._sealing.current).encrypt(nonce, private, _associated(kid))
        return KeyRecord(kid, public.decode(), sealed, self._sealing.current_id, activates_at, None)

    def open(self, record: KeyRecord) -> rsa.RSAPrivateKey:
        """The private key of `record`.

        Raises:
            KeyError: it was sealed with a key the settings do not hold.
            cryptography.exceptions.InvalidTag: the record was tampered with.
        """
        nonce, sealed = record.private_key[:_NONCE_BYTES], record.private_key[_NONCE_BYTES:]
        private = AESGCM(self._sealing[record.sealed_with]).decrypt(nonce, sealed, _associated(record.kid))
        key = serialization.load_der_private_key(private, password=None)
        if not isinstance(key, rsa.RSAPrivateKey):
            raise TypeError("not an RSA key")
        return key


class NoSigningKey(RuntimeError):
    """No key is active; the one made at the start must have been removed."""


class Signer:
    """Signs access tokens with the key whose turn it is. Reads the keys again every half minute."""

    def __init__(self, factory: KeyFactory) -> None:
        self._factory = factory
        self._read_at: datetime | None = None
        self._kid = ""
        self._key: rsa.RSAPrivateKey | None = None

    @property
    def stale(self) -> bool:
        """Whether `adopt` should be called with the keys as they are in the database now."""
        return self._read_at is None or now() - self._read_at >= _TRUSTED_FOR

    def adopt(self, records: Sequence[KeyRecord]) -> None:
        """Chooses the key to sign with.

        Raises:
            NoSigningKey: none of `records` is active.
        """
        instant = now()
        kid = signing_key(((record.kid, record.life) for record in records), instant)
        if kid is None:
            raise NoSigningKey
        if kid != self._kid:
            self._key = self._factory.open(next(record for record in records if record.kid == kid))
            self._kid = kid
        self._read_at = instant

    def sign(self, claims: Mapping[str, Any]) -> str:
        """`claims` as a signed token (RFC 7519) that names its key."""
        if self._key is None:
            raise NoSigningKey
        return jwt.encode(dict(claims), self._key, algorithm=ALGORITHM, headers={"kid": self._kid})


def key_set(records: Sequence[KeyRecord]) -> dict[str, Any]:
    """The published keys as a JWK set (RFC 7517 §5): everything a living token may be signed with."""
    instant = now()
    return {"keys": [_public_jwk(record) for record in records if record.life.published(instant)]}


def _public_jwk(record: KeyRecord) -> dict[str, Any]:
    key = serialization.load_pem_public_key(record.public_key.encode())
    if not isinstance(key, rsa.RSAPublicKey):
        raise TypeError("not an RSA key")
    numbers: dict[str, Any] = json.loads(RSAAlgorithm.to_jwk(key))
    return {
        "kty": "RSA",
        "kid": record.kid,
        "use": "sig",
        "alg": ALGORITHM,
        "n": numbers["n"],
        "e": numbers["e"],
    }


def _associated(kid: str) -> bytes:
    return f"quill-auth|signing-key|{kid}".encode()
