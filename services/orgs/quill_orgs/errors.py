"""The errors of the orgs context.

Error
├── BadRequest
│   ├── UnknownOrganisationType   400 unknown_organisation_type
│   ├── UnknownFeature            400 unknown_feature
│   ├── StaffLevelRequired        400 staff_level_required
│   └── AccountInactive           400 account_inactive
├── NotFound
│   ├── OrganisationNotFound      404 organization_not_found
│   ├── UserNotFound              404 user_not_found
│   ├── PatientNotFound           404 patient_not_found
│   ├── MembershipNotFound        404 membership_not_found
│   └── JoinRequestNotFound       404 join_request_not_found
└── Conflict
    ├── AlreadyStaff              409 already_staff
    └── AlreadyPatient            409 already_patient
"""

from quill_shared.platform.errors import BadRequest, Conflict, NotFound

from .domain import FeatureKey, OrganisationType


class UnknownOrganisationType(BadRequest):
    """Not one of the catalogue."""

    code = "unknown_organisation_type"
    detail = f"Invalid organisation type. Must be one of: {', '.join(OrganisationType)}"


class UnknownFeature(BadRequest):
    """Not one of the catalogue."""

    code = "unknown_feature"
    detail = f"Unknown feature key. Must be one of: {', '.join(FeatureKey)}"


class StaffLevelRequired(BadRequest):
    """Patients and external users are not members of staff."""

    code = "staff_level_required"
    detail = "User must have staff-level permissions or above"


class AccountInactive(BadRequest):
    """A deactivated account joins nothing."""

    code = "account_inactive"
    detail = "User is deactivated"


class OrganisationNotFound(NotFound):
    """No such organisation."""

    code = "organization_not_found"
    detail = "Organization not found"


class UserNotFound(NotFound):
    """No such account."""

    code = "user_not_found"
    detail = "User not found"


class PatientNotFound(NotFound):
    """No such patient."""

    code = "patient_not_found"
    detail = "Patient not found"


class MembershipNotFound(NotFound):
    """They do not belong to the organisation."""

    code = "membership_not_found"
    detail = "Membership not found"


class JoinRequestNotFound(NotFound):
    """Nothing pending."""

    code = "join_request_not_found"
    detail = "Join request not found"


class AlreadyStaff(Conflict):
    """Adding a member of staff twice."""

    code = "already_staff"
    detail = "User is already a staff member of this organisation"


class AlreadyPatient(Conflict):
    """Adding a patient twice."""

    code = "already_patient"
    detail = "Patient is already a member of this organisation"
