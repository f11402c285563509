"""The routes that anybody may call, in one place. Every other route demands a principal (a test looks).

Paths as in the HTTP contract; the gateway exempts the unsafe ones from the CSRF check.
"""

from typing import Final

PUBLIC_ROUTES: Final = frozenset(
    {
        ("POST", "/api/auth/login"),
        ("GET", "/api/auth/organizations"),
        ("POST", "/api/auth/register"),
        ("POST", "/api/auth/forgot-password"),
        ("POST", "/api/auth/reset-password"),
        ("POST", "/api/auth/token"),
        ("POST", "/api/auth/refresh"),
        ("POST", "/api/accept-invite"),
        ("GET", "/api/fhir/metadata"),
        ("GET", "/api/health"),
        ("GET", "/api/docs"),
        ("GET", "/api/docs/assets/{name}"),
        ("GET", "/api/redoc"),
        ("GET", "/api/openapi.json"),
        ("GET", "/.well-known/jwks.json"),
        ("GET", "/health/live"),
        ("GET", "/health/ready"),
        ("GET", "/openapi.json"),
    }
)
