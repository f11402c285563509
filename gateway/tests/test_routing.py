"""Which paths exist, and which spellings of them are refused."""

import re
from urllib.parse import quote, unquote_to_bytes

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from quill_gateway.errors import InvalidPath, MethodNotAllowed, UriTooLong
from quill_gateway.matching import RouteTable, check_path, check_query
from quill_gateway.routes import ROUTES, Route
from quill_gateway.testing import World
from quill_shared.platform.errors import BadRequest, NotFound

TABLE = RouteTable(ROUTES)


def test_every_route_is_found_under_its_own_name() -> None:
    for route in ROUTES:
        path = re.sub(r"\{[^}]+\}", "x-1", route.template).encode()
        check_path(path)
        assert TABLE.find(route.method, path) is route


def test_the_public_routes_are_these() -> None:
    assert {route.template for route in ROUTES if route.public and not route.docs} == {
        "/api/health",
        "/health/live",
        "/health/ready",
        "/api/auth/login",
        "/api/auth/organizations",
        "/api/auth/register",
        "/api/auth/forgot-password",
        "/api/auth/reset-password",
        "/api/auth/token",
        "/api/auth/refresh",
        "/api/accept-invite",
        "/api/fhir/metadata",
    }


def test_nothing_else_is_exempt_from_csrf() -> None:
    unsafe = [route for route in ROUTES if route.method != "GET"]
    assert [route.template for route in unsafe if not route.csrf] == ["/api/auth/refresh"]
    assert {route.template for route in unsafe if route.same_origin_will_do} == {"/api/push/subscribe"}


def test_only_the_refresh_route_hands_on_a_cookie() -> None:
    assert [(route.template, route.cookie) for route in ROUTES if route.cookie] == [
        ("/api/auth/refresh", "refresh_token")
    ]


def test_a_literal_segment_wins_and_a_parameter_is_the_second_choice() -> None:
    table = RouteTable(
        [
            Route("POST", "/api/patients/verify", "patients"),
            Route("GET", "/api/patients/{id}", "patients"),
            Route("GET", "/api/patients/verify/letters", "letters"),
            Route("GET", "/api/patients/{id}/history", "patients"),
        ]
    )
    assert table.find("POST", b"/api/patients/verify").template == "/api/patients/verify"
    assert table.find("GET", b"/api/patients/verify").template == "/api/patients/{id}"
    assert table.find("GET", b"/api/patients/verify/history").template == "/api/patients/{id}/history"
    with pytest.raises(MethodNotAllowed) as refused:
        table.find("DELETE", b"/api/patients/verify")
    assert refused.value.headers["Allow"] == "GET, HEAD, OPTIONS, POST"


def test_a_route_stands_in_the_table_once() -> None:
    with pytest.raises(ValueError, match="twice"):
        RouteTable([Route("GET", "/a/{x}", "auth"), Route("GET", "/a/{y}", "auth")])


@pytest.mark.parametrize(
    "path",
    [
        "/api",
        "/api/",
        "/api/patients/",
        "/api/Patients",
        "/api/unknown",
        "/internal/revocations",
        "/openapi.json",
        "/.well-known/jwks.json",
        "/",
        "/api/patients/p1/letters/u/pdf/more",
    ],
)
async def test_what_is_not_in_the_table_does_not_exist(gateway: World, path: str) -> None:
    status, _, body = await gateway.get(path, headers=gateway.mint.bearer(perm="superadmin"))
    assert (status, body["error_code"]) == (404, "not_found")
    assert gateway.services.seen == []


async def test_an_unknown_path_is_404_even_to_strangers_and_a_wrong_method_405(gateway: World) -> None:
    assert (await gateway.get("/api/unknown"))[0] == 404
    status, headers, body = await gateway.call("DELETE", "/api/users")
    assert (status, headers["Allow"]) == (405, "GET, HEAD, OPTIONS, POST")
    assert body["error_code"] == "method_not_allowed"
    assert gateway.services.seen == []


