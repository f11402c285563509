"""Who may see which patient, decided locally (ADR 0004).

Memberships, grants, features and accounts are owned by orgs and auth; each service that decides keeps
a projection of them, fed by events (`consumers`), asked through `policy`.
"""

from .consumers import access_consumers
from .policy import CareAccess
from .tables import access_metadata, create_access_tables, drop_access_tables

__all__ = ["CareAccess", "access_consumers", "access_metadata", "create_access_tables", "drop_access_tables"]
