"""Health of the whole, documentation of the whole, and the log of who asked what."""

import asyncio
import json
import logging
import re
import socket
from io import StringIO
from typing import Any

import pytest

from quill_gateway.accesslog import AccessLog, Entry
from quill_gateway.openapi import merge
from quill_gateway.routes import ROUTES, Route
from quill_gateway.testing import SERVICES, World
from quill_shared.platform.logs import JsonFormatter


def ready(service: str, *, database: bool = True, **upstreams: bool) -> dict[str, Any]:
    return {
        "status": "ready" if database else "not_ready",
        "service": service,
        "checks": {"database": {"available": database}, "bus": {"available": True}},
        "upstreams": {name: {"available": works} for name, works in upstreams.items()},
    }


def all_ready(gateway: World) -> None:
    upstreams = {"patients": {"fhir": True}, "messaging": {"fhir": True}, "letters": {"ehrbase": True}}
    for service in SERVICES:
        gateway.services.answer(ready(service, **upstreams.get(service, {})), at=f"{service}/health/ready")


async def test_all_is_well(gateway: World) -> None:
    all_ready(gateway)
    status, headers, body = await gateway.get("/api/health")
    assert (status, body["status"], headers["Cache-Control"]) == (200, "healthy", "no-store")
    assert set(body["services"]) == {"auth_db", "fhir", "ehrbase", "rabbitmq", *SERVICES}
    assert all(each["available"] is True for each in body["services"].values())
    assert body["services"]["rabbitmq"] == {"available": True, "transport": "embedded"}


async def test_what_is_down_is_named_and_the_answer_stays_200(gateway: World) -> None:
    all_ready(gateway)
    gateway.services.answer(ready("patients", fhir=False), at="patients/health/ready")
    gateway.services.answer(ready("letters", ehrbase=False), at="letters/health/ready")
    gateway.services.answer(ready("auth", database=False), at="auth/health/ready", status=503)
    status, _, body = await gateway.get("/api/health")
    assert (status, body["status"]) == (200, "degraded")
    down = {name for name, each in body["services"].items() if not each["available"]}
    assert down == {"fhir", "ehrbase", "auth_db", "auth"}


async def test_a_service_that_is_away_or_talks_nonsense_is_down(open_gateway: Any) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        gateway = await open_gateway(orgs_url=f"http://127.0.0.1:{probe.getsockname()[1]}")
        all_ready(gateway)
        gateway.services.answer(b"<html>", at="messaging/health/ready")
        gateway.services.answer([1], at="letters/health/ready")
        status, _, body = await gateway.get("/api/health")
    down = {name for name, each in body["services"].items() if not each["available"]}
    assert (status, down) == (200, {"orgs", "messaging", "letters", "ehrbase"})
    assert "127.0.0.1" not in json.dumps(body)


async def test_probes_are_shared_and_renewed(gateway: World) -> None:
    all_ready(gateway)
    await asyncio.gather(*(gateway.get("/api/health") for _ in range(20)))
    assert len([seen for seen in gateway.services.seen if seen.service == "auth"]) == 1
    gateway.services.answer(ready("patients", fhir=False), at="patients/health/ready")
    await asyncio.sleep(0.5)
    assert (await gateway.get("/api/health"))[2]["status"] == "degraded"
    all_ready(gateway)
    await asyncio.sleep(0.5)
    assert (await gateway.get("/api/health"))[2]["status"] == "healthy"


async def test_without_clinical_services_their_absence_is_healthy(open_gateway: Any) -> None:
    gateway = await open_gateway(clinical_services=False)
    for service in SERVICES:
        gateway.services.answer(ready(service), at=f"{service}/health/ready")
    body = (await gateway.get("/api/health"))[2]
    assert body["status"] == "healthy"
    assert body["services"]["fhir"] == {"available": False, "enabled": False}


def document(paths: dict[str, Any], schemas: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"openapi": "3.1.0", "info": {}, "paths": paths, "components": {"schemas": schemas or {}}}


def operation(schema: str, name: str = "op") -> dict[str, Any]:
    reference = {"$ref": f"#/components/schemas/{schema}"}
    content = {"application/json": {"schema": reference}}
    return {"operationId": name, "tags": ["x"], "responses": {"200": {"content": content}}}


TABLE = (
    Route("GET", "/api/a/{id}", "auth"),
    Route("POST", "/api/b", "orgs", public=True),
    Route("GET", "/api/c", "letters"),
)


def test_documents_are_merged_by_the_route_table() -> None:
    merged = merge(
        {
            "auth": document(
                {"/api/a/{user_id}": {"get": operation("Item")}, "/internal/x": {"get": {}}}, {"Item": {}}
            ),
            "orgs": document({"/api/b": {"post": operation("Item"), "get": operation("Item")}}, {"Item": {}}),
        },
        TABLE,
    )
    assert {(path, method) for path, item in merged["paths"].items() for method in item} == {
        ("/api/a/{user_id}", "get"),
        ("/api/b", "post"),
    }
    one, two = merged["paths"]["/api/a/{user_id}"]["get"], merged["paths"]["/api/b"]["post"]
    assert (one["tags"], two["tags"], two["security"]) == (["auth"], ["orgs"], [])
    assert "security" not in one
    assert one["operationId"] != two["operationId"]
    assert set(merged["components"]["schemas"]) == {"Item"}


