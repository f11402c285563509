"""The gateway one writes in an afternoon: a FastAPI handler, PyJWT and an httpx client."""

import argparse
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated

import httpx
import jwt
import uvicorn
from fastapi import Depends, FastAPI, HTTPException, Request, Response
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

bearer = HTTPBearer()


def application(origin: str, public_key: str) -> FastAPI:
    """Verifies the token of every request and passes it on."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with httpx.AsyncClient(base_url=origin, limits=httpx.Limits(max_connections=100)) as client:
            app.state.client = client
            yield

    app = FastAPI(lifespan=lifespan)

    def caller(credentials: Annotated[HTTPAuthorizationCredentials, Depends(bearer)]) -> str:
        try:
            claims = jwt.decode(
                credentials.credentials,
                public_key,
                algorithms=["RS256"],
                issuer="quill",
                audience="quill-api",
            )
        except jwt.InvalidTokenError:
            raise HTTPException(401) from None
        return str(claims["sub"])

    @app.api_route("/{path:path}", methods=["GET", "POST", "PUT", "PATCH", "DELETE"])
    async def forward(path: str, request: Request, user: Annotated[str, Depends(caller)]) -> Response:
        client: httpx.AsyncClient = request.app.state.client
        headers = {name: value for name, value in request.headers.items() if name != "host"}
        answer = await client.request(
            request.method,
            f"/{path}",
            params=request.query_params,
            headers=headers,
            content=await request.body(),
        )
        media_type = answer.headers.get("content-type")
        return Response(answer.content, status_code=answer.status_code, media_type=media_type)

    return app


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--origin", required=True)
    parser.add_argument("--public-key", type=Path, required=True)
    arguments = parser.parse_args()
    app = application(arguments.origin, arguments.public_key.read_text())
    uvicorn.run(
        app,
        host="127.0.0.1",
        port=arguments.port,
        loop="uvloop",
        http="httptools",
        access_log=False,
        log_level="error",
    )


if __name__ == "__main__":
    main()
