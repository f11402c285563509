"""Administration of accounts (contract, section 5)."""

from typing import Annotated, Any

from fastapi import Depends, Query, Response
from starlette.requests import Request

from quill_shared.kernel.guards import ADMIN_REQUIRED, Admin, PermissionGuard, authenticate
from quill_shared.kernel.permissions import SystemPermission
from quill_shared.kernel.principal import Principal
from quill_shared.platform.errors import Forbidden
from quill_shared.platform.routing import Guard, Uow, router
from quill_shared.platform.schemas import Text

from ..models import Account
from ..schemas import users as schemas
from ..schemas.fields import PatientId
from ..service.accounts import display_name
from ..service.users import Users
from .requests import ById, Context, IfMatch, UserId, etag

routes = router("users")


class UserListGuard(Guard):
    """Administrators; staff too where they ask for one patient's carers."""

    async def check(self, request: Request) -> Principal:
        """The caller, if they may list at all; whether they may see the patient is decided later."""
        principal = await authenticate(request)
        if principal.is_admin or (principal.is_staff and "patient_id" in request.query_params):
            return principal
        raise Forbidden(ADMIN_REQUIRED, code="permission_required")


MayList = Annotated[Principal, Depends(UserListGuard())]
MayCreate = Annotated[
    Principal,
    Depends(
        PermissionGuard(SystemPermission.ADMIN, "Admin or superadmin permissions required to create users")
    ),
]


def users(uow: Uow, context: Context) -> Users:
    """The use cases on accounts in the request's transaction."""
    return Users(uow, context)


UserService = Annotated[Users, Depends(users)]


@routes.get("/api/users")
async def list_users(
    principal: MayList,
    service: UserService,
    page: ById,
    patient_id: Annotated[
        PatientId | None, Query(description="only the patient's staff and external users")
    ] = None,
    permission_level: Annotated[
        Text | None, Query(max_length=64, description="only this level and above")
    ] = None,
) -> schemas.UserList:
    """Accounts, by id."""
    found = await service.page(
        page, principal=principal, patient_id=patient_id, permission_level=permission_level
    )
    return schemas.UserList(
        users=[schemas.UserSummary.model_validate(each) for each in found.items],
        next_cursor=found.next_cursor,
    )


@routes.post("/api/users")
async def create_user(
    principal: MayCreate, service: UserService, body: schemas.UserCreate
) -> schemas.UserWritten:
    """Makes an account."""
    created = await service.create(
        principal,
        name=body.name or "",
        username=body.username or "",
        email=body.email or "",
        password=body.password or "",
        given_powers=body.powers,
    )
    return _written("created", created)


@routes.get("/api/users/{user_id}")
async def get_user(_: Admin, service: UserService, user_id: UserId, response: Response) -> schemas.UserDetail:
    """One account."""
    account = await service.find(user_id)
    response.headers["ETag"] = etag(account.version)
    return schemas.UserDetail(**_detail(account))


@routes.patch("/api/users/{user_id}")
async def update_user(
    principal: Admin,
    service: UserService,
    user_id: UserId,
    body: schemas.UserUpdate,
    if_match: IfMatch,
    response: Response,
) -> schemas.UserWritten:
    """Changes the fields that are given."""
    updated = await service.update(
        principal, user_id, given=body.identity, given_powers=body.powers, if_match=if_match
    )
    response.headers["ETag"] = etag(updated.version)
    return _written("updated", updated)


@routes.put("/api/users/{user_id}/roles")
async def set_roles(
    principal: Admin,
    service: UserService,
    user_id: UserId,
    body: schemas.RolesWrite,
    if_match: IfMatch,
    response: Response,
) -> schemas.UserRoles:
    """Replaces the roles."""
    account = await service.set_roles(principal, user_id, body.roles, if_match=if_match)
    response.headers["ETag"] = etag(account.version)
    return schemas.UserRoles(id=account.id, roles=account.roles)


@routes.post("/api/users/{user_id}/deactivate")
async def deactivate_user(principal: Admin, service: UserService, user_id: UserId) -> schemas.UserState:
    """Closes the account and ends its sessions."""
    account = await service.deactivate(principal, user_id)
    return schemas.UserState(detail="deactivated", id=account.id, username=account.username)


@routes.post("/api/users/{user_id}/reactivate")
async def reactivate_user(principal: Admin, service: UserService, user_id: UserId) -> schemas.UserState:
    """Opens the account again."""
    account = await service.reactivate(principal, user_id)
    return schemas.UserState(detail="reactivated", id=account.id, username=account.username)


@routes.patch("/api/users/{user_id}/link-patient")
async def link_patient(
    principal: Admin,
    service: UserService,
    user_id: UserId,
    body: schemas.PatientLink,
    if_match: IfMatch,
    response: Response,
) -> schemas.LinkedPatient:
    """Makes a patient's record the account's own."""
    account = await service.link_patient(principal, user_id, body.fhir_patient_id, if_match=if_match)
    response.headers["ETag"] = etag(account.version)
    return schemas.LinkedPatient(user_id=account.id, fhir_patient_id=body.fhir_patient_id)


def _written(detail: str, account: Account) -> schemas.UserWritten:
    return schemas.UserWritten(detail=detail, id=account.id, username=account.username, email=account.email)


def _detail(account: Account) -> dict[str, Any]:
    return {
        "id": account.id,
        "username": account.username,
        "email": account.email,
        "name": display_name(account),
        "full_name": account.full_name,
        "base_profession": account.base_profession,
        "additional_competencies": account.additional_competencies,
        "removed_competencies": account.removed_competencies,
        "system_permissions": account.system_permissions,
        "roles": account.roles,
        "is_active": account.is_active,
        "fhir_patient_id": account.fhir_patient_id,
    }
