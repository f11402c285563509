"""A FHIR R4 server for one machine: Patient and Communication, answering as HAPI FHIR does."""

from .app import create_fhir_app
from .settings import FhirSettings

__all__ = ["FhirSettings", "create_fhir_app"]
