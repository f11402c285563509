"""Access tokens: who is calling.

Auth signs them (RS256) and publishes its public keys at `/.well-known/jwks.json`; everybody else
verifies with a `TokenVerifier`. Verified tokens are remembered for up to a minute by their SHA-256, so
that a busy client costs one signature check a minute; the revocation list is asked every time. Tokens
that fail are not remembered, and a flood of them fetches keys no more often than `refetch_interval`.

    Unauthenticated           401 not_authenticated      "Not authenticated": no credentials
    ├── InvalidToken          401 invalid_token          "Invalid token": undecodable, expired, not ours
    └── …                     see `revocation`
"""

import asyncio
import logging
import math
import re
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final, Protocol

import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from jwt.algorithms import RSAAlgorithm

from .errors import Unauthenticated, Unavailable
from .revocation import ACCESS_LIFETIME, RevocationList

__all__ = ["ALGORITHM", "CbacClaims", "Claims", "InvalidToken", "JwksCache", "TokenVerifier", "bearer_token"]

ALGORITHM: Final = "RS256"
_MAX_TOKEN_LENGTH: Final = 8192
_MAX_IDENTIFIER_LENGTH: Final = 128
_MIN_KEY_BITS: Final = 2048
_CLOCK_SKEW: Final = 60.0
_MAX_AGE: Final = ACCESS_LIFETIME + _CLOCK_SKEW
"""A token older than this is refused whatever its `exp`: the revocation list no longer covers it."""
_SUBJECT = re.compile(r"[1-9][0-9]{0,18}")
_MAX_USER_ID: Final = 2**63 - 1
_TOKEN = re.compile(r"[A-Za-z0-9._~+/=-]+")

_log = logging.getLogger(__name__)


class InvalidToken(Unauthenticated):
    """Undecodable, expired, of another kind, or signed by somebody else. Never says which."""

    code = "invalid_token"
    detail = "Invalid token"


@dataclass(frozen=True, slots=True)
class CbacClaims:
    """What competencies are resolved from: base profession, additions, removals."""

    bp: str
    add: tuple[str, ...]
    rem: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Claims:
    """The claims of a verified access token (contract, section 2; RFC 7519 §4.1).

    `iat` and `exp` are seconds since the epoch, `iat` with a fraction. `ver` is the version of the
    account's powers, `pid` the linked FHIR patient.
    """

    user_id: int
    sid: str
    jti: str
    iat: float
    exp: float
    username: str
    roles: tuple[str, ...]
    perm: str
    cbac: CbacClaims
    ver: int
    pid: str | None


def bearer_token(authorization: str | None) -> str | None:
    """The token of an `Authorization: Bearer …` header (RFC 6750 §2.1); None for anything else."""
    if not authorization or authorization[:7].lower() != "bearer ":
        return None
    token = authorization[7:].strip(" ")
    return token if _TOKEN.fullmatch(token) else None


class KeySource(Protocol):
    """Where a verifier finds public keys."""

    @property
    def generation(self) -> int:
        """Rises whenever the set of keys changes."""

    async def key(self, kid: str) -> RSAPublicKey | None:
        """The key named `kid`, or None if there is none."""


