"""Patient demographics, kept in a FHIR server."""
