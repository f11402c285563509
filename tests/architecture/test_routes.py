"""Every route says who may call it, and the gateway's table is the union of what the services offer."""

import pytest
from applications import SERVICES, UNSAFE, Endpoint, all_endpoints, shape_of, turns_strangers_away

from quill_gateway.routes import ROUTES, Route
from quill_shared.kernel.guards import (
    ClinicalServicesGuard,
    OptionalGuard,
    PermissionGuard,
    SignedInGuard,
    clinical_services,
)
from quill_shared.kernel.permissions import SystemPermission
from quill_shared.kernel.public import PUBLIC_ROUTES
from quill_shared.platform.service_tokens import require_service

ENDPOINTS = all_endpoints()
PUBLIC_SHAPES = {(method, shape_of(path)) for method, path in PUBLIC_ROUTES}
TABLE: dict[tuple[str, str], Route] = {(route.method, shape_of(route.template)): route for route in ROUTES}

# In the contract and in the gateway's table, served by nobody yet: by section of the HTTP contract. A route
# that is served must leave this list.
LATER: dict[str, tuple[str, ...]] = {
    "4 Authentication": (
        "POST /api/auth/forgot-password",
        "POST /api/auth/reset-password",
        "POST /api/auth/change-password",
        "POST /api/auth/totp/setup",
        "POST /api/auth/totp/verify",
        "POST /api/auth/totp/disable",
        "GET /api/auth/sessions",
        "DELETE /api/auth/sessions/{}",
        "POST /api/auth/logout-all",
    ),
    "5 Users and competencies": (
        "GET /api/cbac/my-competencies",
        "PATCH /api/cbac/my-competencies",
        "GET /api/cbac/competencies",
        "GET /api/cbac/base-professions",
        "POST /api/prescriptions/controlled",
    ),
    "7 Patients": (
        "GET /api/patients/{}/history",
        "GET /api/fhir/Patient/{}/_history",
    ),
    "8 Letters": (
        "POST /api/patients/{}/letters",
        "GET /api/patients/{}/letters",
        "GET /api/patients/{}/letters/{}",
        "PUT /api/patients/{}/letters/{}",
        "GET /api/patients/{}/letters/{}/versions",
        "GET /api/patients/{}/letters/{}/pdf",
    ),
    "10 Messaging and push": (
        "POST /api/conversations",
        "GET /api/conversations",
        "GET /api/patients/{}/conversations",
        "GET /api/conversations/{}",
        "PATCH /api/conversations/{}",
        "POST /api/conversations/{}/messages",
        "POST /api/conversations/{}/participants",
        "GET /api/conversations/{}/participants",
        "POST /api/conversations/{}/join",
        "POST /api/conversations/{}/read",
        "GET /api/push/vapid-public-key",
        "POST /api/push/subscribe",
        "DELETE /api/push/subscribe",
        "POST /api/push/register",
        "POST /api/push/send-test",
        "POST /api/push/send",
    ),
    "11 Audit": (
        "GET /api/audit",
        "GET /api/patients/{}/access-log",
    ),
}
LATER_SHAPES = {(method, path) for lines in LATER.values() for method, path in map(str.split, lines)}
SERVED = {each.shape: each for each in ENDPOINTS if each.is_public_api}


def where(endpoint: Endpoint) -> str:
    """For the name of a test."""
    return f"{endpoint.application} {endpoint}"


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=where)
async def test_a_route_demands_a_caller_or_is_among_the_public_ones(endpoint: Endpoint) -> None:
    refusing = [each for each in endpoint.dependencies() if await turns_strangers_away(each)]
    if endpoint.shape in PUBLIC_SHAPES:
        assert refusing == [], "listed as public, yet it demands a caller"
    else:
        assert refusing, "anybody may call it, and it is not in kernel.public.PUBLIC_ROUTES"


@pytest.mark.parametrize("endpoint", [each for each in ENDPOINTS if each.is_internal], ids=where)
def test_an_internal_route_is_for_services_only(endpoint: Endpoint) -> None:
    assert require_service in list(endpoint.dependencies())
    assert endpoint.shape not in TABLE


def test_every_route_is_public_api_internal_or_the_platforms_own() -> None:
    own = {"/health/live", "/health/ready", "/openapi.json", "/.well-known/jwks.json"}
    assert [
        where(each) for each in ENDPOINTS if not (each.is_public_api or each.is_internal or each.path in own)
    ] == []


def test_the_list_of_public_routes_is_not_stale() -> None:
    known = {each.shape for each in ENDPOINTS} | LATER_SHAPES
    assert PUBLIC_SHAPES - known == set()


def test_no_route_is_served_twice() -> None:
    served = [each.shape for each in ENDPOINTS if each.is_public_api]
    assert sorted(served) == sorted(set(served))


def test_the_gateways_table_is_what_the_applications_serve() -> None:
    listed = {shape: route for shape, route in TABLE.items() if route.template.startswith("/api/")}
    assert {shape: route.service for shape, route in listed.items() if shape not in LATER_SHAPES} == {
        shape: endpoint.application for shape, endpoint in SERVED.items()
    }


def test_nothing_but_the_api_and_the_gateways_own_health_is_let_through() -> None:
    assert {
        (route.service, route.template) for route in ROUTES if not route.template.startswith("/api/")
    } == {("gateway", "/health/live"), ("gateway", "/health/ready")}


def test_the_routes_still_to_come_are_listed_and_not_yet_there() -> None:
    assert LATER_SHAPES - set(TABLE) == set()
    assert LATER_SHAPES & set(SERVED) == set()


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.template}")
def test_gateway_and_services_agree_on_what_is_public(route: Route) -> None:
    shape = route.method, shape_of(route.template)
    assert route.public == (shape in PUBLIC_SHAPES)


@pytest.mark.parametrize(
    "route",
    [route for route in ROUTES if route.method in UNSAFE],
    ids=lambda route: f"{route.method} {route.template}",
)
def test_every_unsafe_route_is_covered_by_the_csrf_check(route: Route) -> None:
    if route.template == "/api/auth/refresh":
        assert not route.csrf
    else:
        assert route.csrf or route.public
    # The one route whose caller, a service worker, can send no header.
    assert route.same_origin_will_do == (route.template == "/api/push/subscribe")


def test_no_unsafe_route_can_be_reached_but_through_the_table() -> None:
    unsafe = {each.shape for each in ENDPOINTS if each.method in UNSAFE and not each.is_internal}
    assert unsafe <= set(TABLE)


@pytest.mark.parametrize("endpoint", SERVED.values(), ids=where)
def test_gateway_and_services_agree_on_what_needs_clinical_services(endpoint: Endpoint) -> None:
    guarded = any(isinstance(each, ClinicalServicesGuard) for each in endpoint.dependencies())
    assert TABLE[endpoint.shape].clinical == guarded


def test_the_table_names_services_that_exist() -> None:
    assert {route.service for route in ROUTES} == {*SERVICES, "gateway"}


async def test_a_guard_is_recognised_by_what_it_does() -> None:
    assert await turns_strangers_away(SignedInGuard())
    assert await turns_strangers_away(PermissionGuard(SystemPermission.ADMIN, "no"))
    assert await turns_strangers_away(require_service)
    assert not await turns_strangers_away(OptionalGuard())
    assert not await turns_strangers_away(clinical_services.dependency)
    assert not await turns_strangers_away(lambda: None)
