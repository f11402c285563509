"""The three cookies of a browser's session (contract, section 2)."""

from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from quill_shared.platform.csrf import CSRF_COOKIE
from quill_shared.platform.errors import Error
from quill_shared.platform.problems import render_problem
from quill_shared.platform.revocation import ACCESS_LIFETIME

from ..context import AuthContext
from ..service.sessions import SignedIn
from ..settings import AuthSettings

ACCESS_COOKIE: Final = "access_token"
REFRESH_COOKIE: Final = "refresh_token"
REFRESH_PATH: Final = "/api/auth/refresh"
_REFRESH_SECONDS: Final = 7 * 24 * 3600


def set_session_cookies(response: Response, signed_in: SignedIn, context: AuthContext) -> None:
    """Gives the browser its tokens and a CSRF token bound to the session."""
    csrf = context.csrf.issue(signed_in.session_id)
    access_seconds = int(ACCESS_LIFETIME)
    for name, value, path, seconds in (
        (ACCESS_COOKIE, signed_in.access_token, "/", access_seconds),
        (REFRESH_COOKIE, signed_in.refresh_token, REFRESH_PATH, _REFRESH_SECONDS),
        (CSRF_COOKIE, csrf, "/", access_seconds),
    ):
        response.set_cookie(
            name,
            value,
            max_age=seconds,
            path=path,
            secure=not context.settings.development,
            httponly=name != CSRF_COOKIE,
            samesite="lax",
        )
    response.headers["Cache-Control"] = "no-store"


def clear_session_cookies(response: Response, settings: AuthSettings) -> None:
    """Takes them away again."""
    for name, path in ((ACCESS_COOKIE, "/"), (REFRESH_COOKIE, REFRESH_PATH), (CSRF_COOKIE, "/")):
        response.delete_cookie(
            name,
            path=path,
            secure=not settings.development,
            httponly=name != CSRF_COOKIE,
            samesite="lax",
        )
    response.headers["Cache-Control"] = "no-store"


def render_refresh_error(error: Error, request: Request) -> Response:
    """A refused refresh, as problem+json; the browser's cookies are no good any more and go (hazard 0034)."""
    response = render_problem(error, request)
    if error.status == 401:
        clear_session_cookies(response, request.app.state.runtime.settings)
    return response
