"""Who may call a route, as annotated aliases: a handler's signature says it.

    async def list_users(principal: Admin, uow: Uow) -> ...

Guards are evaluated before the body is read (contract, section 1: 401, then 403, then 422).
"""

from typing import Annotated, Any

from fastapi import Depends
from starlette.requests import Request

from quill_shared.platform.context import identify
from quill_shared.platform.errors import Forbidden, Unauthenticated, Unavailable
from quill_shared.platform.routing import Guard
from quill_shared.platform.service import Runtime
from quill_shared.platform.tokens import InvalidToken, bearer_token

from .access.repository import enabled_features, primary_organisation
from .cbac import UnknownIdError
from .permissions import SystemPermission, UnknownPermissionError
from .principal import CLINICIAN, Principal


async def authenticate(request: Request) -> Principal:
    """The principal of the request's bearer token.

    Raises:
        Unauthenticated: none, or not good any more (contract, section 1, for the texts).
        Unavailable: keys or revocations are not known.
    """
    known: Principal | None = request.scope.get("quill_principal")
    if known is not None:
        return known
    token = bearer_token(request.headers.get("authorization"))
    if token is None:
        raise Unauthenticated
    runtime: Runtime = request.app.state.runtime
    claims = runtime.verifier.verify_cached(token) or await runtime.verifier.verify(token)
    try:
        principal = Principal.from_claims(claims)
    except (UnknownPermissionError, UnknownIdError):
        # Issued by a newer release that knows more than this one: not ours to judge.
        raise InvalidToken from None
    identify(user_id=principal.user_id, session_id=principal.session_id)
    request.scope["quill_principal"] = principal
    return principal


class SignedInGuard(Guard):
    """Anybody signed in."""

    async def check(self, request: Request) -> Principal:
        """The caller."""
        return await authenticate(request)


class PermissionGuard(Guard):
    """A system permission at least as high as `required`."""

    def __init__(self, required: SystemPermission, detail: str) -> None:
        self._required = required
        self._detail = detail

    async def check(self, request: Request) -> Principal:
        """The caller, if high enough."""
        principal = await authenticate(request)
        if not principal.permission.at_least(self._required):
            raise Forbidden(self._detail, code="permission_required")
        return principal


class RoleGuard(Guard):
    """A role of the account."""

    def __init__(self, role: str) -> None:
        self._role = role

    async def check(self, request: Request) -> Principal:
        """The caller, if they hold the role."""
        principal = await authenticate(request)
        if self._role not in principal.roles:
            raise Forbidden(code="role_required")
        return principal


class CompetencyGuard(Guard):
    """A competency, resolved from the account's profession, additions and removals."""

    def __init__(self, competency: str) -> None:
        self._competency = competency

    async def check(self, request: Request) -> Principal:
        """The caller, if competent."""
        principal = await authenticate(request)
        require_competency(principal, self._competency)
        return principal


class FeatureGuard(Guard):
    """A feature switched on for the caller's primary organisation."""

    def __init__(self, feature: str) -> None:
        self._feature = feature

    async def check(self, request: Request) -> Principal:
        """The caller, if their organisation has the feature."""
        principal = await authenticate(request)
        session = request.state.uow.session
        organisation_id = await primary_organisation(session, principal.user_id)
        if organisation_id is None:
            raise Forbidden("User has no primary organisation", code="no_primary_organisation")
        if self._feature not in await enabled_features(session, organisation_id):
            raise Forbidden(
                f"Feature '{self._feature}' is not enabled for this organisation", code="feature_not_enabled"
            )
        return principal


class OptionalGuard(Guard):
    """For public routes: the caller when signed in, else None. Bad credentials count as none."""

    async def check(self, request: Request) -> Principal | None:
        """The caller, or None."""
        try:
            return await authenticate(request)
        except Unauthenticated:
            return None


class ClinicalServicesGuard(Guard):
    """A deployment with clinical records."""

    about_the_route = True

    async def check(self, request: Request) -> None:
        """Refuses with 503 where they are off."""
        if not request.app.state.runtime.settings.clinical_services:
            raise Unavailable(
                "Clinical services are not available in this deployment",
                code="clinical_services_disabled",
                retry_after=3600,
            )


def require_competency(principal: Principal, competency: str) -> None:
    """Refuses a principal without `competency`.

    Raises:
        Forbidden: naming it.
    """
    if competency not in principal.competencies:
        raise Forbidden(
            f"Forbidden: User lacks required competency '{competency}'", code="competency_required"
        )


ADMIN_REQUIRED = "Requires admin or superadmin permissions"

SignedIn = Annotated[Principal, Depends(SignedInGuard())]
MaybeSignedIn = Annotated[Principal | None, Depends(OptionalGuard())]
Clinician = Annotated[Principal, Depends(RoleGuard(CLINICIAN))]
Staff = Annotated[Principal, Depends(PermissionGuard(SystemPermission.STAFF, "Forbidden"))]
Admin = Annotated[Principal, Depends(PermissionGuard(SystemPermission.ADMIN, ADMIN_REQUIRED))]
Superadmin = Annotated[Principal, Depends(PermissionGuard(SystemPermission.SUPERADMIN, "Forbidden"))]

clinical_services: Any = Depends(ClinicalServicesGuard())
"""For `dependencies=[clinical_services]` of routes that need clinical records (K in the contract)."""


def requires_feature(feature: str) -> Any:
    """For `dependencies=[requires_feature("letters")]` of routes behind a feature."""
    return Depends(FeatureGuard(feature))
