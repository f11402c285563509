"""The events that keep the projection of access facts, in parts: a service joins those it decides by."""

from typing import Any

from quill_shared.platform.database import UnitOfWork
from quill_shared.platform.events import Consumed, Consumers, Received

from .repository import project
from .tables import account, feature, grant, organisation, patient, staff

account_consumers = Consumers()
"""The account directory."""
grant_consumers = Consumers()
"""Records opened to external users."""
organisation_consumers = Consumers()
"""Names and types of organisations."""
membership_consumers = Consumers()
"""Staff and patients of organisations."""
feature_consumers = Consumers()
"""Features switched on."""


class AccountFact(Consumed):
    """What is read of auth.user.*."""

    user_id: int
    username: str
    display_name: str
    email: str
    system_permissions: str
    roles: list[str]
    fhir_patient_id: str | None
    is_active: bool
    ver: int


class GrantFact(Consumed):
    """What is read of auth.access.*."""

    user_id: int
    patient_id: str
    user_type: str


class OrganisationFact(Consumed):
    """What is read of orgs.organization.*."""

    organisation_id: int
    name: str
    type: str


class StaffFact(Consumed):
    """What is read of orgs.staff.*."""

    organisation_id: int
    user_id: int
    is_primary: bool


class PatientFact(Consumed):
    """What is read of orgs.patient.*."""

    organisation_id: int
    patient_id: str


class FeatureFact(Consumed):
    """What is read of orgs.feature.*."""

    organisation_id: int
    feature_key: str


def _row(event: Received[Any], **more: Any) -> dict[str, Any]:
    return {**event.data.model_dump(), "sequence": event.sequence, **more}


@account_consumers.on("auth.user.registered.v1", AccountFact)
@account_consumers.on("auth.user.updated.v1", AccountFact)
@account_consumers.on("auth.user.deactivated.v1", AccountFact)
async def account_changed(event: Received[AccountFact], uow: UnitOfWork) -> None:
    """Keeps the account directory."""
    await project(uow.session, account, _row(event))


@grant_consumers.on("auth.access.granted.v1", GrantFact)
async def access_granted(event: Received[GrantFact], uow: UnitOfWork) -> None:
    """Opens a record to an external user."""
    await project(uow.session, grant, _row(event, active=True))


@grant_consumers.on("auth.access.revoked.v1", GrantFact)
async def access_revoked(event: Received[GrantFact], uow: UnitOfWork) -> None:
    """Closes it again."""
    await project(uow.session, grant, _row(event, active=False))


@organisation_consumers.on("orgs.organization.created.v1", OrganisationFact)
@organisation_consumers.on("orgs.organization.updated.v1", OrganisationFact)
async def organisation_changed(event: Received[OrganisationFact], uow: UnitOfWork) -> None:
    """Keeps names and types of organisations."""
    await project(uow.session, organisation, _row(event))


@membership_consumers.on("orgs.staff.added.v1", StaffFact)
@membership_consumers.on("orgs.staff.updated.v1", StaffFact)
async def staff_added(event: Received[StaffFact], uow: UnitOfWork) -> None:
    """A member of staff joins, or their primary organisation changes."""
    await project(uow.session, staff, _row(event, active=True))


@membership_consumers.on("orgs.staff.removed.v1", StaffFact)
async def staff_removed(event: Received[StaffFact], uow: UnitOfWork) -> None:
    """A member of staff leaves."""
    await project(uow.session, staff, _row(event, active=False, is_primary=False))


@membership_consumers.on("orgs.patient.added.v1", PatientFact)
async def patient_added(event: Received[PatientFact], uow: UnitOfWork) -> None:
    """A patient becomes an organisation's."""
    await project(uow.session, patient, _row(event, active=True))


@membership_consumers.on("orgs.patient.removed.v1", PatientFact)
async def patient_removed(event: Received[PatientFact], uow: UnitOfWork) -> None:
    """A patient is no longer an organisation's."""
    await project(uow.session, patient, _row(event, active=False))


@feature_consumers.on("orgs.feature.enabled.v1", FeatureFact)
async def feature_enabled(event: Received[FeatureFact], uow: UnitOfWork) -> None:
    """A feature is switched on."""
    await project(uow.session, feature, _row(event, active=True))


@feature_consumers.on("orgs.feature.disabled.v1", FeatureFact)
async def feature_disabled(event: Received[FeatureFact], uow: UnitOfWork) -> None:
    """A feature is switched off."""
    await project(uow.session, feature, _row(event, active=False))


access_consumers = Consumers.joined(
    [account_consumers, grant_consumers, organisation_consumers, membership_consumers, feature_consumers]
)
"""All of them."""
