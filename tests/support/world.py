"""A small world in a running system: two organisations, two patients, and one caller of each kind."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from typing import Any, Final

import httpx
from system import SUPERADMIN, System, running_system

from quill_shared.platform.testing.postgres import PostgresServer
from quill_shared.platform.testing.services import (
    CANARY_FAMILY,
    CANARY_GIVEN,
    CANARY_NHS_NUMBER,
    Canary,
    secret,
)

_FACTS_WITHIN: Final = 15.0


class Caller(StrEnum):
    """Who may be calling, as seen from the patient and the organisation of the world."""

    ANONYMOUS = "anonymous"
    FORGED = "with a token nobody signed"
    PATIENT = "the patient"
    OTHER_PATIENT = "another patient"
    COLLEAGUE = "staff of the same organisation"
    CLINICIAN = "clinician of the same organisation"
    STRANGER_STAFF = "staff of another organisation"
    STRANGER_CLINICIAN = "clinician of another organisation"
    EXTERNAL = "external professional with a grant"
    EXTERNAL_WITHOUT = "external professional without a grant"
    ADVOCATE = "patient's advocate with a grant"
    ADMIN = "administrator"
    SUPERADMIN = "superadmin"


@dataclass(slots=True)
class World:
    """What exists, who is who, and how to make more of it."""

    system: System
    canary: Canary
    clients: dict[str, httpx.Client]
    here: int = 0
    elsewhere: int = 0
    patient: str = ""
    other_patient: str = ""
    accounts: dict[Caller, tuple[int, str, str]] = field(default_factory=dict)
    """User id, user name and password."""
    tokens: dict[Caller, str] = field(default_factory=dict)
    made: int = 0

    def headers(self, caller: Caller) -> dict[str, str]:
        """The Authorization header of a caller."""
        return {"Authorization": f"Bearer {self.tokens[caller]}"} if caller in self.tokens else {}

    def call(self, service: str, caller: Caller, method: str, path: str, **request: Any) -> httpx.Response:
        """One request. Error answers are kept for the canary."""
        headers = {**self.headers(caller), **request.pop("headers", {})}
        answer = self.clients[service].request(method, path, headers=headers, **request)
        if answer.status_code >= 400:
            self.canary.keep(f"answer {answer.status_code} of {method}", answer.text)
        return answer

    def do(self, service: str, method: str, path: str, **request: Any) -> Any:
        """What the superadmin gets from a request that must succeed."""
        answer = self.call(service, Caller.SUPERADMIN, method, path, **request)
        assert answer.is_success, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json()

    def unique(self, what: str) -> str:
        """A name that nothing else has."""
        self.made += 1
        return f"{what}{self.made}"

    def account(
        self, *, perm: str = "patient", profession: str = "patient", roles: tuple[str, ...] = ()
    ) -> tuple[int, str, str]:
        """One more account."""
        name, password = self.unique("account"), secret()
        created = self.do(
            "auth",
            "POST",
            "/api/users",
            json={
                "name": name,
                "email": f"{name}@quill.example",
                "password": password,
                "base_profession": profession,
                "system_permissions": perm,
                "roles": list(roles),
            },
        )
        return created["id"], name, password

    def organisation(self) -> int:
        """One more organisation."""
        body = {"name": self.unique("Ward "), "type": "hospital_team"}
        created: int = self.do("orgs", "POST", "/api/organizations", json=body)["id"]
        return created

    def staff(
        self, organisation: int, *, profession: str = "receptionist", roles: tuple[str, ...] = ()
    ) -> tuple[int, str, str]:
        """One more member of staff."""
        account = self.account(perm="staff", profession=profession, roles=roles)
        self.do("orgs", "POST", f"/api/organizations/{organisation}/staff", json={"user_id": account[0]})
        return account

    def record(self, organisation: int, **given: Any) -> str:
        """One more patient, of an organisation."""
        body = {"given_name": CANARY_GIVEN, "family_name": CANARY_FAMILY, "birth_date": "1971-02-03", **given}
        created: str = self.do("patients", "POST", "/api/patients", json=body)["id"]
        path = f"/api/organizations/{organisation}/patients"
        self.do("orgs", "POST", path, json={"patient_id": created})
        return created

    def invite(self, patient: str, user_type: str = "external_hcp") -> str:
        """An invitation's token."""
        body = {"email": f"{self.unique('invited')}@elsewhere.example", "user_type": user_type}
        token: str = self.do("auth", "POST", f"/api/patients/{patient}/invite-external", json=body)["token"]
        return token

    def external(self, patient: str, user_type: str = "external_hcp") -> tuple[int, str, str]:
        """One more account from outside, with a grant for a patient."""
        token, name, password = self.invite(patient, user_type), self.unique("external"), secret()
        body = {"token": token, "username": name, "password": password}
        accepted = self.call("auth", Caller.ANONYMOUS, "POST", "/api/accept-invite", json=body)
        assert accepted.status_code == 200, accepted.text
        return accepted.json()["user_id"], name, password

    def sign_in(self, username: str, password: str) -> str:
        """An access token of a new session."""
        body = {"grant_type": "password", "username": username, "password": password}
        answer = self.clients["auth"].post("/api/auth/token", data=body)
        assert answer.status_code == 200, answer.text
        token: str = answer.json()["access_token"]
        return token


