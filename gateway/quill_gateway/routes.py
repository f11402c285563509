"""The route table: everything the public may reach, and the only list of it.

What is not here is 404, whatever the services answer to. Order does not matter: a literal segment wins
over a parameter. Compiled by `matching`.
"""

from dataclasses import dataclass
from typing import Final, Literal

__all__ = ["ROUTES", "Route", "Service"]

Service = Literal["gateway", "auth", "patients", "letters", "messaging", "orgs"]


@dataclass(frozen=True, slots=True)
class Route:
    """One method of one path.

    Args:
        public: no session is needed, and a bad or expired one is ignored (contract, legend P).
        csrf: whether the CSRF check applies to a call authenticated by cookie; never on public routes.
        same_origin_will_do: for the CSRF check, evidence of our own origin counts as the header.
        clinical: 503 in a deployment without clinical services (legend K).
        cookie: the one cookie that is handed on to the service.
        docs: only where the documentation is on.
    """

    method: str
    template: str
    service: Service
    public: bool = False
    csrf: bool = True
    same_origin_will_do: bool = False
    clinical: bool = False
    cookie: str | None = None
    docs: bool = False

    @property
    def path(self) -> str:
        """The template, by the name that Starlette's routes have for it."""
        return self.template


ROUTES: Final = (
    # The gateway's own
    Route("GET", "/api/health", "gateway", public=True),
    Route("GET", "/health/live", "gateway", public=True),
    Route("GET", "/health/ready", "gateway", public=True),
    Route("GET", "/api/openapi.json", "gateway", public=True, docs=True),
    Route("GET", "/api/docs", "gateway", public=True, docs=True),
    Route("GET", "/api/redoc", "gateway", public=True, docs=True),
    Route("GET", "/api/docs/assets/{name}", "gateway", public=True, docs=True),
    # 4. Authentication
    Route("POST", "/api/auth/login", "auth", public=True),
    Route("GET", "/api/auth/organizations", "auth", public=True),
    Route("POST", "/api/auth/register", "auth", public=True),
    Route("POST", "/api/auth/forgot-password", "auth", public=True),
    Route("POST", "/api/auth/reset-password", "auth", public=True),
    Route("POST", "/api/auth/change-password", "auth"),
    Route("POST", "/api/auth/totp/setup", "auth"),
    Route("POST", "/api/auth/totp/verify", "auth"),
    Route("POST", "/api/auth/totp/disable", "auth"),
    Route("POST", "/api/auth/token", "auth", public=True),
    Route("POST", "/api/auth/refresh", "auth", public=True, csrf=False, cookie="refresh_token"),
    Route("POST", "/api/auth/logout", "auth"),
    Route("GET", "/api/auth/me", "auth"),
    Route("GET", "/api/auth/sessions", "auth"),
    Route("DELETE", "/api/auth/sessions/{sid}", "auth"),
    Route("POST", "/api/auth/logout-all", "auth"),
    # 5. Users and competencies
    Route("GET", "/api/users", "auth"),
    Route("POST", "/api/users", "auth"),
    Route("GET", "/api/users/{id}", "auth"),
    Route("PATCH", "/api/users/{id}", "auth"),
    Route("PUT", "/api/users/{id}/roles", "auth"),
    Route("POST", "/api/users/{id}/deactivate", "auth"),
    Route("POST", "/api/users/{id}/reactivate", "auth"),
    Route("PATCH", "/api/users/{id}/link-patient", "auth"),
    Route("GET", "/api/cbac/my-competencies", "auth"),
    Route("PATCH", "/api/cbac/my-competencies", "auth"),
    Route("GET", "/api/cbac/competencies", "auth"),
    Route("GET", "/api/cbac/base-professions", "auth"),
    Route("POST", "/api/prescriptions/controlled", "patients"),
    # 6. Organisations
    Route("GET", "/api/organizations", "orgs"),
    Route("POST", "/api/organizations", "orgs"),
    Route("GET", "/api/organizations/{id}", "orgs"),
    Route("PUT", "/api/organizations/{id}", "orgs"),
    Route("POST", "/api/organizations/{id}/staff", "orgs"),
    Route("DELETE", "/api/organizations/{id}/staff/{user_id}", "orgs"),
    Route("POST", "/api/organizations/{id}/patients", "orgs", clinical=True),
    Route("DELETE", "/api/organizations/{id}/patients/{patient_id}", "orgs"),
    Route("GET", "/api/organizations/{id}/features", "orgs"),
    Route("PUT", "/api/organizations/{id}/features/{key}", "orgs"),
    Route("GET", "/api/organizations/{id}/join-requests", "orgs"),
    Route("POST", "/api/organizations/{id}/join-requests/{user_id}/approve", "orgs"),
    Route("POST", "/api/organizations/{id}/join-requests/{user_id}/reject", "orgs"),
    Route("GET", "/api/patients/{id}/shared-organisations", "orgs"),
    # 7. Patients
    Route("GET", "/api/patients", "patients", clinical=True),
    Route("POST", "/api/patients", "patients", clinical=True),
    Route("POST", "/api/fhir/patients", "patients", clinical=True),
    Route("POST", "/api/patients/verify", "patients", clinical=True),
    Route("GET", "/api/patients/{id}", "patients", clinical=True),
    Route("GET", "/api/fhir/patients/{id}", "patients", clinical=True),
    Route("PATCH", "/api/patients/{id}", "patients", clinical=True),
    Route("GET", "/api/patients/{id}/demographics", "patients", clinical=True),
    Route("PUT", "/api/patients/{id}/demographics", "patients", clinical=True),
    Route("GET", "/api/patients/{id}/history", "patients", clinical=True),
    Route("GET", "/api/patients/{id}/metadata", "patients", clinical=True),
    Route("POST", "/api/patients/{id}/deactivate", "patients", clinical=True),
    Route("POST", "/api/patients/{id}/activate", "patients", clinical=True),
    Route("GET", "/api/fhir/metadata", "patients", public=True, clinical=True),
    Route("POST", "/api/fhir/Patient", "patients", clinical=True),
    Route("GET", "/api/fhir/Patient", "patients", clinical=True),
    Route("POST", "/api/fhir/Patient/_search", "patients", clinical=True),
    Route("GET", "/api/fhir/Patient/{id}", "patients", clinical=True),
    Route("PUT", "/api/fhir/Patient/{id}", "patients", clinical=True),
    Route("GET", "/api/fhir/Patient/{id}/_history", "patients", clinical=True),
    # 8. Letters
    Route("POST", "/api/patients/{id}/letters", "letters", clinical=True),
    Route("GET", "/api/patients/{id}/letters", "letters", clinical=True),
    Route("GET", "/api/patients/{id}/letters/{uid}", "letters", clinical=True),
    Route("PUT", "/api/patients/{id}/letters/{uid}", "letters", clinical=True),
    Route("GET", "/api/patients/{id}/letters/{uid}/versions", "letters", clinical=True),
    Route("GET", "/api/patients/{id}/letters/{uid}/pdf", "letters", clinical=True),
    # 9. External access
    Route("POST", "/api/patients/{id}/invite-external", "auth", clinical=True),
    Route("POST", "/api/accept-invite", "auth", public=True, clinical=True),
    Route("GET", "/api/patients/{id}/external-access", "auth", clinical=True),
    Route("DELETE", "/api/patients/{id}/external-access/{user_id}", "auth", clinical=True),
    # 10. Messaging and push
    Route("POST", "/api/conversations", "messaging", clinical=True),
    Route("GET", "/api/conversations", "messaging", clinical=True),
    Route("GET", "/api/patients/{id}/conversations", "messaging", clinical=True),
    Route("GET", "/api/conversations/{cid}", "messaging", clinical=True),
    Route("PATCH", "/api/conversations/{cid}", "messaging", clinical=True),
    Route("POST", "/api/conversations/{cid}/messages", "messaging", clinical=True),
    Route("POST", "/api/conversations/{cid}/participants", "messaging", clinical=True),
    Route("GET", "/api/conversations/{cid}/participants", "messaging", clinical=True),
    Route("POST", "/api/conversations/{cid}/join", "messaging", clinical=True),
    Route("POST", "/api/conversations/{cid}/read", "messaging", clinical=True),
    Route("GET", "/api/push/vapid-public-key", "messaging", clinical=True),
    Route("POST", "/api/push/subscribe", "messaging", same_origin_will_do=True, clinical=True),
    Route("DELETE", "/api/push/subscribe", "messaging", same_origin_will_do=True, clinical=True),
    Route("POST", "/api/push/register", "messaging", clinical=True),
    Route("POST", "/api/push/send-test", "messaging", clinical=True),
    Route("POST", "/api/push/send", "messaging", clinical=True),
    # 11. Audit
    Route("GET", "/api/audit", "auth"),
    Route("GET", "/api/patients/{id}/access-log", "auth"),
)
