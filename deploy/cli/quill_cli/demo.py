"""A first day with Quill, told by its calls: who works where decides who sees whom.

Everything goes through the gateway as from a browser, with cookies and CSRF tokens. The story can be told
again and again: what it made the last time it finds, and the staff account gets a fresh password.
"""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from .browser import Browser, Call
from .errors import CommandError, RefusedError

__all__ = ["Narrator", "Signatory", "tell"]

_ORGANISATION: Final = {"name": "Harbour Walk Clinic", "type": "private_clinic", "location": "Harbour Walk"}
_ELSEWHERE: Final = {"name": "Northgate Surgery", "type": "gp_practice", "location": "Northgate"}
_NURSE: Final = {
    "username": "demo.nurse",
    "name": "Nell Ashgrove",
    "email": "demo.nurse@quill.example",
    "base_profession": "registered_nurse",
    "system_permissions": "staff",
    "roles": ["Clinician"],
}
_STRANGER: Final = {
    "username": "demo.stranger",
    "name": "Stan Farrow",
    "email": "demo.stranger@quill.example",
    "base_profession": "registered_nurse",
    "system_permissions": "staff",
    "roles": ["Clinician"],
}
_PATIENTS: Final = (
    {
        "patient_id": "demo-story-1",
        "given_name": "Maud",
        "family_name": "Applegarth",
        "birth_date": "1951-02-11",
        "gender": "female",
        "nhs_number": "9992309113",
    },
    {
        "patient_id": "demo-story-2",
        "given_name": "Nathan",
        "family_name": "Brookfield",
        "birth_date": "1984-08-05",
        "gender": "male",
        "nhs_number": "9992404221",
    },
    {
        "patient_id": "demo-story-3",
        "given_name": "Odile",
        "family_name": "Cresswell",
        "birth_date": "2013-12-19",
        "gender": "female",
        "nhs_number": "9992518332",
    },
)
_VISIBLE_WITHIN: Final = 10.0
_PAUSE: Final = 0.1


@dataclass(frozen=True, slots=True)
class Signatory:
    """Somebody who can sign in."""

    username: str
    password: str


class Narrator(Protocol):
    """Hears the story."""

    def step(self, text: str) -> None:
        """What is done next."""

    def called(self, call: Call) -> None:
        """A call it took."""

    def found(self, text: str) -> None:
        """What came of it."""


async def tell(url: str, administrator: Signatory, narrator: Narrator) -> None:
    """Walks through the story at the gateway `url`.

    Raises:
        CommandError: a call was refused, or somebody sees what they should not, or does not see what
            they should.
    """
    async with Browser(url, called=narrator.called) as admin:
        narrator.step(f"{administrator.username} signs in: cookies, and a CSRF token for what changes things")
        await admin.sign_in(administrator.username, administrator.password)
        me = await admin.call("GET", "/api/auth/me")
        narrator.found(f"signed in; system permission: {me['system_permissions']}")

        narrator.step("Two organisations are created")
        clinic = await _organisation(admin, _ORGANISATION)
        elsewhere = await _organisation(admin, _ELSEWHERE)
        narrator.found(f"{_ORGANISATION['name']} has id {clinic}, {_ELSEWHERE['name']} has id {elsewhere}")

        narrator.step("A nurse joins the first as a member of staff, another one the second")
        nurse = await _member(admin, _NURSE, clinic)
        stranger = await _member(admin, _STRANGER, elsewhere)
        narrator.found(f"{nurse.username} and {stranger.username} can sign in")

        narrator.step("Three patients are registered, in the first")
        for patient in _PATIENTS:
            await _patient(admin, patient, clinic)
        wanted = {str(patient["patient_id"]) for patient in _PATIENTS}
        narrator.found(f"{', '.join(sorted(wanted))} are there")

        expected = await _members(admin, clinic, wanted)

        narrator.step(f"{nurse.username} signs in, and sees exactly the patients of {_ORGANISATION['name']}")
        async with Browser(url, called=narrator.called) as browser:
            await browser.sign_in(nurse.username, nurse.password)
            seen = await _seen(browser, expected)
            _must_see(expected, nurse.username, seen)
            narrator.found(f"sees {', '.join(sorted(seen))}, and nobody else")
            await browser.sign_out()

        narrator.step(f"{stranger.username} signs in: nobody there is a patient of {_ELSEWHERE['name']}")
        async with Browser(url, called=narrator.called) as browser:
            await browser.sign_in(stranger.username, stranger.password)
            theirs = await _members(admin, elsewhere, set())
            seen = await _seen(browser, theirs)
            _must_see(theirs, stranger.username, seen)
            narrator.found(f"sees {', '.join(sorted(seen)) or 'nobody'}")
            asked = _PATIENTS[0]["patient_id"]
            narrator.step(f"and asking for {asked} by its id does not help")
            refused = await browser.call("GET", f"/api/patients/{asked}", 403)
            if "resourceType" in refused:
                raise CommandError(f"{stranger.username} was shown a patient of another organisation.")
            narrator.found(f"refused: {refused.get('detail')}")
            await browser.sign_out()
        await admin.sign_out()


