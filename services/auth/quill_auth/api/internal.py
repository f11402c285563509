"""What other services ask; the gateway does not know these routes."""

from typing import Any

from fastapi import Depends

from quill_shared.platform.revocation import RevocationSnapshot
from quill_shared.platform.routing import Uow, router
from quill_shared.platform.service_tokens import require_service

from ..errors import UserNotFound
from ..repository import accounts
from ..service.accounts import facts
from ..service.sessions import revocations
from .requests import UserId

routes = router("internal")


@routes.get("/internal/users/{user_id}", include_in_schema=False, dependencies=[Depends(require_service)])
async def account_facts(user_id: UserId, uow: Uow) -> dict[str, Any]:
    """An account as its events tell it, and the version they had got to."""
    account = await accounts.get(uow.session, user_id)
    if account is None:
        raise UserNotFound
    return {**facts(account), "sequence": account.version}


@routes.get("/internal/revocations", include_in_schema=False, dependencies=[Depends(require_service)])
async def revocation_list(uow: Uow) -> RevocationSnapshot:
    """Everything that a token alive now may run into."""
    return await revocations(uow)
