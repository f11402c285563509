"""Makes the demonstration world through the public API, as anybody else would.

Every step first takes what is there: a start that was cut short is made up for by the next.
"""

import asyncio
import json
import os
from collections.abc import Mapping
from typing import Any

from quill_cli.api import Api, Credentials, api
from quill_cli.errors import CommandError

from .configuration import Configuration
from .console import Console
from .errors import StackError
from .keys import write_private
from .world import ACCOUNTS, EXTERNAL, ORGANISATIONS, PATIENTS, SUPERADMIN, Account, Organisation, Patient

__all__ = ["seeded", "superadmin"]

_CONNECTIONS = 4


def superadmin(keys: Mapping[str, str]) -> Credentials:
    """The account that auth makes at its first start; the environment may name another than ours."""
    username = os.environ.get("QUILL_BOOTSTRAP_ADMIN_USERNAME")
    if username:
        return Credentials(username, os.environ.get("QUILL_BOOTSTRAP_ADMIN_PASSWORD", ""))
    return Credentials(SUPERADMIN.username, keys["demo_password"])


async def seeded(configuration: Configuration, keys: Mapping[str, str], console: Console) -> None:
    """Makes what is missing of the demonstration world, unless it was told not to.

    Raises:
        StackError: the API refused something.
    """
    password = keys["demo_password"]
    if configuration.demo_file.exists():
        _describe(configuration, password)
    elif configuration.seeds:
        console.say("Making the demonstration data ...", style="dim")
        await _seed(configuration, superadmin(keys), password)


async def _seed(configuration: Configuration, credentials: Credentials, password: str) -> None:
    """Makes it, signed in as a superadmin; every account that is made gets `password`."""
    url = configuration.ports.url("gateway")
    try:
        async with api(url, credentials, connections=_CONNECTIONS) as root:
            organisations = await _organisations(root)
            accounts = await _accounts(root, organisations, password)
            await asyncio.gather(*(_patient(root, each, organisations) for each in PATIENTS))
            await _link(root, accounts)
            await _external(root, url, password)
    except CommandError as error:
        raise StackError(
            f"The demonstration data could not be made: {error} The next start goes on with it."
        ) from None
    _describe(configuration, password)


def _describe(configuration: Configuration, password: str) -> None:
    """Writes down for `quill demo` where the stack is and who may sign in; the address may have changed."""
    document = {
        "url": configuration.ports.url("gateway"),
        "accounts": {each.username: password for each in (*ACCOUNTS, EXTERNAL)},
    }
    write_private(configuration.demo_file, json.dumps(document, indent=2))


async def _organisations(root: Api) -> dict[str, int]:
    """The ids of the organisations by their keys."""
    pages = root.pages("/api/organizations", "organizations")
    known = {str(each["name"]): int(each["id"]) async for each in pages}
    return {each.key: await _organisation(root, each, known.get(each.name)) for each in ORGANISATIONS}


async def _organisation(root: Api, wanted: Organisation, known: int | None) -> int:
    if known is None:
        body = {"name": wanted.name, "type": wanted.type, "location": wanted.location}
        known = int((await root.expect("POST", "/api/organizations", json=body))["id"])
    for feature in wanted.features:
        await root.expect("PUT", f"/api/organizations/{known}/features/{feature}", json={"enabled": True})
    return known


async def _accounts(root: Api, organisations: Mapping[str, int], password: str) -> dict[str, int]:
    """The ids of the accounts by their names."""
    known = await _known_accounts(root)
    missing = [each for each in ACCOUNTS if each.username not in known]
    made = await asyncio.gather(*(_account(root, each, password) for each in missing))
    ids = {**known, **dict(zip((each.username for each in missing), made, strict=True))}
    for each in ACCOUNTS:
        if each.organisation is not None:
            path = f"/api/organizations/{organisations[each.organisation]}/staff"
            await root.expect("POST", path, 409, json={"user_id": ids[each.username]})
    return ids


async def _known_accounts(root: Api) -> dict[str, int]:
    return {str(each["username"]): int(each["id"]) async for each in root.pages("/api/users", "users")}


async def _account(root: Api, wanted: Account, password: str) -> int:
    body: dict[str, Any] = {
        "name": wanted.name,
        "username": wanted.username,
        "email": wanted.email,
        "password": password,
        "base_profession": wanted.base_profession,
        "system_permissions": wanted.system_permissions,
        "roles": list(wanted.roles),
    }
    return int((await root.expect("POST", "/api/users", json=body))["id"])


async def _patient(root: Api, wanted: Patient, organisations: Mapping[str, int]) -> None:
    first, *others = (organisations[key] for key in wanted.organisations)
    body = {
        "patient_id": wanted.id,
        "given_name": wanted.given_name,
        "family_name": wanted.family_name,
        "birth_date": wanted.birth_date,
        "gender": wanted.gender,
        "nhs_number": wanted.nhs_number,
        "organisation_id": first,
    }
    await root.expect("POST", "/api/patients", 409, json=body, repeatable=True)
    for other in others:
        path = f"/api/organizations/{other}/patients"
        await root.expect("POST", path, 409, json={"patient_id": wanted.id}, repeatable=True)


async def _link(root: Api, accounts: Mapping[str, int]) -> None:
    for each in ACCOUNTS:
        if each.patient_id is not None:
            path = f"/api/users/{accounts[each.username]}/link-patient"
            await root.expect("PATCH", path, json={"fhir_patient_id": each.patient_id}, repeatable=True)


async def _external(root: Api, url: str, password: str) -> None:
    """Invites the external clinician as the patient would, and accepts in their name."""
    patient = next(each for each in ACCOUNTS if each.patient_id == EXTERNAL.patient_id)
    record = f"/api/patients/{EXTERNAL.patient_id}"
    async with api(url, Credentials(patient.username, password), connections=1) as own:
        granted = await own.expect("GET", f"{record}/external-access")
        if not any(each["username"] == EXTERNAL.username for each in granted["grants"]):
            invitation = {"email": EXTERNAL.email, "user_type": EXTERNAL.system_permissions}
            token = (await own.expect("POST", f"{record}/invite-external", json=invitation))["token"]
            acceptance = {"token": token, "username": EXTERNAL.username, "password": password}
            await own.expect("POST", "/api/accept-invite", json=acceptance)
    user_id = (await _known_accounts(root))[EXTERNAL.username]
    await root.expect("PATCH", f"/api/users/{user_id}", json={"name": EXTERNAL.name}, repeatable=True)
