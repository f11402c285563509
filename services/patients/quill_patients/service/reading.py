"""Reading patients: one, or those of a list that a caller may see.

Lists walk the own index, restricted in SQL to what the caller may see, and fetch or search those very ids
in FHIR. No transaction is open while FHIR is asked.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, TypeVar

from quill_shared.kernel.access import CareAccess
from quill_shared.kernel.principal import Principal
from quill_shared.platform.database import UnitOfWork
from quill_shared.platform.errors import BadGateway, GatewayTimeout, Unavailable

from .. import repository
from ..errors import PatientNotFound
from ..fhir.client import Criteria, Patient
from ..repository import Entry, Scope
from . import index
from .context import PatientsContext

CHUNK: Final = 200
"""Ids per search: as many as servers take in one parameter and give in one page."""

_PARALLEL: Final = 4
_DIRECT: Final = 1000
_SUSPICIOUSLY_MANY_GONE: Final = 10
_PROBES: Final = 20
_SOON_SECONDS: Final = 1

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class PatientPage:
    """Part of a list; `last` is the position to go on after, None at the end. Not `ready`: FHIR was not
    there to be asked, and the list says nothing.
    """

    patients: Sequence[Patient]
    last: int | None
    ready: bool = True


NOT_READY: Final = PatientPage((), None, ready=False)


class PatientReading:
    """Reads in the unit of work of a request."""

    def __init__(self, uow: UnitOfWork, context: PatientsContext) -> None:
        self._uow = uow
        self._context = context
        self._fhir = context.fhir
        self._access = CareAccess(uow.session)

    async def get(self, principal: Principal, patient_id: str) -> Patient:
        """One patient.

        Raises:
            Forbidden: the caller may not see the patient, there or not.
            PatientNotFound: there is none.
        """
        await self._access.require_view(principal, patient_id)
        await self._uow.rollback()
        patient = await self._fhir.read(patient_id)
        if patient is None:
            raise PatientNotFound
        return patient

    async def summary(self, patient_id: str) -> Patient:
        """One patient for another service, fresh from FHIR, and in the index from now on.

        Raises:
            PatientNotFound: there is none.
        """
        patient = await self._fhir.read(patient_id)
        if patient is None:
            raise PatientNotFound
        await index.observe(self._uow, [patient])
        return patient

    async def page(
        self, scope: Scope, searches: Sequence[Criteria] | None, *, after: int, limit: int
    ) -> PatientPage:
        """Patients of the scope in the order in which they became known; with `searches` only those
        whom one of them finds. `NOT_READY` when FHIR cannot be reached, or was never looked through.

        Raises:
            UpstreamError: FHIR answers, but not usefully.
        """
        try:
            return await self.searched(scope, searches, after=after, limit=limit)
        except (Unavailable, GatewayTimeout):
            return NOT_READY

    async def searched(
        self, scope: Scope, searches: Sequence[Criteria] | None, *, after: int, limit: int
    ) -> PatientPage:
        """Like `page`, but FHIR's absence is an error.

        Raises:
            Unavailable: FHIR cannot be reached, or was never looked through.
            UpstreamError: FHIR cannot be asked.
        """
        walked = await repository.has_walked(self._uow.session)
        await self._uow.rollback()
        if not walked:
            raise Unavailable("The FHIR server was not looked through yet", retry_after=_SOON_SECONDS)
        page = await self._found(scope, searches, after=after, limit=limit)
        if not page.patients and not await self._context.fhir_ready():
            raise Unavailable("The FHIR server is not available", retry_after=_SOON_SECONDS)
        return page

    async def _found(
        self, scope: Scope, searches: Sequence[Criteria] | None, *, after: int, limit: int
    ) -> PatientPage:
        if searches is None:
            return await self._listed(scope, after=after, limit=limit)
        if not searches:
            return PatientPage((), None)
        if scope.principal is None and scope.ids is None:
            page = await self._found_directly(scope, searches, after=after, limit=limit)
            if page is not None:
                return page
        found: list[tuple[Entry, Patient]] = []
        batch = CHUNK * _PARALLEL
        while True:
            rows = await self._rows(scope, after=after, limit=batch)
            matches = await self._matches(rows, searches)
            found += [(row, matches[row.patient_id]) for row in rows if row.patient_id in matches]
            if len(found) > limit:
                return _cut(found, limit)
            if len(rows) < batch:
                return PatientPage([patient for _, patient in found], None)
            after = rows[-1].position

    async def _listed(self, scope: Scope, *, after: int, limit: int) -> PatientPage:
        rows = await self._rows(scope, after=after, limit=limit + 1)
        wanted = rows[:limit]
        there = await self._fetched([row.patient_id for row in wanted])
        patients = [there[row.patient_id] for row in wanted if row.patient_id in there]
        return PatientPage(patients, wanted[-1].position if len(rows) > limit else None)

    async def _rows(self, scope: Scope, *, after: int, limit: int) -> list[Entry]:
        rows = await repository.page(self._uow.session, scope, after=after, limit=limit)
        await self._uow.rollback()
        return rows

    async def _fetched(self, ids: Sequence[str]) -> dict[str, Patient]:
        """The patients with these ids. One that FHIR no longer has is left out, and from now on of the index.

        A server that lacks most of what it had is not the one we know: an error, never a short list.
        """
        chunks = await _in_parallel([partial(self._fhir.by_ids, chunk) for chunk in _chunks(ids)])
        there = {patient_id: patient for chunk in chunks for patient_id, patient in chunk.items()}
        missing = [patient_id for patient_id in ids if patient_id not in there]
        # A server may cap a page below the chunk; what it left out is asked for one by one.
        again = await _in_parallel([partial(self._fhir.read, each) for each in missing])
        there.update({patient.patient_id: patient for patient in again if patient is not None})
        gone = [patient_id for patient_id in missing if patient_id not in there]
        if len(gone) > len(ids) // 2 and (
            len(gone) > _SUSPICIOUSLY_MANY_GONE or not await self._is_the_one_we_know(gone)
        ):
            raise BadGateway("The FHIR server lacks records it had")
        if gone:
            await index.record_gone(self._uow, gone)
        return there

    async def _is_the_one_we_know(self, gone: Sequence[str]) -> bool:
        """Whether the FHIR server has any of the other patients we know, or at least remembers to have
        deleted one of those it lacks.
        """
        others = await repository.latest(self._uow.session, but=gone, limit=_PROBES)
        await self._uow.rollback()
        if others and await self._fhir.by_ids(others):
            return True
        return any(await _in_parallel([partial(self._fhir.has_deleted, each) for each in gone[:_PROBES]]))

    async def _matches(self, rows: Sequence[Entry], searches: Sequence[Criteria]) -> dict[str, Patient]:
        chunks = _chunks([row.patient_id for row in rows])
        answers = await _in_parallel(
            [partial(self._fhir.search, search, among=chunk) for chunk in chunks for search in searches]
        )
        return {patient.patient_id: patient for answer in answers for patient in answer}

    async def _found_directly(
        self, scope: Scope, searches: Sequence[Criteria], *, after: int, limit: int
    ) -> PatientPage | None:
        """For a caller who may see everyone: FHIR's own answer, put in our order; None if it is too long
        for that. Patients it has that we did not know are known from now on.
        """
        answers = await _in_parallel(
            [partial(self._fhir.search, search, limit=_DIRECT) for search in searches]
        )
        if any(len(answer) >= _DIRECT for answer in answers):
            return None
        matches = {patient.patient_id: patient for answer in answers for patient in answer}
        if not matches:
            return PatientPage((), None)
        known = await repository.entries(self._uow.session, Scope(None, include_inactive=True), list(matches))
        unknown = matches.keys() - {entry.patient_id for entry in known}
        await index.observe(self._uow, [matches[each] for each in unknown])
        rows = await repository.entries(self._uow.session, scope, list(matches))
        found = [(row, matches[row.patient_id]) for row in rows if row.position > after]
        return _cut(found, limit)


def _cut(found: Sequence[tuple[Entry, Patient]], limit: int) -> PatientPage:
    shown = found[:limit]
    last = shown[-1][0].position if len(found) > limit else None
    return PatientPage([patient for _, patient in shown], last)


def _chunks(ids: Sequence[str]) -> list[Sequence[str]]:
    return [ids[start : start + CHUNK] for start in range(0, len(ids), CHUNK)]


async def _in_parallel(calls: Sequence[Callable[[], Awaitable[T]]]) -> list[T]:
    """The answers in the order of the calls, a few of which are under way at once."""
    places = asyncio.Semaphore(_PARALLEL)

    async def placed(call: Callable[[], Awaitable[T]]) -> T:
        async with places:
            return await call()

    tasks = [asyncio.ensure_future(placed(call)) for call in calls]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
