"""What the worker does on the side: it deletes what can no longer matter."""

import asyncio
from datetime import timedelta

from quill_shared.platform.clock import now
from quill_shared.platform.service import Runtime

from ..context import AuthContext
from ..repository import housekeeping

_EVERY_SECONDS = 600.0
_DAY = timedelta(days=1)


async def keep_house(runtime: Runtime) -> None:
    """Runs until cancelled. Sessions stay a day beyond their end: no revocation is forgotten too soon."""
    context: AuthContext = runtime.context
    while True:
        instant = now()
        async with runtime.database.transaction() as uow:
            await housekeeping.forget_sessions(
                uow.session,
                ended_before=instant - _DAY,
                created_before=instant - context.sessions.absolute - _DAY,
            )
            await housekeeping.forget_buckets(uow.session, last_before=instant - _DAY)
        await asyncio.sleep(_EVERY_SECONDS)
