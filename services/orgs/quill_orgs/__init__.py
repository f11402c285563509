"""Organisations, their staff, patients and features."""
