"""The token route for API clients (RFC 6749 §4.3, §6): a form in, RFC 6749's bodies and errors out."""

from typing import Annotated, Final

from fastapi import Depends, Form, Response
from starlette.requests import Request
from starlette.responses import JSONResponse

from quill_shared.platform.errors import Error, Unauthenticated, Unprocessable
from quill_shared.platform.pagination import storable
from quill_shared.platform.revocation import ACCESS_LIFETIME
from quill_shared.platform.routing import router

from ..errors import InvalidCredentials, OAuthError
from ..schemas import sessions as schemas
from ..schemas.fields import LONGEST_TYPED
from ..service.sessions import SignedIn
from .requests import ClientAddress
from .sessions import SessionService

routes = router("authentication")

_NO_STORE: Final = {"Cache-Control": "no-store", "Pragma": "no-cache"}
_PARAMETERS: Final = ("grant_type", "username", "password", "totp_code", "refresh_token")
_Parameter = Annotated[str | None, Form()]


async def form_parameters(request: Request) -> dict[str, str]:
    """The parameters we know; unknown ones are ignored, empty ones count as absent (RFC 6749 §3.2).

    Raises:
        OAuthError: one comes twice, is a file, or holds what no text may.
    """
    form = await request.form()
    found: dict[str, str] = {}
    for name in _PARAMETERS:
        values = form.getlist(name)
        if len(values) > 1:
            raise OAuthError(f"{name} is given more than once", code="invalid_request")
        for value in values:
            if not isinstance(value, str) or not storable(value) or len(value) > LONGEST_TYPED:
                raise OAuthError(f"{name} is not acceptable", code="invalid_request")
            if value:
                found[name] = value
    return found


FormParameters = Annotated[dict[str, str], Depends(form_parameters)]


@routes.post("/api/auth/token")
async def token(
    parameters: FormParameters,
    service: SessionService,
    address: ClientAddress,
    response: Response,
    grant_type: Annotated[str | None, Form(description="`password` or `refresh_token`")] = None,
    username: _Parameter = None,
    password: _Parameter = None,
    totp_code: _Parameter = None,
    refresh_token: _Parameter = None,
) -> schemas.TokenAnswer:
    """Exchanges a password or a refresh token for an access token. Sets no cookies."""
    kind = _required(parameters, "grant_type")
    if kind == "password":
        signed_in = await service.sign_in(
            username=_required(parameters, "username"),
            password=_required(parameters, "password"),
            address=address,
        )
    elif kind == "refresh_token":
        signed_in = await service.refresh(_required(parameters, "refresh_token"))
    else:
        raise OAuthError("grant_type must be password or refresh_token", code="unsupported_grant_type")
    response.headers.update(_NO_STORE)
    return _answer(signed_in)


def render_oauth_error(error: Error, request: Request) -> Response:
    """`error` in RFC 6749's form (§5.2)."""
    status = 400 if isinstance(error, Unauthenticated) else error.status
    if isinstance(error, Unprocessable):
        status = 400
    headers = {name: value for name, value in error.headers.items() if name != "WWW-Authenticate"}
    return JSONResponse(
        {"error": _error_name(error), "error_description": error.detail},
        status_code=status,
        headers={**headers, **_NO_STORE},
    )


def _error_name(error: Error) -> str:
    if isinstance(error, OAuthError):
        return error.code
    if isinstance(error, InvalidCredentials | Unauthenticated):
        return "invalid_grant"
    if error.status in (429, 503):
        return "temporarily_unavailable"
    return "server_error" if error.status >= 500 else "invalid_request"


def _required(parameters: dict[str, str], name: str) -> str:
    if name not in parameters:
        raise OAuthError(f"{name} is missing", code="invalid_request")
    return parameters[name]


def _answer(signed_in: SignedIn) -> schemas.TokenAnswer:
    return schemas.TokenAnswer(
        access_token=signed_in.access_token,
        token_type="Bearer",  # noqa: S106 - the kind of token, not one
        expires_in=int(ACCESS_LIFETIME),
        refresh_token=signed_in.refresh_token,
    )
