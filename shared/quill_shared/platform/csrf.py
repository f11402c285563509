"""Cross-site request forgery tokens: signed, bound to one session (hazards 0021 and 0027).

Auth issues one with every access token, in the readable cookie `XSRF-TOKEN`; the gateway wants it back
in the header `X-CSRF-Token` of every unsafe request that a cookie authenticates. Another site can make
a browser send the cookie but cannot read it, and a token planted from a sibling domain was not signed
for the caller's session.

    v1.<kid>.<random>.<mac>     each part base64url; mac = HMAC-SHA256(key, "csrf|" sid "|" random)
"""

import hmac
import re
import secrets
from base64 import urlsafe_b64encode
from collections.abc import Sequence
from typing import Final

from pydantic import SecretStr

__all__ = ["CSRF_COOKIE", "CSRF_HEADER", "CsrfTokens"]

CSRF_COOKIE: Final = "XSRF-TOKEN"
CSRF_HEADER: Final = "X-CSRF-Token"

_TOKEN = re.compile(r"v1\.([A-Za-z0-9_-]{8})\.([A-Za-z0-9_-]{22})\.([A-Za-z0-9_-]{43})")


def _base64url(raw: bytes) -> str:
    return urlsafe_b64encode(raw).rstrip(b"=").decode()


def _key_id(key: bytes) -> str:
    return _base64url(hmac.digest(key, b"csrf-key-id", "sha256")[:6])


class CsrfTokens:
    """Issues and checks the tokens.

    Args:
        key: signs new tokens; used for nothing else (the settings see to it that it differs).
        previous: keys whose tokens still count, while a rotation is under way.

    Example:
        >>> tokens = CsrfTokens(SecretStr("kF3v9qLw2Zx7Rt5Yb8Nc1Mh4Jd6Gs0Pa"))
        >>> tokens.verify(tokens.issue("session-1"), "session-1")
        True
        >>> tokens.verify(tokens.issue("session-1"), "session-2")
        False
    """

    def __init__(self, key: SecretStr, *, previous: Sequence[SecretStr] = ()) -> None:
        keys = [each.get_secret_value().encode() for each in (key, *previous)]
        self._current = keys[0]
        self._current_id = _key_id(keys[0])
        self._keys = {_key_id(each): each for each in keys}

    def issue(self, session_id: str) -> str:
        """A new token for `session_id`. Two calls never give the same."""
        random = secrets.token_urlsafe(16)
        return f"v1.{self._current_id}.{random}.{self._mac(self._current, session_id, random)}"

    def verify(self, token: str, session_id: str) -> bool:
        """Whether `token` was issued for `session_id` with a key in use. Never raises on bad input."""
        parts = _TOKEN.fullmatch(token)
        if parts is None:
            return False
        key_id, random, mac = parts.groups()
        key = self._keys.get(key_id)
        return key is not None and hmac.compare_digest(mac, self._mac(key, session_id, random))

    def accepts(self, *, header: str | None, cookie: str | None, session_id: str) -> bool:
        """Whether header and cookie carry the same token and it is this session's (double submit, signed)."""
        if not header or not cookie:
            return False
        # Compared as bytes: compare_digest refuses text outside ASCII.
        if not hmac.compare_digest(header.encode(errors="replace"), cookie.encode(errors="replace")):
            return False
        return self.verify(header, session_id)

    @staticmethod
    def _mac(key: bytes, session_id: str, random: str) -> str:
        message = f"csrf|{session_id}|{random}".encode(errors="surrogatepass")
        return _base64url(hmac.digest(key, message, "sha256"))
