"""Settings of the patients service."""

from pydantic import Field

from quill_shared.platform.settings import BaseUrl, ServiceSettings, StrongSecret


class PatientsSettings(ServiceSettings):
    """Beside the platform's: the FHIR server, and what identifies a patient."""

    port: int = 8102
    fhir_url: BaseUrl = "http://127.0.0.1:8081/fhir"
    orgs_url: BaseUrl = "http://127.0.0.1:8105"
    fhir_deadline_seconds: float = Field(default=8.0, gt=0, description="time for one call to FHIR")
    mrn_system: str = Field(
        default="http://hospital.example.org/identifiers/mrn",
        pattern=r"^[^\s|]+$",
        description="the identifier system of medical record numbers, one value everywhere",
    )
    identifier_key: StrongSecret = Field(
        description="makes digests of identifiers that nobody can guess back, and seals search cursors"
    )
    public_url: BaseUrl | None = Field(
        default=None,
        description="what clients call Quill, for links in FHIR bundles; unset: as the request names us",
    )
    sweep_interval_seconds: float = Field(
        default=15.0, gt=0, le=60, description="pause between two looks for patients written by others"
    )
    sweep_overlap_seconds: float = Field(
        default=60.0, gt=0, description="how far each look reaches back, for writes that became visible late"
    )
    sweep_walk_hours: float = Field(
        default=24.0, gt=0, description="age at which the whole FHIR server is looked through again"
    )
