"""The routes of the orgs service (contract, section 6)."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Path, Response
from starlette.requests import Request

from quill_shared.kernel.fhir_ids import FhirId
from quill_shared.kernel.guards import Admin, SignedIn, clinical_services
from quill_shared.platform.pagination import PageRequest, page_request
from quill_shared.platform.preconditions import IfMatch, entity_tag
from quill_shared.platform.routing import Uow, router
from quill_shared.platform.schemas import IdInAddress
from quill_shared.platform.service_tokens import require_service

from . import schemas
from .directories import Accounts, Patients
from .service import OrganisationService

routes = router("organisations")


@dataclass(frozen=True, slots=True)
class OrgsContext:
    """The adapters of the running service."""

    accounts: Accounts
    patients: Patients


def _service(request: Request, uow: Uow) -> OrganisationService:
    context: OrgsContext = request.app.state.runtime.context
    return OrganisationService(uow, context.accounts, context.patients)


Service = Annotated[OrganisationService, Depends(_service)]
OrganisationId = Annotated[IdInAddress, Path()]
UserId = Annotated[IdInAddress, Path()]
PatientId = Annotated[FhirId, Path()]
NameKeyed = Annotated[PageRequest, Depends(page_request(str, int))]


@routes.get("/api/organizations")
async def list_organisations(_: Admin, service: Service, page: NameKeyed) -> schemas.OrganisationList:
    """Every organisation, by name."""
    found = await service.page(page)
    return schemas.OrganisationList(
        organizations=[schemas.OrganisationAnswer.model_validate(each) for each in found.items],
        next_cursor=found.next_cursor,
    )


@routes.post("/api/organizations")
async def create_organisation(
    _: Admin, service: Service, body: schemas.OrganisationWrite, response: Response
) -> schemas.OrganisationAnswer:
    """Adds an organisation."""
    created = await service.create(name=body.name, type=body.type, location=body.location)
    response.headers["ETag"] = entity_tag(created.revision)
    return schemas.OrganisationAnswer.model_validate(created)


@routes.get("/api/organizations/{organisation_id}")
async def get_organisation(
    _: Admin, service: Service, organisation_id: OrganisationId, response: Response
) -> schemas.OrganisationDetail:
    """One organisation with everybody in it."""
    detail = await service.detail(organisation_id)
    response.headers["ETag"] = entity_tag(detail["revision"])
    return schemas.OrganisationDetail.model_validate(detail)


@routes.put("/api/organizations/{organisation_id}")
async def update_organisation(
    _: Admin,
    service: Service,
    organisation_id: OrganisationId,
    body: schemas.OrganisationWrite,
    if_match: IfMatch,
    response: Response,
) -> schemas.OrganisationAnswer:
    """Replaces name, type and location."""
    updated = await service.update(
        organisation_id, name=body.name, type=body.type, location=body.location, if_match=if_match
    )
    response.headers["ETag"] = entity_tag(updated.revision)
    return schemas.OrganisationAnswer.model_validate(updated)


@routes.post("/api/organizations/{organisation_id}/staff")
async def add_staff(
    _: Admin, service: Service, organisation_id: OrganisationId, body: schemas.StaffAdd
) -> schemas.StaffAdded:
    """Makes an account a member of staff."""
    username = await service.add_staff(organisation_id, body.user_id)
    return schemas.StaffAdded(organisation_id=organisation_id, user_id=body.user_id, username=username)


@routes.delete("/api/organizations/{organisation_id}/staff/{user_id}")
async def remove_staff(
    _: Admin, service: Service, organisation_id: OrganisationId, user_id: UserId
) -> schemas.Status:
    """Ends a staff membership; another becomes primary."""
    await service.remove_staff(organisation_id, user_id)
    return schemas.Status(status="removed")


@routes.post("/api/organizations/{organisation_id}/patients", dependencies=[clinical_services])
async def add_patient(
    _: Admin, service: Service, organisation_id: OrganisationId, body: schemas.PatientAdd
) -> schemas.PatientAdded:
    """Makes a patient the organisation's."""
    await service.add_patient(organisation_id, body.patient_id)
    return schemas.PatientAdded(organisation_id=organisation_id, patient_id=body.patient_id)


@routes.delete("/api/organizations/{organisation_id}/patients/{patient_id}")
async def remove_patient(
    _: Admin, service: Service, organisation_id: OrganisationId, patient_id: PatientId
) -> schemas.Status:
    """Ends a patient's membership."""
    await service.remove_patient(organisation_id, patient_id)
    return schemas.Status(status="removed")


@routes.get("/api/organizations/{organisation_id}/features")
async def list_features(_: Admin, service: Service, organisation_id: OrganisationId) -> schemas.FeatureList:
    """What is switched on."""
    found = await service.features(organisation_id)
    return schemas.FeatureList(features=[schemas.Feature.model_validate(each) for each in found])


@routes.put("/api/organizations/{organisation_id}/features/{feature_key}")
async def switch_feature(
    admin: Admin,
    service: Service,
    organisation_id: OrganisationId,
    feature_key: str,
    body: schemas.FeatureSwitch,
) -> schemas.Status:
    """Switches a feature on or off."""
    status = await service.switch_feature(organisation_id, feature_key, enabled=body.enabled, by=admin)
    return schemas.Status(status=status)


@routes.get("/api/organizations/{organisation_id}/join-requests")
async def list_join_requests(
    _: Admin, service: Service, organisation_id: OrganisationId
) -> schemas.JoinRequestList:
    """Self-registered accounts that wish to join."""
    found = await service.join_requests(organisation_id)
    return schemas.JoinRequestList(
        join_requests=[schemas.JoinRequestAnswer.model_validate(each) for each in found]
    )


@routes.post("/api/organizations/{organisation_id}/join-requests/{user_id}/approve")
async def approve_join_request(
    admin: Admin, service: Service, organisation_id: OrganisationId, user_id: UserId
) -> schemas.Status:
    """Makes the account a member of staff."""
    await service.approve_join(organisation_id, user_id, by=admin)
    return schemas.Status(status="approved")


@routes.post("/api/organizations/{organisation_id}/join-requests/{user_id}/reject")
async def reject_join_request(
    admin: Admin, service: Service, organisation_id: OrganisationId, user_id: UserId
) -> schemas.Status:
    """Declines the wish."""
    await service.reject_join(organisation_id, user_id, by=admin)
    return schemas.Status(status="rejected")


@routes.get("/api/patients/{patient_id}/shared-organisations")
async def shared_organisations(
    principal: SignedIn, service: Service, patient_id: PatientId
) -> schemas.SharedOrganisationList:
    """The organisations that caller and patient have in common."""
    found = await service.shared(principal, patient_id)
    return schemas.SharedOrganisationList(
        organisations=[schemas.SharedOrganisation.model_validate(each) for each in found]
    )


@routes.get(
    "/internal/organizations/{organisation_id}",
    include_in_schema=False,
    dependencies=[Depends(require_service)],
)
async def organisation_for_services(
    service: Service, organisation_id: OrganisationId
) -> schemas.SharedOrganisation:
    """One organisation, for services to which its first event has not come yet."""
    return schemas.SharedOrganisation.model_validate(await service.summary(organisation_id))