@pytest.mark.parametrize(
    "path",
    [
        "/api/patients/..",
        "/api/patients/../users",
        "/api/patients/./x",
        "/api/patients/.",
        "/api/patients/%2e%2e",
        "/api/patients/%2E%2e/users",
        "/api/patients/.%2e",
        "/api/patients/%2e",
        "/api/patients/a%2fb",
        "/api/patients/a%2Fb",
        "/api/patients/a%5cb",
        "/api/patients/a%5Cb",
        "/api/patients/a\\b",
        "/api//patients",
        "//api/patients",
        "/api/patients//x",
        "/api/patients/%00",
        "/api/patients/a%0ab",
        "/api/patients/%7f",
        "/api/patients/%c2%85",
        "/api/patients/%ff",
        "/api/patients/%c0%ae%c0%ae",
        "/api/patients/%c0%af",
        "/api/patients/%ed%a0%80",
        "/api/patients/%",
        "/api/patients/%2",
        "/api/patients/%zz",
        "/api/patients/%u002f",
        '/api/patients/a"b',
        "/api/patients/<x>",
        "/api/patients/{id}",
        "/api/patients/a|b",
        "/api/patients/a^b",
    ],
)
async def test_a_path_with_two_readings_is_refused(gateway: World, path: str) -> None:
    answer = await gateway.raw(
        b"GET %s HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer %s\r\nConnection: close\r\n\r\n"
        % (path.encode(), gateway.mint.token().encode())
    )
    assert answer.split(b" ")[1] in (b"400", b"404"), answer[:200]
    assert b"x-content-type-options: nosniff" in answer
    assert gateway.services.seen == []


async def test_what_a_path_may_hold_arrives_as_it_was_sent(gateway: World) -> None:
    for segment in (
        "ABC-1.2",
        "uid::quill.local::2",
        "a%20b",
        "%C3%A9",
        "100%25",
        "a%252fb",
        "x;y=1",
        "~_!$&'()*+,=",
    ):
        path = f"/api/patients/p.1/letters/{segment}"
        status, _, _ = await gateway.get(path, headers=gateway.mint.bearer())
        assert (status, gateway.services.last.path) == (200, path)


async def test_an_endless_path_or_query_is_414(gateway: World) -> None:
    assert (await gateway.get("/api/patients/" + "a" * 1100))[0] == 414
    assert (await gateway.get("/api/patients?q=" + "a" * 8200))[0] == 414


async def test_the_query_string_arrives_as_it_was_sent(gateway: World) -> None:
    query = "identifier=https://fhir.nhs.uk/Id/nhs-number|943&name=O%27Neil&_count=5&x=%2e%2e%2f&&=&a"
    await gateway.get(f"/api/fhir/Patient?{query}", headers=gateway.mint.bearer())
    assert gateway.services.last.query == query
    status, _, body = await gateway.get("/api/patients?q=a%00b", headers=gateway.mint.bearer())
    assert (status, body["error_code"]) == (400, "invalid_query")
    assert "a%00b" not in str(body)


@pytest.mark.parametrize("raw", [b"a b", b"\xff", b"a\x00", b"a\n", b"%00", b"x" * 9000])
def test_a_query_string_is_printable_ascii(raw: bytes) -> None:
    with pytest.raises((BadRequest, UriTooLong)):
        check_query(raw)


@settings(max_examples=400)
@given(st.lists(st.text(min_size=1, max_size=12), min_size=1, max_size=6))
@example([".."])
@example(["a", "."])
def test_an_accepted_path_has_one_reading(segments: list[str]) -> None:
    path = "".join("/" + quote(segment.encode("utf-8", "surrogatepass"), safe="") for segment in segments)
    path = path.replace("%2E", ".") if path.count("%2E") % 2 else path
    raw = path.encode()
    try:
        check_path(raw)
    except (InvalidPath, UriTooLong):
        return
    decoded = unquote_to_bytes(raw)
    assert decoded.decode() == "/" + "/".join(segments)
    assert decoded.count(b"/") == raw.count(b"/") == len(segments)
    assert not {b"", b".", b".."} & set(decoded.split(b"/")[1:])
    assert b"\\" not in decoded
    assert min(decoded) >= 0x20


@settings(max_examples=400)
@given(st.binary(max_size=60).map(lambda tail: b"/" + tail))
def test_any_bytes_are_accepted_or_refused_and_never_break(raw: bytes) -> None:
    try:
        check_path(raw)
    except (InvalidPath, UriTooLong):
        return
    assert raw.isascii()
    try:
        TABLE.find("GET", raw)
    except (NotFound, MethodNotAllowed):
        return


@settings(max_examples=200)
@given(
    st.sampled_from([route for route in ROUTES if "{" in route.template]),
    st.lists(st.from_regex(r"[A-Za-z0-9_~-][A-Za-z0-9._~-]{0,20}", fullmatch=True), min_size=3, max_size=3),
)
def test_a_filled_in_template_leads_to_its_service(route: Route, values: list[str]) -> None:
    filled = iter(values)
    path = re.sub(r"\{[^}]+\}", lambda _: next(filled), route.template).encode()
    found = TABLE.find(route.method, path)
    assert found is route or "{" not in found.template.rpartition("/")[2]
