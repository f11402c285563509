"""What the gateway answers itself: the health of the whole, and the documentation.

The pages use assets from this installation only: hospital networks are closed.
"""

from functools import cache
from html import escape
from importlib import resources
from typing import Any, Final

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, Response

from quill_shared.platform.errors import NotFound

from .gateway import Gateway

__all__ = ["router"]

router = APIRouter(tags=["gateway"])

_ASSETS: Final = {
    "swagger-ui-bundle.js": ("fastapi_offline", "static/swagger-ui-bundle.js", "text/javascript"),
    "swagger-ui.css": ("fastapi_offline", "static/swagger-ui.css", "text/css"),
    "redoc.standalone.js": ("fastapi_offline", "static/redoc.standalone.js", "text/javascript"),
    "favicon.png": ("fastapi_offline", "static/favicon.png", "image/png"),
    "swagger.js": ("quill_gateway", "assets/swagger.js", "text/javascript"),
    "redoc.js": ("quill_gateway", "assets/redoc.js", "text/javascript"),
}


def _gateway(request: Request) -> Gateway:
    gateway: Gateway = request.app.state.runtime.context
    return gateway


@router.get("/api/health", summary="Health of the whole system")
async def health(request: Request) -> dict[str, Any]:
    """Always 200. `status` is "healthy" or "degraded"; `services` says for each whether it is available."""
    return await _gateway(request).health.report()


@router.get("/api/openapi.json", include_in_schema=False)
async def openapi(request: Request) -> dict[str, Any]:
    """All six applications' routes."""
    return await _gateway(request).document.get(request.app.openapi())


@router.get("/api/docs", include_in_schema=False)
async def docs() -> HTMLResponse:
    """Swagger UI."""
    return _page(
        "Quill API",
        '<div id="swagger-ui"></div>',
        stylesheet="swagger-ui.css",
        scripts=("swagger-ui-bundle.js", "swagger.js"),
    )


@router.get("/api/redoc", include_in_schema=False)
async def redoc() -> HTMLResponse:
    """ReDoc."""
    return _page("Quill API", '<div id="redoc"></div>', scripts=("redoc.standalone.js", "redoc.js"))


@router.get("/api/docs/assets/{name}", include_in_schema=False)
async def asset(name: str) -> Response:
    """A file of the pages above."""
    if name not in _ASSETS:
        raise NotFound
    return Response(
        _content(name), media_type=_ASSETS[name][2], headers={"Cache-Control": "public, max-age=3600"}
    )


@cache
def _content(name: str) -> bytes:
    package, path, _ = _ASSETS[name]
    return resources.files(package).joinpath(path).read_bytes()


def _page(
    title: str, content: str, *, scripts: tuple[str, ...], stylesheet: str | None = None
) -> HTMLResponse:
    link = f'<link rel="stylesheet" href="/api/docs/assets/{stylesheet}">' if stylesheet else ""
    tags = "".join(f'<script src="/api/docs/assets/{script}"></script>' for script in scripts)
    return HTMLResponse(
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title>"
        '<link rel="icon" href="/api/docs/assets/favicon.png">'
        f"{link}</head><body>{content}{tags}</body></html>"
    )
