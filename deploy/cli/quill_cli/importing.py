"""Patients out of a file into Quill, through the FHIR façade; safe to repeat.

Each Patient keeps the id it has in the file: it is stored by `PUT` under that id with `If-None-Match: *`,
which creates and never overwrites (FHIR R4, update as create; RFC 9110 §13.1.2). A second run finds what
the first one stored, so that a run which was cut short is gone on with by running it again.

Somebody who is there already, under the id or the NHS number of a line, is taken for the person of that
line only if family name and date of birth agree: what looks like a repetition may be a mistyped number,
and a membership opens a record.
"""

import asyncio
import hashlib
import json
import re
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Final

import httpx

from .api import Api
from .errors import CommandError, SignInError, explanation
from .records import Record

__all__ = ["Importer", "Organisation", "Outcome", "Report", "Result", "find_organisation"]

_FHIR_JSON: Final = "application/fhir+json"
_EXISTING_PATIENT: Final = "urn:quillmedical:existing-patient"
_ID: Final = re.compile(r"[A-Za-z0-9\-.]{1,64}")
_ALREADY_THERE: Final = (409, 412)
_REFUSED: Final = (400, 413, 415, 422)


class Outcome(StrEnum):
    """What became of a record."""

    CREATED = "created"
    ALREADY_THERE = "already_there"
    REFUSED = "refused"
    """For what it holds; trying again does not help."""
    FAILED = "failed"
    """For another reason; trying again may help."""
    OTHER = "other"
    """A resource that is no Patient; a Bundle may hold many."""


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one record. `id` is the patient's in Quill."""

    line: int
    outcome: Outcome
    id: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Organisation:
    """Where the patients are put."""

    id: int
    name: str


@dataclass(slots=True)
class Report:
    """What became of all of them so far."""

    results: list[Result] = field(default_factory=list)

    def of(self, outcome: Outcome) -> list[Result]:
        """Those with this outcome, by line."""
        return sorted((each for each in self.results if each.outcome is outcome), key=lambda each: each.line)

    def document(self, **about: Any) -> dict[str, Any]:
        """As JSON: ids and lines by outcome, with the reason where there is one."""
        lists = {
            outcome.value: [
                {name: value for name, value in asdict(each).items() if value and name != "outcome"}
                for each in self.of(outcome)
            ]
            for outcome in Outcome
            if outcome is not Outcome.OTHER
        }
        counts = {outcome.value: len(self.of(outcome)) for outcome in Outcome}
        return {**about, "counts": counts, **lists}


async def find_organisation(api: Api, wanted: str) -> Organisation:
    """The organisation with the id or the name `wanted`.

    Raises:
        CommandError: there is none, or several have the name.
    """
    found = []
    async for each in api.pages("/api/organizations", "organizations"):
        if str(each["id"]) == wanted:
            return Organisation(int(each["id"]), str(each["name"]))
        if str(each["name"]).casefold() == wanted.strip().casefold():
            found.append(Organisation(int(each["id"]), str(each["name"])))
    if not found:
        raise CommandError(f"There is no organisation with the id or name {wanted!r}.")
    if len(found) > 1:
        ids = ", ".join(str(each.id) for each in found)
        raise CommandError(f"Several organisations are called {wanted!r}; name one by its id: {ids}.")
    return found[0]


