"""Access for people outside (contract, section 9)."""

from typing import Annotated, Final

from fastapi import Depends, Response

from quill_shared.kernel.guards import MaybeSignedIn, SignedIn, clinical_services
from quill_shared.platform.routing import Uow, router

from ..schemas import access as schemas
from ..service.access import ExternalAccess
from .requests import ById, ClientAddress, Context, PatientIdPath, UserId

routes = router("external access")

_ACCESS_LEVEL: Final = "full"


def external_access(uow: Uow, context: Context) -> ExternalAccess:
    """The use cases of external access in the request's transaction."""
    return ExternalAccess(uow, context)


AccessService = Annotated[ExternalAccess, Depends(external_access)]


@routes.post("/api/patients/{patient_id}/invite-external", dependencies=[clinical_services])
async def invite_external(
    principal: SignedIn,
    service: AccessService,
    patient_id: PatientIdPath,
    body: schemas.InviteExternal,
    response: Response,
) -> schemas.InviteAnswer:
    """Invites somebody outside to the patient's record, for seven days and once."""
    token = await service.invite(principal, patient_id, email=body.email, user_type=body.user_type)
    response.headers["Cache-Control"] = "no-store"
    return schemas.InviteAnswer(invite_url=f"/app/accept-invite?token={token}", token=token)


@routes.post("/api/accept-invite", dependencies=[clinical_services])
async def accept_invite(
    principal: MaybeSignedIn,
    service: AccessService,
    address: ClientAddress,
    body: schemas.AcceptInvite,
) -> schemas.AcceptAnswer:
    """Takes up an invitation, with a new account or the one that has the invited address."""
    status, user_id = await service.accept(
        principal,
        body.token,
        username=body.username or "",
        password=body.password or "",
        address=address,
    )
    return schemas.AcceptAnswer(status=status, user_id=user_id)


@routes.get("/api/patients/{patient_id}/external-access", dependencies=[clinical_services])
async def list_external_access(
    principal: SignedIn,
    service: AccessService,
    patient_id: PatientIdPath,
    page: ById,
    response: Response,
) -> schemas.GrantList:
    """Who outside may see the patient's record."""
    found = await service.page(principal, patient_id, page)
    response.headers["Cache-Control"] = "no-store"
    return schemas.GrantList(
        grants=[schemas.Grant(**each, access_level=_ACCESS_LEVEL) for each in found.items],
        next_cursor=found.next_cursor,
    )


@routes.delete("/api/patients/{patient_id}/external-access/{user_id}", dependencies=[clinical_services])
async def revoke_external_access(
    principal: SignedIn, service: AccessService, patient_id: PatientIdPath, user_id: UserId
) -> schemas.Status:
    """Closes the record to them, and withdraws every invitation to it that they have not taken up."""
    await service.revoke(principal, patient_id, user_id)
    return schemas.Status(status="revoked")