class JwksCache:
    """The public keys of auth, kept at hand (RFC 7517).

    An unknown `kid` causes a fetch, shared by all who wait for it and never more often than
    `refetch_interval`; so a new key is known at its first use, and made-up ids cost nothing. Keys
    older than `max_age` are renewed in the background, so that a withdrawn key goes. While auth is
    away the known keys stay.

    Args:
        fetch: answers the parsed JWK set, or raises.
        refetch_interval: least seconds between fetches.
        max_age: seconds after which the set is renewed although nothing unknown came.
        max_keys: keys of a set that are looked at.
    """

    def __init__(
        self,
        fetch: Callable[[], Awaitable[Mapping[str, Any]]],
        *,
        refetch_interval: float = 3.0,
        max_age: float = 300.0,
        max_keys: int = 32,
        timeout: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._fetch = fetch
        self._refetch_interval = refetch_interval
        self._max_age = max_age
        self._max_keys = max_keys
        self._timeout = timeout
        self._clock = clock
        self._keys: dict[str, RSAPublicKey] = {}
        self._known: frozenset[tuple[str, int, int]] = frozenset()
        self._tried_at = -math.inf
        self._loaded_at = -math.inf
        self._failed = True
        self._refresh: asyncio.Task[None] | None = None
        self.generation = 0

    async def key(self, kid: str) -> RSAPublicKey | None:
        """The key named `kid`; None if auth has none of that name.

        Raises:
            Unavailable: the key is not known here and auth could not be asked.
        """
        known = self._keys.get(kid)
        if known is not None:
            if self._clock() - self._loaded_at > self._max_age:
                self._begin_refresh()
            return known
        refresh = self._begin_refresh()
        if refresh is not None:
            # Shielded: the fetch is everybody's, and the one who gives up waiting must not end it.
            await asyncio.shield(refresh)
            known = self._keys.get(kid)
        if known is None and self._failed:
            raise Unavailable("Sign-in keys are not available", retry_after=1, code="keys_unavailable")
        return known

    async def close(self) -> None:
        """Ends a fetch under way."""
        if self._refresh is not None:
            self._refresh.cancel()
            with suppress(asyncio.CancelledError):
                await self._refresh

    def _begin_refresh(self) -> asyncio.Task[None] | None:
        if self._refresh is not None and not self._refresh.done():
            return self._refresh
        if self._clock() - self._tried_at < self._refetch_interval:
            return None
        self._tried_at = self._clock()
        self._refresh = asyncio.create_task(self._reload(), name="jwks")
        return self._refresh

    async def _reload(self) -> None:
        try:
            async with asyncio.timeout(self._timeout):
                document = await self._fetch()
            keys = self._parse(document)
        except Exception as error:  # noqa: BLE001 - whatever the fault, the known keys stay in use
            self._failed = True
            _log.warning("public keys not fetched", extra={"error_type": type(error).__name__})
            return
        self._failed = False
        self._loaded_at = self._clock()
        identity = frozenset((kid, *_numbers(key)) for kid, key in keys.items())
        if identity != self._known:
            self._keys, self._known = keys, identity
            self.generation += 1

    def _parse(self, document: Mapping[str, Any]) -> dict[str, RSAPublicKey]:
        entries = document["keys"]
        if not isinstance(entries, list):
            raise TypeError("keys is not a list")
        keys: dict[str, RSAPublicKey] = {}
        for entry in entries[: self._max_keys]:
            # Members of other kinds are skipped, not refused (RFC 7517 §5).
            if not isinstance(entry, dict) or entry.get("kty") != "RSA":
                continue
            if entry.get("use", "sig") != "sig" or entry.get("alg", ALGORITHM) != ALGORITHM:
                continue
            kid = entry.get("kid")
            if not isinstance(kid, str) or not 0 < len(kid) <= _MAX_IDENTIFIER_LENGTH or "d" in entry:
                continue
            key = RSAAlgorithm.from_jwk(entry)
            if isinstance(key, RSAPublicKey) and key.key_size >= _MIN_KEY_BITS:
                keys[kid] = key
        if not keys:
            raise ValueError("no usable key")
        return keys


def _numbers(key: RSAPublicKey) -> tuple[int, int]:
    numbers = key.public_numbers()
    return numbers.n, numbers.e


class TokenVerifier:
    """Turns an access token into claims, or refuses it.

    Args:
        keys: usually a `JwksCache`.
        issuer, audience: what `iss` and `aud` must say.
        revocations: asked on every call.
        max_cached: verified tokens remembered.
        cache_seconds: longest time one is remembered.
        clock: seconds since the epoch.

    Example:
        claims = await verifier.verify(token)
    """

    def __init__(
        self,
        keys: KeySource,
        issuer: str,
        audience: str,
        revocations: RevocationList,
        *,
        max_cached: int = 10_000,
        cache_seconds: float = 60.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._keys = keys
        self._issuer = issuer
        self._audience = audience
        self._revocations = revocations
        self._max_cached = max_cached
        self._cache_seconds = cache_seconds
        self._clock = clock
        self._cache: OrderedDict[bytes, tuple[float, Claims]] = OrderedDict()
        self._generation = keys.generation

    @property
    def cached(self) -> int:
        """Verified tokens remembered at this moment."""
        return len(self._cache)

    def verify_cached(self, token: str | bytes) -> Claims | None:
        """The claims of a token that was verified a moment ago; None if it has to be verified in full.

        Raises:
            Unauthenticated: it has been revoked or outdated since.
            Unavailable: the revocation list is not known.
        """
        try:
            digest = sha256(token if isinstance(token, bytes) else token.encode("ascii")).digest()
        except UnicodeEncodeError:
            return None
        return self._look_up(digest)

    async def verify(self, token: str) -> Claims:
        """The claims of `token`, an access token of ours that is still good.

        Raises:
            InvalidToken: wrong signature, algorithm, issuer, audience or kind; expired; a claim missing
                or of the wrong type.
            InactiveUser, InvalidatedSession, OutdatedToken: see `RevocationList.check`.
            Unavailable: keys or revocation list are not known (503), so nothing can be said.
        """
        if len(token) > _MAX_TOKEN_LENGTH or not token.isascii():
            raise InvalidToken
        digest = sha256(token.encode("ascii")).digest()
        claims = self._look_up(digest)
        if claims is not None:
            return claims
        kid = _key_id(token)
        key = await self._keys.key(kid)
        if key is None:
            raise InvalidToken
        generation = self._keys.generation
        now = self._clock()
        claims = self._decode(token, key, now)
        if generation != self._generation:
            self._cache.clear()
            self._generation = generation
        self._cache[digest] = (min(claims.exp, now + self._cache_seconds), claims)
        if len(self._cache) > self._max_cached:
            self._cache.popitem(last=False)
        self._revocations.check(claims)
        return claims

    def _look_up(self, digest: bytes) -> Claims | None:
        if self._generation != self._keys.generation:
            self._cache.clear()
            self._generation = self._keys.generation
            return None
        entry = self._cache.get(digest)
        if entry is None:
            return None
        until, claims = entry
        if self._clock() >= until:
            del self._cache[digest]
            return None
        self._revocations.check(claims)
        self._cache.move_to_end(digest)
        return claims

    def _decode(self, token: str, key: RSAPublicKey, now: float) -> Claims:
        try:
            payload = jwt.decode(
                token,
                key,
                algorithms=[ALGORITHM],
                issuer=self._issuer,
                audience=self._audience,
                # Times are checked below: with fractions, and against the clock given.
                options={"require": ["iss", "aud"], "verify_exp": False, "verify_iat": False},
            )
            claims = _claims(payload)
        except (jwt.InvalidTokenError, KeyError, TypeError, ValueError):
            raise InvalidToken from None
        if now >= claims.exp or claims.iat > now + _CLOCK_SKEW or now - claims.iat > _MAX_AGE:
            raise InvalidToken
        return claims


def _key_id(token: str) -> str:
    """The `kid` of a token that could be ours, before any key is looked for."""
    try:
        header = jwt.get_unverified_header(token)
    except (jwt.InvalidTokenError, ValueError, RecursionError):
        raise InvalidToken from None
    kid = header.get("kid")
    if (
        header.get("alg") != ALGORITHM
        or not isinstance(kid, str)
        or not 0 < len(kid) <= _MAX_IDENTIFIER_LENGTH
    ):
        raise InvalidToken
    return kid


def _claims(payload: Mapping[str, Any]) -> Claims:
    """The payload as typed claims; KeyError, TypeError or ValueError where it is not what auth issues."""
    if payload["typ"] != "access":
        raise ValueError("not an access token")
    subject = _text(payload["sub"])
    if not _SUBJECT.fullmatch(subject) or int(subject) > _MAX_USER_ID:
        raise ValueError("sub")
    cbac = payload["cbac"]
    if not isinstance(cbac, dict):
        raise TypeError("cbac")
    version = payload["ver"]
    if type(version) is not int or version < 0:
        raise TypeError("ver")
    pid = payload.get("pid")
    return Claims(
        user_id=int(subject),
        sid=_text(payload["sid"]),
        jti=_text(payload["jti"]),
        iat=_instant(payload["iat"]),
        exp=_instant(payload["exp"]),
        username=_text(payload["username"]),
        roles=_texts(payload["roles"]),
        perm=_text(payload["perm"]),
        cbac=CbacClaims(bp=_text(cbac["bp"]), add=_texts(cbac["add"]), rem=_texts(cbac["rem"])),
        ver=version,
        pid=None if pid is None else _text(pid),
    )


def _text(value: object) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= 255:
        raise TypeError("a text was expected")
    return value


def _texts(value: object) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise TypeError("a list was expected")
    return tuple(_text(each) for each in value)


def _instant(value: object) -> float:
    if type(value) not in (int, float):
        raise TypeError("a number was expected")
    number = float(value)  # type: ignore[arg-type]
    if not math.isfinite(number):
        raise ValueError("a finite number was expected")
    return number
