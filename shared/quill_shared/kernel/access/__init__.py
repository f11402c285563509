"""Who may see which patient, decided locally (ADR 0004).

Memberships, grants, features and accounts are owned by orgs and auth; each service that decides keeps
a projection of them, fed by events (`consumers`), asked through `policy`.
"""

from .consumers import (
    access_consumers,
    account_consumers,
    feature_consumers,
    grant_consumers,
    membership_consumers,
    organisation_consumers,
)
from .policy import CareAccess
from .schema_v1 import create_access_tables, drop_access_tables
from .tables import access_metadata

__all__ = [
    "CareAccess",
    "access_consumers",
    "access_metadata",
    "account_consumers",
    "create_access_tables",
    "drop_access_tables",
    "feature_consumers",
    "grant_consumers",
    "membership_consumers",
    "organisation_consumers",
]
