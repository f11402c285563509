"""Signing in and out, registering, and who am I (contract, section 4)."""

from typing import Annotated

from fastapi import Depends, Response
from starlette.requests import Request

from quill_shared.kernel.guards import SignedIn
from quill_shared.platform.routing import Uow, router

from ..schemas import sessions as schemas
from ..service.registration import Registration
from ..service.sessions import Sessions
from .cookies import REFRESH_COOKIE, clear_session_cookies, set_session_cookies
from .requests import ByName, ClientAddress, Context

routes = router("authentication")


def sessions(uow: Uow, context: Context) -> Sessions:
    """The use cases of sessions in the request's transaction."""
    return Sessions(uow, context)


def registration(uow: Uow, context: Context) -> Registration:
    """The use cases of registration in the request's transaction."""
    return Registration(uow, context)


SessionService = Annotated[Sessions, Depends(sessions)]
RegistrationService = Annotated[Registration, Depends(registration)]


@routes.post("/api/auth/login")
async def login(
    service: SessionService,
    context: Context,
    address: ClientAddress,
    body: schemas.Login,
    response: Response,
) -> schemas.LoginAnswer:
    """Signs in with user name or e-mail address and password; the tokens come as cookies."""
    signed_in = await service.sign_in(username=body.username, password=body.password, address=address)
    set_session_cookies(response, signed_in, context)
    return schemas.LoginAnswer(
        detail="ok", user=schemas.LoginUser(username=signed_in.username, roles=signed_in.roles)
    )


@routes.get("/api/auth/organizations")
async def list_organisations(service: RegistrationService, page: ByName) -> schemas.OrganisationChoices:
    """The organisations somebody who registers may ask to join."""
    found = await service.organisations(page)
    return schemas.OrganisationChoices(
        organizations=[schemas.OrganisationChoice(**each) for each in found.items],
        next_cursor=found.next_cursor,
    )


@routes.post("/api/auth/register")
async def register(
    service: RegistrationService, address: ClientAddress, body: schemas.Register
) -> schemas.Detail:
    """Makes a patient-level account; an organisation is asked, not joined."""
    await service.register(
        username=body.username or "",
        email=body.email or "",
        password=body.password or "",
        full_name=body.full_name or None,
        organisation_id=body.organisation_id,
        address=address,
    )
    return schemas.Detail(detail="created")


@routes.post("/api/auth/refresh")
async def refresh(
    request: Request, service: SessionService, context: Context, response: Response
) -> schemas.Detail:
    """Replaces the three cookies; the refresh token is good once."""
    signed_in = await service.refresh(request.cookies.get(REFRESH_COOKIE))
    set_session_cookies(response, signed_in, context)
    return schemas.Detail(detail="ok")


@routes.post("/api/auth/logout")
async def logout(
    principal: SignedIn, service: SessionService, context: Context, response: Response
) -> schemas.Detail:
    """Ends the session on the server and takes the cookies away."""
    await service.sign_out(principal)
    clear_session_cookies(response, context.settings)
    return schemas.Detail(detail="ok")


@routes.get("/api/auth/me")
async def me(
    principal: SignedIn, service: SessionService, context: Context, response: Response
) -> schemas.MeAnswer:
    """The caller's account as it is now, and when the session ends."""
    found = await service.me(principal)
    account = found.account
    response.headers["Cache-Control"] = "no-store"
    return schemas.MeAnswer(
        id=account.id,
        username=account.username,
        name=found.name,
        full_name=account.full_name,
        email=account.email,
        roles=account.roles,
        system_permissions=account.system_permissions,
        # No account can have a second factor yet.
        totp_enabled=False,
        enabled_features=found.enabled_features,
        competencies=list(found.competencies),
        fhir_patient_id=account.fhir_patient_id,
        clinical_services_enabled=context.settings.clinical_services,
        session_expires_at=found.session_expires_at,
    )
