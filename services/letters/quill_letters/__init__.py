"""Clinical letters, kept in an openEHR server."""
