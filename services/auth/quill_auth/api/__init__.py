"""The routes of the auth service, by noun (contract, sections 4, 5 and 9)."""

from . import access, internal, keys, oauth, sessions, users

routers = (
    sessions.routes,
    oauth.routes,
    users.routes,
    access.routes,
    keys.routes,
    internal.routes,
)

__all__ = ["routers"]
