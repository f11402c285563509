"""Finds patients that other clients wrote to the FHIR server, within a minute (contract, section 7).

The worker asks for what was updated since the last look and takes note of it. The first look, and one a
day, goes through everything: until the first is complete no list is answered, as it could be short.
"""

import asyncio
import logging
from datetime import datetime, timedelta
from typing import Final

from quill_shared.platform.clock import now
from quill_shared.platform.database import Database
from quill_shared.platform.errors import UpstreamError
from quill_shared.platform.service import Runtime

from .. import repository
from ..fhir.client import FhirPatients
from ..settings import PatientsSettings
from . import index

logger = logging.getLogger(__name__)

_SOON_SECONDS: Final = 1.0


class Sweep:
    """One look after the other; of several workers one at a time."""

    def __init__(
        self, database: Database, fhir: FhirPatients, *, overlap: timedelta, walk_every: timedelta
    ) -> None:
        self._database = database
        self._fhir = fhir
        self._overlap = overlap
        self._walk_every = walk_every

    async def run_once(self) -> bool:
        """Looks once, unless another worker is at it; whether the index is complete.

        Raises:
            UpstreamError: FHIR cannot be asked; what was seen so far is kept.
        """
        async with repository.only_sweep(self._database.engine) as mine:
            async with self._database.unit_of_work() as uow:
                state = await repository.sweep_state(uow.session)
                watermark, walked_at = state.watermark, state.walked_at
            if not mine:
                return walked_at is not None
            began = now()
            is_walk = walked_at is None or began - walked_at >= self._walk_every
            # A first walk that was interrupted goes on where it was, as the oldest changes come first.
            afresh = watermark is None or (is_walk and walked_at is not None)
            await self._look(None if watermark is None or afresh else watermark - self._overlap)
            if is_walk:
                await self._note_progress(walked_at=began)
            return True

    async def _look(self, since: datetime | None) -> None:
        """Notes each page in a transaction of its own. In the end the server's time when it looked is the
        next watermark, so that a busy minute is not read again and again afterwards.
        """
        as_of: datetime | None = None
        async for page in self._fhir.changes(since):
            as_of = as_of or page.as_of
            if page.patients:
                seen = max(patient.last_updated for patient in page.patients)
                async with self._database.transaction() as uow:
                    await index.observe(uow, page.patients)
                    await repository.advance_sweep(uow.session, watermark=seen)
        if as_of is not None:
            await self._note_progress(watermark=as_of)

    async def _note_progress(
        self, *, watermark: datetime | None = None, walked_at: datetime | None = None
    ) -> None:
        async with self._database.transaction() as uow:
            await repository.advance_sweep(uow.session, watermark=watermark, walked_at=walked_at)


async def sweeping(runtime: Runtime) -> None:
    """The background loop of the worker."""
    settings: PatientsSettings = runtime.settings
    sweep = Sweep(
        runtime.database,
        runtime.context.fhir,
        overlap=timedelta(seconds=settings.sweep_overlap_seconds),
        walk_every=timedelta(hours=settings.sweep_walk_hours),
    )
    away = False
    while True:
        pause = settings.sweep_interval_seconds
        try:
            if not await sweep.run_once():
                pause = min(_SOON_SECONDS, pause)
            away = False
        except UpstreamError as error:
            # Asked again soon: nobody is shown a list until the first walk is complete.
            pause = min(_SOON_SECONDS, pause)
            if not away:
                logger.warning("sweep put off", extra={"error_code": error.code, "upstream": "fhir"})
            away = True
        await asyncio.sleep(pause)
