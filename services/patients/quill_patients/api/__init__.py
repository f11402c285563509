"""The routes of the patients service (contract, section 7)."""

from . import demographics, facade, internal, patients

routers = (patients.routes, demographics.routes, facade.routes, internal.routes)

__all__ = ["routers"]
