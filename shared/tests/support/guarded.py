"""A small service with a route behind each guard of the kernel."""

from typing import Annotated

from fastapi import Depends
from sqlalchemy.ext.asyncio import create_async_engine

from quill_shared.kernel.access import CareAccess, access_consumers, access_metadata
from quill_shared.kernel.guards import (
    Admin,
    Clinician,
    CompetencyGuard,
    MaybeSignedIn,
    SignedIn,
    Staff,
    clinical_services,
    requires_feature,
)
from quill_shared.kernel.principal import Principal
from quill_shared.platform.routing import Uow, router
from quill_shared.platform.service import ServiceDefinition
from quill_shared.platform.settings import ServiceSettings
from quill_shared.platform.tables import platform_metadata

routes = router("guarded")
Competent = Annotated[Principal, Depends(CompetencyGuard("perform_venepuncture"))]


async def migrate(url: str) -> None:
    """Makes the tables."""
    engine = create_async_engine(url)
    async with engine.begin() as connection:
        await connection.run_sync(platform_metadata.create_all)
        await connection.run_sync(access_metadata.create_all)
    await engine.dispose()


@routes.get("/signed-in")
async def signed_in(principal: SignedIn) -> dict[str, str]:
    """Anybody."""
    return {"who": principal.username}


@routes.get("/maybe")
async def maybe(principal: MaybeSignedIn) -> dict[str, str]:
    """Anybody or nobody."""
    return {"who": principal.username if principal else "nobody"}


@routes.get("/staff")
async def staff(principal: Staff) -> dict[str, str]:
    """Staff."""
    return {"who": principal.username}


@routes.get("/admin")
async def admin(principal: Admin) -> dict[str, str]:
    """Administrators."""
    return {"who": principal.username}


@routes.get("/clinician")
async def clinician(principal: Clinician) -> dict[str, str]:
    """Clinicians."""
    return {"who": principal.username}


@routes.get("/competent")
async def competent(principal: Competent) -> dict[str, str]:
    """Those who can."""
    return {"who": principal.username}


@routes.get("/letters", dependencies=[requires_feature("letters")])
async def letters(principal: SignedIn) -> dict[str, str]:
    """Those whose organisation writes letters."""
    return {"who": principal.username}


@routes.get("/clinical", dependencies=[clinical_services])
async def clinical(principal: Staff) -> dict[str, str]:
    """Staff of a deployment with clinical records."""
    return {"who": principal.username}


@routes.get("/patients/{patient_id}")
async def patient(principal: SignedIn, uow: Uow, patient_id: str) -> dict[str, str]:
    """Those who may see the patient."""
    await CareAccess(uow.session).require_view(principal, patient_id)
    return {"who": principal.username}


definition = ServiceDefinition(
    name="guarded",
    title="Guarded",
    package="guarded",
    settings=ServiceSettings,
    routers=(routes,),
    consumers=access_consumers,
    metadata=(access_metadata,),
)