async def _organisation(admin: Browser, wanted: Mapping[str, str]) -> int:
    async for each in _everything(admin, "/api/organizations", "organizations"):
        if each["name"] == wanted["name"]:
            return int(each["id"])
    return int((await admin.call("POST", "/api/organizations", json=dict(wanted)))["id"])


async def _member(admin: Browser, wanted: Mapping[str, Any], organisation: int) -> Signatory:
    """An account with a password of this run only, and its membership."""
    password = secrets.token_urlsafe(18)
    try:
        made = await admin.call("POST", "/api/users", json={**wanted, "password": password})
        user_id = int(made["id"])
    except RefusedError as error:
        if error.status != 400:
            raise
        user_id = await _user_id(admin, str(wanted["username"]))
        await admin.call("PATCH", f"/api/users/{user_id}", json={"password": password})
    await admin.call("POST", f"/api/organizations/{organisation}/staff", 409, json={"user_id": user_id})
    return Signatory(str(wanted["username"]), password)


async def _user_id(admin: Browser, username: str) -> int:
    async for each in _everything(admin, "/api/users", "users"):
        if each["username"] == username:
            return int(each["id"])
    raise CommandError(f"The account {username} can neither be made nor found.")


async def _everything(browser: Browser, path: str, key: str) -> AsyncIterator[Any]:
    """All of a paged list."""
    cursor: str | None = ""
    while cursor is not None:
        page = await browser.call("GET", path, params={"cursor": cursor} if cursor else None)
        if page.get("fhir_ready") is False:
            raise CommandError("The FHIR server is not ready; try again in a moment.")
        for each in page[key]:
            yield each
        cursor = page.get("next_cursor") or None


async def _patient(admin: Browser, wanted: Mapping[str, str], organisation: int) -> None:
    made = await admin.call("POST", "/api/patients", 409, json={**wanted, "organisation_id": organisation})
    if made.get("resourceType") != "Patient":
        # Registered the last time. Should the membership have been ended since, it begins again.
        member = {"patient_id": wanted["patient_id"]}
        await admin.call("POST", f"/api/organizations/{organisation}/patients", 409, json=member)


async def _members(admin: Browser, organisation: int, wanted: set[str]) -> set[str]:
    """The organisation's patients, once those `wanted` are among them: it hears of them by event."""
    deadline = time.monotonic() + _VISIBLE_WITHIN
    while True:
        detail = await admin.call("GET", f"/api/organizations/{organisation}")
        members = {str(each["patient_id"]) for each in detail["patient_members"]}
        if wanted <= members:
            return members
        if time.monotonic() > deadline:
            raise CommandError(f"{detail['name']} still lacks patients: {', '.join(wanted - members)}.")
        await asyncio.sleep(_PAUSE)


async def _seen(browser: Browser, expected: set[str]) -> set[str]:
    """Whom the caller sees; a membership that is being told to the other services gets a moment."""
    deadline = time.monotonic() + _VISIBLE_WITHIN
    while True:
        seen = {str(each["id"]) async for each in _everything(browser, "/api/patients", "patients")}
        if seen == expected or time.monotonic() > deadline:
            return seen
        await asyncio.sleep(_PAUSE)


def _must_see(expected: set[str], username: str, seen: set[str]) -> None:
    if seen != expected:
        raise CommandError(
            f"{username} sees {', '.join(sorted(seen)) or 'nobody'}, and should see "
            f"{', '.join(sorted(expected)) or 'nobody'}."
        )
