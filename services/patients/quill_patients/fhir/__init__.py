"""Everything that knows FHIR: documents, validation, mapping, the client of the FHIR server."""
