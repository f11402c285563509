"""One request, one transaction: what is committed, when, and how a failure reads."""

import asyncio
import gc
import logging
from typing import Any

import pytest
from notes import note
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from quill_shared.platform.testing.services import CANARY_FAMILY, Canary, RunningService


async def notes_in(notes: RunningService) -> list[str]:
    """Ids of the notes that are committed."""
    async with notes.runtime.database.engine.connect() as connection:
        return list(await connection.scalars(select(note.c.id).order_by(note.c.id)))


async def test_a_write_is_committed_before_the_answer_leaves(notes: RunningService) -> None:
    answer = await notes.client.post("/api/notes", json={"id": "a"})

    assert answer.status_code == 200
    assert await notes_in(notes) == ["a"]


async def test_a_commit_that_fails_is_a_5xx_and_no_success(notes: RunningService) -> None:
    answer = await notes.client.post("/api/late")

    assert answer.status_code == 500
    assert answer.json()["error_code"] == "internal_error"
    assert "late" not in answer.text.replace("/api/late", "")


async def test_a_commit_that_breaks_off_is_a_5xx(
    notes: RunningService, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(_: AsyncSession) -> None:
        raise ConnectionResetError

    monkeypatch.setattr(AsyncSession, "commit", broken)

    answer = await notes.client.post("/api/notes", json={"id": "a"})

    assert answer.status_code == 503
    assert await notes_in(notes) == []


@pytest.mark.parametrize(("kept", "status", "left"), [(False, 400, []), (True, 429, ["refused"])])
async def test_a_refusal_keeps_only_what_it_must(
    notes: RunningService, kept: bool, status: int, left: list[str]
) -> None:
    answer = await notes.client.post(f"/api/refuse?kept={kept}")

    assert answer.status_code == status
    assert await notes_in(notes) == left


async def test_an_unforeseen_fault_tells_nothing(notes: RunningService, canary: Canary) -> None:
    answer = await notes.client.post("/api/twice")

    problem = answer.json()
    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert problem["detail"] == "Internal server error"
    assert problem["instance"] == "/api/twice"
    assert len(problem["trace_id"]) == 32
    assert "note" not in answer.text.replace("notes", "")


async def test_the_caller_is_checked_before_the_body(notes: RunningService) -> None:
    del notes.client.headers["X-Name"]

    answer = await notes.client.post(
        "/api/notes", content=b"{broken", headers={"Content-Type": "application/json"}
    )

    assert (answer.status_code, answer.json()["detail"]) == (401, "Not authenticated")
    assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize(
    ("body", "loc"),
    [
        (b"{broken", ["body", 1]),
        (b'{"id": "\\ud800"}', ["body", "id"]),
        (b'{"id": "a\\u0000"}', ["body", "id"]),
        (b'{"id": 1}', ["body", "id"]),
        (b'{"id": "a", "more": 1}', ["body", "more"]),
        (b'{"id": "a", "\\ud800": 1}', ["body"]),
        (b"null", ["body"]),
        (b"[]", ["body"]),
    ],
)
async def test_a_bad_body_is_a_422_that_names_the_field(
    notes: RunningService, body: bytes, loc: list[Any]
) -> None:
    answer = await notes.client.post("/api/notes", content=body, headers={"Content-Type": "application/json"})

    assert answer.status_code == 422
    assert [error["loc"] for error in answer.json()["errors"]] == [loc]
    assert set(answer.json()["errors"][0]) == {"loc", "msg", "type"}


@pytest.mark.parametrize("number", ["9223372036854775808", "-1", "0", "1.5", "x", "", "1e3"])
async def test_a_number_beyond_64_bits_or_none_is_a_422(notes: RunningService, number: str) -> None:
    answer = await notes.client.get("/api/numbers", params={"number": number})

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["loc"] == ["query", "number"]


async def test_a_nul_in_the_address_is_refused(notes: RunningService) -> None:
    answer = await notes.client.get("/api/numbers?number=%00")

    assert (answer.status_code, answer.json()["error_code"]) == (400, "nul_character")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/api/nothing", 404), ("DELETE", "/api/notes", 405), ("GET", "/", 404)],
)
async def test_no_such_route_is_a_problem_too(
    notes: RunningService, method: str, path: str, status: int
) -> None:
    answer = await notes.client.request(method, path)

    assert (answer.status_code, answer.json()["status"]) == (status, status)
    assert answer.headers["content-type"] == "application/problem+json"


async def test_a_request_keeps_its_well_formed_id_and_trace(notes: RunningService, canary: Canary) -> None:
    trace_id = "0af7651916cd43dd8448eb211c80319c"

    answer = await notes.client.post(
        "/api/notes",
        json={"id": "a"},
        headers={"X-Request-ID": "my-request-1", "traceparent": f"00-{trace_id}-b7ad6b7169203331-01"},
    )

    assert answer.headers["x-request-id"] == "my-request-1"
    (event,) = await notes.recorded()
    assert event["correlationid"] == "my-request-1"
    assert event["traceparent"].split("-")[1] == trace_id
    assert canary.traces("POST /api/notes") == {trace_id}


@pytest.mark.parametrize("request_id", ["short", "x" * 65, "has space in it", "semi;colon-id"])
async def test_an_odd_request_id_is_replaced(notes: RunningService, request_id: str) -> None:
    answer = await notes.client.get("/api/numbers?number=1", headers={"X-Request-ID": request_id})

    assert answer.headers["x-request-id"] != request_id
    assert len(answer.headers["x-request-id"]) == 36


async def test_logs_keep_allowed_fields_and_no_words_of_an_exception(
    notes: RunningService, canary: Canary
) -> None:
    logger = logging.getLogger("quill_shared.test")
    try:
        raise ValueError(f"bad name {CANARY_FAMILY}")
    except ValueError:
        logger.exception("failed", extra={"status": 500, "patient_name": CANARY_FAMILY})
    logging.getLogger("somelibrary").info("%s is here", CANARY_FAMILY)

    assert canary.found() == []


async def test_an_exception_nobody_took_is_logged_without_its_words(canary: Canary) -> None:
    async def fail() -> None:
        raise ValueError(f"bad name {CANARY_FAMILY}")

    task = asyncio.create_task(fail())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    del task
    gc.collect()
    await asyncio.sleep(0)

    assert any("Task exception was never retrieved" in line for line in canary.lines())
    assert canary.found() == []


async def test_the_canary_is_found_where_it_should_not_be(canary: Canary) -> None:
    canary.keep("log", f"hello {CANARY_FAMILY}")

    assert len(canary.found()) == 1
    canary.forget()
