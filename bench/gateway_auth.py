"""What the gateway asks of auth, for the benchmark: a key set and an empty revocation list."""

import argparse
from datetime import UTC, datetime
from pathlib import Path

from aiohttp import web


def application(key_set: str) -> web.Application:
    """The two routes."""

    async def keys(request: web.Request) -> web.Response:
        return web.Response(text=key_set, content_type="application/json")

    async def revocations(request: web.Request) -> web.Response:
        return web.json_response(
            {"sessions": [], "users": [], "versions": [], "as_of": datetime.now(UTC).isoformat()}
        )

    app = web.Application()
    app.router.add_get("/.well-known/jwks.json", keys)
    app.router.add_get("/internal/revocations", revocations)
    return app


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--key-set", type=Path, required=True)
    arguments = parser.parse_args()
    web.run_app(
        application(arguments.key_set.read_text()),
        host="127.0.0.1",
        port=arguments.port,
        print=None,
        access_log=None,
    )


if __name__ == "__main__":
    main()