class Importer:
    """Takes records to the API, several at once.

    Args:
        organisation: where every patient becomes a member; None leaves that to the API.
        concurrency: records in hand at once.
        told: hears of each result.
    """

    def __init__(
        self,
        api: Api,
        *,
        organisation: Organisation | None = None,
        concurrency: int = 8,
        told: Callable[[Result], None] = lambda result: None,
    ) -> None:
        self._api = api
        self._organisation = organisation
        self._concurrency = concurrency
        self._told = told
        self.report = Report()

    async def run(self, records: Iterator[Record]) -> Report:
        """Imports all of `records`; after an exception `report` holds what was done.

        Raises:
            CommandError: the API cannot be reached, or does not let the caller import.
        """
        taking = asyncio.Lock()

        async def work() -> None:
            while True:
                async with taking:
                    # In a thread, as a pipe may let us wait for its next line.
                    record = await asyncio.to_thread(next, records, None)
                if record is None:
                    return
                try:
                    result = await self._import(record)
                except CommandError as error:
                    self._note(Result(record.number, Outcome.FAILED, record.id, str(error)))
                    raise
                self._note(result)

        workers = [asyncio.create_task(work()) for _ in range(self._concurrency)]
        try:
            await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)
        return self.report

    def _note(self, result: Result) -> None:
        self.report.results.append(result)
        self._told(result)

    async def _import(self, record: Record) -> Result:
        if record.fault:
            return Result(record.number, Outcome.REFUSED, reason=record.fault)
        if record.type != "Patient":
            is_resource = bool(record.type)
            return Result(
                record.number,
                Outcome.OTHER if is_resource else Outcome.REFUSED,
                reason="" if is_resource else "no FHIR resource: `resourceType` is missing",
            )
        if record.id and not _ID.fullmatch(record.id):
            reason = "id: not 1 to 64 letters, digits, hyphens or full stops"
            return Result(record.number, Outcome.REFUSED, reason=reason)
        patient_id = _assignable(record)
        content = record.content if patient_id == record.id else record.with_id(patient_id)
        response = await self._api.request(
            "PUT",
            f"/api/fhir/Patient/{patient_id}",
            content=content,
            headers={"Content-Type": _FHIR_JSON, "Accept": _FHIR_JSON, "If-None-Match": "*"},
        )
        if response.status_code in _ALREADY_THERE:
            return await self._met(record, patient_id, response)
        if response.is_success:
            return await self._joined(record, Outcome.CREATED, patient_id)
        return self._unsuccessful(record, patient_id, response)

    async def _met(self, record: Record, patient_id: str, response: httpx.Response) -> Result:
        """Somebody is there already: the person of this record, or another?"""
        existing_id = _named_patient(response) or patient_id
        path = f"/api/fhir/Patient/{existing_id}"
        existing = await self._api.request("GET", path, headers={"Accept": _FHIR_JSON})
        if not existing.is_success:
            return self._unsuccessful(record, existing_id, existing)
        if _recognition(existing.json()) != _recognition(json.loads(record.content)):
            what = "id" if existing_id == patient_id else "NHS number"
            reason = (
                f"the {what} is in use by patient {existing_id}, with another family name or date of birth"
            )
            return Result(record.number, Outcome.REFUSED, reason=reason)
        return await self._joined(record, Outcome.ALREADY_THERE, existing_id)

    async def _joined(self, record: Record, outcome: Outcome, patient_id: str) -> Result:
        if self._organisation is not None:
            response = await self._api.request(
                "POST",
                f"/api/organizations/{self._organisation.id}/patients",
                json={"patient_id": patient_id},
                repeatable=True,
            )
            if not response.is_success and response.status_code != 409:
                reason = f"stored, but not put into the organisation: {explanation(response)}"
                return Result(record.number, Outcome.FAILED, patient_id, reason)
        return Result(record.number, outcome, patient_id)

    def _unsuccessful(self, record: Record, patient_id: str, response: httpx.Response) -> Result:
        reason = explanation(response)
        if response.status_code == 403:
            raise SignInError(f"This account may not import patients: {reason}. An administrator's may.")
        if response.status_code in _REFUSED:
            return Result(record.number, Outcome.REFUSED, reason=reason)
        return Result(record.number, Outcome.FAILED, patient_id, f"{reason} (status {response.status_code})")


def _assignable(record: Record) -> str:
    """The id under which a record is stored: its own where FHIR servers allow it.

    Ids of digits only they keep for themselves. One that is missing is derived from the content, so that
    the same line gets the same id whenever it is imported.
    """
    if not record.id:
        return f"i-{hashlib.sha256(record.content).hexdigest()[:32]}"
    return f"i-{record.id}"[:64] if record.id.isdigit() else record.id


def _named_patient(response: httpx.Response) -> str:
    """The patient that a conflict speaks of, or an empty text."""
    try:
        issues = response.json()["issue"]
        references = [
            str(extension["valueReference"]["reference"])
            for issue in issues
            for extension in issue.get("extension", ())
            if extension.get("url") == _EXISTING_PATIENT
        ]
    except (ValueError, KeyError, TypeError, AttributeError):
        return ""
    named = references[0].removeprefix("Patient/") if references else ""
    return named if _ID.fullmatch(named) else ""


def _recognition(patient: Any) -> tuple[frozenset[str], str]:
    """What tells one person from another here: family names, and the date of birth."""
    names = patient.get("name") if isinstance(patient, dict) else None
    families = {
        _folded(name["family"])
        for name in (names if isinstance(names, list) else [])
        if isinstance(name, dict) and isinstance(name.get("family"), str)
    }
    born = patient.get("birthDate") if isinstance(patient, dict) else None
    return frozenset(families), str(born or "")


def _folded(name: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", name).casefold().split())