def test_components_that_differ_get_names_of_their_own() -> None:
    reference = {"$ref": "#/components/schemas/Item"}
    merged = merge(
        {
            "auth": document(
                {"/api/a/{id}": {"get": operation("List")}},
                {"Item": {"type": "string"}, "List": {"items": reference}, "Same": {"type": "null"}},
            ),
            "orgs": document(
                {"/api/b": {"post": operation("List")}},
                {"Item": {"type": "integer"}, "List": {"items": reference}, "Same": {"type": "null"}},
            ),
        },
        TABLE,
    )
    schemas = merged["components"]["schemas"]
    assert schemas["Item"] == {"type": "string"}
    assert schemas["OrgsItem"] == {"type": "integer"}
    assert schemas["List"] == {"items": {"$ref": "#/components/schemas/Item"}}
    assert schemas["OrgsList"] == {"items": {"$ref": "#/components/schemas/OrgsItem"}}
    assert set(schemas) == {"Item", "List", "Same", "OrgsItem", "OrgsList"}
    content = merged["paths"]["/api/b"]["post"]["responses"]["200"]["content"]
    assert content["application/json"]["schema"] == {"$ref": "#/components/schemas/OrgsList"}


async def test_the_merged_document_survives_a_service_that_is_away(open_gateway: Any) -> None:
    gateway = await open_gateway(env="development")
    for service, path in (("auth", "/api/users"), ("orgs", "/api/organizations"), ("letters", "/api/c")):
        gateway.services.answer(document({path: {"get": operation("X")}}), at=f"{service}/openapi.json")
    body = (await gateway.get("/api/openapi.json"))[2]
    assert set(body["paths"]) == {
        "/api/health",
        "/health/live",
        "/health/ready",
        "/api/users",
        "/api/organizations",
    }
    flow = body["components"]["securitySchemes"]["OAuth2"]["flows"]["password"]
    assert flow["tokenUrl"] == "/api/auth/token"
    gateway.services.answer(b"broken", at="orgs/openapi.json", status=500)
    gateway.gateway.document._made_at = float("-inf")
    assert "/api/organizations" in (await gateway.get("/api/openapi.json"))[2]["paths"]


@pytest.mark.parametrize("page", ["/api/docs", "/api/redoc"])
async def test_the_pages_use_files_of_ours_only(open_gateway: Any, page: str) -> None:
    gateway = await open_gateway(env="development")
    status, headers, body = await gateway.get(page)
    assert (status, headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert "script-src 'self';" in headers["Content-Security-Policy"]
    html = body.decode()
    assert re.findall(r"<script(?![^>]*src=)", html) == []
    assets = re.findall(r'(?:src|href)="([^"]+)"', html)
    assert len(assets) >= 3
    for asset in assets:
        assert asset.startswith("/api/docs/assets/")
        status, headers, content = await gateway.get(asset)
        assert (status, len(content) > 50) == (200, True), asset
    assert (await gateway.get("/api/docs/assets/unknown.js"))[0] == 404


async def test_production_shows_no_documentation(gateway: World) -> None:
    for path in (
        "/api/docs",
        "/api/redoc",
        "/api/openapi.json",
        "/api/docs/assets/swagger.js",
        "/openapi.json",
    ):
        assert (await gateway.get(path))[0] == 404


def test_every_page_route_is_one_of_the_documentation() -> None:
    assert {route.template for route in ROUTES if route.docs} == {
        "/api/docs",
        "/api/redoc",
        "/api/openapi.json",
        "/api/docs/assets/{name}",
    }


async def test_the_access_log_names_routes_and_ids_never_what_was_typed(open_gateway: Any) -> None:
    stream = StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter("gateway"))
    logger = logging.getLogger("quill_access")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        gateway = await open_gateway()
        headers = {**gateway.mint.bearer(42, session_id='s"42'), "X-Request-ID": "request-0001"}
        await gateway.get("/api/patients/Canarygiven?q=Canaryfamily", headers=headers)
        await gateway.get("/api/Canarygiven")
        await gateway.get("/api/users")
        gateway.gateway.access_log.flush()
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
    assert "Canary" not in stream.getvalue()
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [(line["route"], line["status"]) for line in lines] == [
        ("/api/patients/{id}", 200),
        ("-", 404),
        ("/api/users", 401),
    ]
    first = lines[0]
    assert (first["user_id"], first["session_id"], first["request_id"]) == (42, 's"42', "request-0001")
    assert (first["method"], first["upstream"], first["message"]) == ("GET", "patients", "request")
    assert first["duration_ms"] > 0
    assert len(first["trace_id"]) == 32


async def test_the_access_log_writes_by_itself_and_in_batches() -> None:
    class Kept(logging.Handler):
        def __init__(self) -> None:
            super().__init__()
            self.records: list[logging.LogRecord] = []

        def emit(self, record: logging.LogRecord) -> None:
            self.records.append(record)

    kept = Kept()
    logger = logging.getLogger("quill_access")
    logger.addHandler(kept)
    try:
        log = AccessLog()
        entry = Entry(1.0, "GET", "/api/x", 200, 0.001, "auth", "r", "t", None, None)
        log.add(entry)
        assert kept.records == []
        await asyncio.sleep(0.35)
        assert len(kept.records) == 1
        for _ in range(512):
            log.add(entry)
        assert len(kept.records) == 513
    finally:
        logger.removeHandler(kept)