@contextmanager
def living(server: PostgresServer) -> Iterator[World]:
    """A running system with this world in it. At its end no patient data may be where none belongs."""
    watch, root = Canary(), logging.getLogger()
    level = root.level
    root.addHandler(watch)
    root.setLevel(logging.INFO)
    try:
        with running_system(server, watch) as system, ExitStack() as stack:
            clients = {name: stack.enter_context(system.client(name)) for name in system.urls}
            yield _filled(World(system, watch, clients))
    finally:
        root.removeHandler(watch)
        root.setLevel(level)
    assert watch.found() == []


def _filled(world: World) -> World:
    """Fills a new system through its front doors, and waits until every service knows the facts."""
    system = world.system
    world.accounts[Caller.SUPERADMIN] = (1, SUPERADMIN, system.superadmin_password)
    world.tokens[Caller.SUPERADMIN] = world.sign_in(SUPERADMIN, system.superadmin_password)
    world.here, world.elsewhere = world.organisation(), world.organisation()
    world.patient = world.record(world.here, nhs_number=CANARY_NHS_NUMBER)
    world.other_patient = world.record(world.elsewhere)
    world.accounts |= {
        Caller.ADMIN: world.account(perm="admin", profession="system_administrator"),
        Caller.COLLEAGUE: world.staff(world.here),
        Caller.CLINICIAN: world.staff(world.here, profession="consultant", roles=("Clinician",)),
        Caller.STRANGER_STAFF: world.staff(world.elsewhere),
        Caller.STRANGER_CLINICIAN: world.staff(
            world.elsewhere, profession="consultant", roles=("Clinician",)
        ),
        Caller.PATIENT: world.account(),
        Caller.OTHER_PATIENT: world.account(),
        Caller.EXTERNAL: world.external(world.patient),
        Caller.EXTERNAL_WITHOUT: world.external(world.other_patient),
        Caller.ADVOCATE: world.external(world.patient, "patient_advocate"),
    }
    for caller, patient in (
        (Caller.PATIENT, world.patient),
        (Caller.OTHER_PATIENT, world.other_patient),
    ):
        path = f"/api/users/{world.accounts[caller][0]}/link-patient"
        world.do("auth", "PATCH", path, json={"fhir_patient_id": patient})
    for caller, (_, username, password) in world.accounts.items():
        world.tokens[caller] = world.sign_in(username, password)
    world.tokens[Caller.FORGED] = world.tokens[Caller.ADMIN][:-20] + "A" * 20
    for service, caller, path in (
        ("patients", Caller.COLLEAGUE, f"/api/patients/{world.patient}"),
        ("patients", Caller.CLINICIAN, f"/api/patients/{world.patient}"),
        ("patients", Caller.STRANGER_STAFF, f"/api/patients/{world.other_patient}"),
        ("patients", Caller.STRANGER_CLINICIAN, f"/api/patients/{world.other_patient}"),
        ("patients", Caller.EXTERNAL, f"/api/patients/{world.patient}"),
        ("patients", Caller.EXTERNAL_WITHOUT, f"/api/patients/{world.other_patient}"),
        ("patients", Caller.ADVOCATE, f"/api/patients/{world.patient}"),
        ("auth", Caller.COLLEAGUE, f"/api/users?patient_id={world.patient}"),
        ("auth", Caller.CLINICIAN, f"/api/users?patient_id={world.patient}"),
    ):
        eventually(partial(_may_read, world, service, caller, path), f"{caller} {path}")
    return world


def _may_read(world: World, service: str, caller: Caller, path: str) -> bool:
    return world.call(service, caller, "GET", path).status_code == 200


def eventually(holds: Callable[[], bool], what: str) -> None:
    """Waits for a fact to travel.

    Raises:
        AssertionError: it does not arrive.
    """
    deadline = time.monotonic() + _FACTS_WITHIN
    while not holds():
        assert time.monotonic() < deadline, f"never came about: {what}"
        time.sleep(0.02)
