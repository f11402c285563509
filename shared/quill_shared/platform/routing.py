"""The route class of every Quill router.

In this order: who may call (guards), then the body, then the handler, then the commit, and only then
does the answer leave. In current FastAPI what follows a dependency's `yield` runs after the response
went out; a commit there could fail after the client saw success (ADR 0001).
"""

from collections.abc import Callable, Coroutine, Iterator
from typing import Annotated, Any, ClassVar

from fastapi import APIRouter, Depends
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response

from .crashpoints import crash_point
from .database import UnitOfWork
from .errors import BadRequest, Error


class Guard:
    """Says who may call a route. Declared as a dependency, evaluated before the body is read.

    A subclass implements `check`, which answers the caller or raises 401 or 403.
    """

    about_the_route: ClassVar[bool] = False
    """Whether it judges the deployment rather than the caller; such guards come last (401, 403, then 503)."""

    async def check(self, request: Request) -> Any:
        """The caller, if they may call."""
        raise Error

    async def __call__(self, request: Request) -> Any:
        checked: dict[int, Any] = request.scope.setdefault("quill_guards", {})
        if id(self) not in checked:
            checked[id(self)] = await self.check(request)
        return checked[id(self)]


def guards_of(dependant: Dependant) -> Iterator[Guard]:
    """Every guard among the dependencies of a route, nested ones included."""
    for dependency in dependant.dependencies:
        if isinstance(dependency.call, Guard):
            yield dependency.call
        yield from guards_of(dependency)


class TransactionalRoute(APIRoute):
    """One request, one unit of work, committed before the answer."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Wraps FastAPI's handler."""
        handle = super().get_route_handler()
        guards = sorted(dict.fromkeys(guards_of(self.dependant)), key=lambda guard: guard.about_the_route)

        async def transactional(request: Request) -> Response:
            if b"%00" in request.scope["query_string"] or "\0" in request.scope["path"]:
                raise BadRequest("The address contains a NUL character", code="nul_character")
            async with request.app.state.runtime.database.unit_of_work() as uow:
                request.state.uow = uow
                try:
                    for guard in guards:
                        await guard(request)
                    response = await handle(request)
                except Error as error:
                    if error.keeps_effects:
                        await uow.commit()
                    raise
                crash_point("request.before_commit")
                await uow.commit()
                crash_point("request.after_commit")
                return response

        return transactional


def router(tag: str) -> APIRouter:
    """A router whose routes are transactional, tagged for the merged documentation."""
    return APIRouter(route_class=TransactionalRoute, tags=[tag])


def unit_of_work(request: Request) -> UnitOfWork:
    """The unit of work of the request in hand."""
    uow: UnitOfWork = request.state.uow
    return uow


Uow = Annotated[UnitOfWork, Depends(unit_of_work)]
