"""The FHIR server that keeps the messages."""

from .client import Fhir, FhirServer

__all__ = ["Fhir", "FhirServer"]
