"""Accounts, sessions, competencies and external access."""
