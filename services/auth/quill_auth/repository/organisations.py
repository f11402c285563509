"""Queries on the projection of organisations."""

from collections.abc import Sequence

from sqlalchemy import RowMapping, select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from quill_shared.kernel.access.tables import organisation
from quill_shared.platform.pagination import PageRequest


async def page(session: AsyncSession, request: PageRequest) -> Sequence[RowMapping]:
    """id and name, by name; one more than the page."""
    query = (
        select(organisation.c.organisation_id.label("id"), organisation.c.name)
        .order_by(organisation.c.name, organisation.c.organisation_id)
        .limit(request.limit + 1)
    )
    if request.after is not None:
        query = query.where(
            tuple_(organisation.c.name, organisation.c.organisation_id) > tuple_(*request.after)
        )
    return (await session.execute(query)).mappings().all()


async def exists(session: AsyncSession, organisation_id: int) -> bool:
    """Whether there is such an organisation."""
    found = select(organisation.c.organisation_id).where(organisation.c.organisation_id == organisation_id)
    return await session.scalar(found) is not None
