"""Conversations about a patient, kept as FHIR Communications."""
