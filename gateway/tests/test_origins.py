"""What pages of other origins may do."""

from typing import Any

import pytest
from pydantic import ValidationError

from quill_gateway.settings import GatewaySettings
from quill_gateway.testing import World
from quill_shared.platform.testing.services import secret

PWA = "https://pwa.example"


async def test_by_default_no_other_origin_may_do_anything(gateway: World) -> None:
    headers = {"Origin": PWA, "Access-Control-Request-Method": "POST"}
    status, answered, _ = await gateway.call("OPTIONS", "/api/patients", headers=headers)
    assert status == 204
    assert not [name for name in answered if name.lower().startswith("access-control-")]
    _, answered, _ = await gateway.get("/api/patients", headers={**gateway.mint.bearer(), "Origin": PWA})
    assert "Access-Control-Allow-Origin" not in answered


async def test_a_listed_origin_may_call_with_cookies(open_gateway: Any) -> None:
    gateway = await open_gateway(cors_origins=(PWA, "http://localhost:5173"))
    preflight = {
        "Origin": PWA,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "content-type,x-csrf-token",
    }
    status, answered, _ = await gateway.call("OPTIONS", "/api/patients", headers=preflight)
    assert status == 204
    assert answered["Access-Control-Allow-Origin"] == PWA
    assert answered["Access-Control-Allow-Credentials"] == "true"
    assert answered["Access-Control-Allow-Methods"] == "GET, HEAD, OPTIONS, POST"
    assert "X-CSRF-Token" in answered["Access-Control-Allow-Headers"]
    assert answered["Vary"] == "Origin"
    assert gateway.services.seen == []

    for call in (
        gateway.get("/api/patients", headers={**gateway.mint.bearer(), "Origin": PWA}),
        gateway.get("/api/patients", headers={"Origin": PWA}),
        gateway.get("/api/health", headers={"Origin": PWA}),
    ):
        _, answered, _ = await call
        assert answered.getall("Access-Control-Allow-Origin") == [PWA]
        assert "X-Request-ID" in answered["Access-Control-Expose-Headers"]
        assert answered["Cross-Origin-Resource-Policy"] == "cross-origin"


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "https://pwa.example.evil.example",
        "http://pwa.example",
        "null",
        f"{PWA}:8443",
        "",
    ],
)
async def test_another_origin_may_not(open_gateway: Any, origin: str) -> None:
    gateway = await open_gateway(cors_origins=(PWA,))
    headers = {"Origin": origin, "Access-Control-Request-Method": "POST"}
    _, answered, _ = await gateway.call("OPTIONS", "/api/patients", headers=headers)
    assert "Access-Control-Allow-Origin" not in answered
    _, answered, _ = await gateway.get("/api/patients", headers={**gateway.mint.bearer(), "Origin": origin})
    assert "Access-Control-Allow-Origin" not in answered
    assert answered["Vary"] == "Origin"


async def test_options_tells_the_methods_of_paths_that_exist(gateway: World) -> None:
    status, answered, _ = await gateway.call("OPTIONS", "/api/patients/p1")
    assert (status, answered["Allow"]) == (204, "GET, HEAD, OPTIONS, PATCH")
    assert (await gateway.call("OPTIONS", "/api/unknown"))[0] == 404


async def test_a_wildcard_in_development_is_without_cookies(open_gateway: Any) -> None:
    gateway = await open_gateway(env="development", cors_origins=("*",))
    _, answered, _ = await gateway.get("/api/health", headers={"Origin": "https://any.example"})
    assert answered["Access-Control-Allow-Origin"] == "*"
    assert "Access-Control-Allow-Credentials" not in answered


@pytest.mark.parametrize(
    "values",
    [
        {"cors_origins": ("*",)},
        {"cors_origins": ("https://a.example/path",)},
        {"cors_origins": ("a.example",)},
        {"cors_origins": ("https://a.example, https://b.example",)},
        {"csrf_key": "short"},
        {"csrf_key": "same"},
    ],
    ids=str,
)
def test_settings_that_open_a_door_are_refused(values: dict[str, Any]) -> None:
    key = secret()
    given = {"env": "production", "service_key": key, "csrf_key": secret(), **values}
    if given["csrf_key"] == "same":
        given["csrf_key"] = key
    with pytest.raises(ValidationError):
        GatewaySettings(**given)
