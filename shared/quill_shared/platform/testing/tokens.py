"""A stand-in for auth's keys: tests mint the tokens they need."""

import json
import secrets
import time
from collections.abc import Mapping, Sequence
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

from ..clock import now
from ..revocation import RevocationSnapshot
from ..service import TokenSources


class TokenMint:
    """Signs access tokens with a key of its own.

    Example:
        headers = mint.bearer(12, perm="admin")
    """

    def __init__(self, *, issuer: str = "quill", audience: str = "quill-api") -> None:
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self._kid = secrets.token_hex(8)
        self._issuer = issuer
        self._audience = audience

    def token(
        self,
        user_id: int = 1,
        *,
        perm: str = "staff",
        roles: Sequence[str] = (),
        profession: str = "receptionist",
        additional: Sequence[str] = (),
        removed: Sequence[str] = (),
        patient_id: str | None = None,
        session_id: str | None = None,
        **claims: Any,
    ) -> str:
        """A token with the claims of the HTTP contract, section 2; `claims` override any of them."""
        issued = time.time()
        payload: dict[str, Any] = {
            "iss": self._issuer,
            "aud": self._audience,
            "sub": str(user_id),
            "sid": session_id or f"session-of-{user_id}",
            "jti": secrets.token_hex(8),
            "iat": issued,
            "exp": int(issued) + 900,
            "typ": "access",
            "username": f"user{user_id}",
            "roles": list(roles),
            "perm": perm,
            "cbac": {"bp": profession, "add": list(additional), "rem": list(removed)},
            "ver": 1,
            **({"pid": patient_id} if patient_id is not None else {}),
            **claims,
        }
        return jwt.encode(payload, self._key, algorithm="RS256", headers={"kid": self._kid})

    def bearer(self, user_id: int = 1, **claims: Any) -> dict[str, str]:
        """The Authorization header with such a token."""
        return {"Authorization": f"Bearer {self.token(user_id, **claims)}"}

    async def jwks(self) -> Mapping[str, Any]:
        """The public key, as auth publishes it."""
        key = json.loads(RSAAlgorithm.to_jwk(self._key.public_key()))
        return {"keys": [{**key, "kid": self._kid, "use": "sig", "alg": "RS256"}]}

    async def no_revocations(self) -> RevocationSnapshot:
        """Nothing is revoked."""
        return RevocationSnapshot(sessions=[], users=[], versions=[], as_of=now())

    @property
    def sources(self) -> TokenSources:
        """For a service definition under test."""
        return TokenSources(keys=self.jwks, revocations=self.no_revocations)
