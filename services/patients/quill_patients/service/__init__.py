"""The use cases: reading, registering, changing, and keeping the index true to FHIR."""

from .context import PatientsContext
from .reading import PatientPage, PatientReading
from .writing import PatientWriting, Registered

__all__ = ["PatientPage", "PatientReading", "PatientWriting", "PatientsContext", "Registered"]
