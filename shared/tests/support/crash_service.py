"""Runs the notes service as a process that may be told to die: `crash_service.py URL UPSTREAM NOTES`.

Writes as many notes as it is asked to, in two waves, prints `ack <id>` for each that was acknowledged,
waits until nothing is left to do, and prints `settled`.
"""

import asyncio
import secrets
import sys
from pathlib import Path

import httpx
from notes import definition
from sqlalchemy import func, select

from quill_shared.platform.app import create_app
from quill_shared.platform.bus import EmbeddedTransport
from quill_shared.platform.database import Database
from quill_shared.platform.tables import outbox, upstream_intent


async def left(database: Database) -> int:
    """Events and intents that are not finished."""
    async with database.engine.connect() as connection:
        events = select(func.count()).select_from(outbox).where(outbox.c.published_at.is_(None))
        intents = select(func.count()).select_from(upstream_intent)
        return (await connection.scalar(events) or 0) + (await connection.scalar(intents) or 0)


async def main(url: str, upstream: Path, count: int) -> None:
    """Writes, then waits."""
    settings = definition.settings(
        env="development",
        service_key=secrets.token_urlsafe(48),
        database_url=url,
        upstream=upstream,
        intent_grace_seconds=0.3,
    )
    app = create_app(definition, settings=settings, transport=EmbeddedTransport(), role="all")
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://notes.test") as client,
    ):

        async def write() -> None:
            name = secrets.token_hex(8)
            answer = await client.post("/api/notes", json={"id": name}, headers={"X-Name": "tester"})
            if answer.status_code == 200:
                print("ack", name, flush=True)

        for _ in range(2):
            await asyncio.gather(*(write() for _ in range(count // 2)))
            async with asyncio.timeout(20):
                while await left(app.state.runtime.database):
                    await asyncio.sleep(0.02)
    print("settled", flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])))
