"""Each of the four servers is killed while people go on writing, and started again.

No acknowledged write is lost or doubled, health tells the truth, and Quill recovers by itself.
"""

import asyncio
import os
import secrets
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import asyncpg
import httpx
import pytest

import quill_backends

from .support import Stack, eventually
from .test_real_processes import processes
from .test_story import account, unique
from .writing import Watch, Writer, at_work

pytestmark = pytest.mark.real

TRUTH_WITHIN = 1.5
"""Seconds: reports are a second old at most, the rest is how long looking takes."""
RECOVERS_WITHIN = 20.0
SETTLED_WITHIN = 90.0
DOWN = 4.0
UP = 2.0

AWAY = {"hapi": "fhir", "ehrbase": "ehrbase", "rabbitmq": "rabbitmq", "postgres": "auth_db"}
"""What health calls the servers."""
WRITES_GO_ON = {"ehrbase", "rabbitmq"}
"""Patients and organisations need neither: letters wait for the one, and events for the other."""


@dataclass
class Ward:
    """An organisation, its nurse, a patient whose record is changed, and where all of it can be read."""

    stack: Stack
    fhir: httpx.Client
    admin: httpx.Client
    nurse: httpx.Client
    run: str
    organisation: int
    patient: str

    def register(self, number: int) -> httpx.Response:
        """A new patient of the ward."""
        body = {
            "given_name": "Fay",
            "family_name": f"{self.run}x{number}",
            "organisation_id": self.organisation,
        }
        return self.admin.post("/api/patients", json=body)

    def rename(self, number: int) -> httpx.Response:
        """The next name of the one patient."""
        return self.admin.patch(f"/api/patients/{self.patient}", json={"given_name": f"Step{number}"})

    def found(self, number: int) -> httpx.Response:
        """A new organisation, which only our own database and the bus have to do with."""
        body = {"name": f"{self.run} organisation {number}", "type": "gp_practice"}
        return self.admin.post("/api/organizations", json=body)

    def registered(self) -> dict[str, str]:
        """What HAPI holds of those who were registered: family names by ids."""
        found, url = {}, f"Patient?family={self.run}x&_count=200"
        while url:
            bundle = self.fhir.get(url, headers={"Cache-Control": "no-cache"}).json()
            for entry in bundle.get("entry", []):
                found[entry["resource"]["id"]] = entry["resource"]["name"][0]["family"]
            url = next((link["url"] for link in bundle["link"] if link["relation"] == "next"), "")
        return found

    def names(self) -> list[int]:
        """The numbers of all names the one patient ever had in HAPI, from the first to the last."""
        numbers, url = [], f"Patient/{self.patient}/_history?_count=200"
        while url:
            bundle = self.fhir.get(url, headers={"Cache-Control": "no-cache"}).json()
            numbers += [entry["resource"]["name"][0]["given"][0] for entry in bundle["entry"]]
            url = next((link["url"] for link in bundle["link"] if link["relation"] == "next"), "")
        return [int(name.removeprefix("Step")) for name in reversed(numbers) if name.startswith("Step")]

    def organisations(self) -> Counter[str]:
        """How often there is an organisation of each name."""
        return Counter(
            each["name"]
            for each in pages(self.admin, "/api/organizations", "organizations")
            if each["name"].startswith(f"{self.run} organisation")
        )

    def seen_by_the_nurse(self) -> set[str]:
        """The ids in the nurse's list, which the events of two services make."""
        return {each["id"] for each in pages(self.nurse, "/api/patients", "patients")}


def pages(client: httpx.Client, path: str, key: str) -> Iterator[Any]:
    cursor: dict[str, str] = {}
    while True:
        answer = client.get(path, params={"limit": "100", **cursor})
        assert answer.status_code == 200, answer.text
        yield from answer.json()[key]
        if not answer.json()["next_cursor"]:
            return
        cursor = {"cursor": answer.json()["next_cursor"]}


@pytest.fixture
def ward(stack: Stack) -> Iterator[Ward]:
    """A ward of this test only."""
    if int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")) > 1:
        pytest.fail(
            "Servers are killed: nobody else may use them, so run this in one process.", pytrace=False
        )
    backends = quill_backends.load()
    assert backends is not None
    run, password = f"Fault{secrets.token_hex(4)}", secrets.token_urlsafe(16)
    nurse = unique("nurse")
    with stack.browser("admin") as admin:
        ward = admin.made("/api/organizations", {"name": f"{run} ward", "type": "hospital_team"})["id"]
        nurse_id = account(
            admin, nurse, password, base_profession="registered_nurse", system_permissions="staff"
        )
        admin.made(f"/api/organizations/{ward}/staff", {"user_id": nurse_id})
        body = {"given_name": "Step0", "family_name": f"{run}-renamed", "organisation_id": ward}
        patient = admin.made("/api/patients", body)["id"]
    with (
        httpx.Client(base_url=backends.fhir_url, timeout=20) as fhir,
        httpx.Client(base_url=stack.url, headers=stack.bearer("admin"), timeout=35) as admin_client,
        httpx.Client(base_url=stack.url, headers=stack.bearer(nurse, password), timeout=35) as nurse_client,
    ):
        made = Ward(stack, fhir, admin_client, nurse_client, run, ward, patient)
        eventually({patient}, made.seen_by_the_nurse)
        yield made


async def unsettled(url: str) -> dict[str, int]:
    """Intents that are open and events that have not left, by service."""
    left = {}
    for service in ("auth", "patients", "letters", "messaging", "orgs"):
        connection = await asyncpg.connect(url.rpartition("/")[0] + f"/quill_{service}")
        try:
            left[service] = await connection.fetchval(
                "SELECT (SELECT count(*) FROM upstream_intent)"
                " + (SELECT count(*) FROM outbox WHERE published_at IS NULL)"
                " + (SELECT count(*) FROM parked_message)"
            )
        finally:
            await connection.close()
    return left


@pytest.mark.parametrize("server", ["rabbitmq", "ehrbase", "postgres", "hapi"])
def test_a_killed_server_costs_no_acknowledged_write(ward: Ward, server: str) -> None:
    stack, entry = ward.stack, AWAY[server]
    assert stack.becomes_healthy(within=20)
    ours, said = processes(stack), stack.output
    backends = quill_backends.load()
    assert backends is not None
    registering, renaming, founding = Writer(ward.register), Writer(ward.rename), Writer(ward.found)
    reading = Writer(lambda number: ward.nurse.get(f"/api/patients/{ward.patient}"))
    watch = Watch(stack.url)
    with at_work(registering, renaming, founding, reading, watch):
        time.sleep(UP)
        killed = time.monotonic()
        quill_backends.kill(server)
        gone = time.monotonic()
        time.sleep(DOWN)
        starting = time.monotonic()
        quill_backends.start(server)
        started = time.monotonic()
        assert stack.becomes_healthy(within=RECOVERS_WITHIN), watch.seen[-1]
        time.sleep(UP)
    writers = {"registering": registering, "renaming": renaming, "founding": founding}

    noticed = watch.first(killed, entry, available=False)
    recovered = watch.first(started, entry, available=True)
    print(
        f"\n{server}: killed in {gone - killed:.2f} s, reported after {noticed:.2f} s, "
        f"answers again after {started - starting:.1f} s, healthy {recovered:.2f} s later; "
        f"longest silence of health {watch.longest_silence():.2f} s"
    )
    for name, writer in {**writers, "reading": reading}.items():
        print(
            f"  {name}: {len(writer.acknowledged)} acknowledged, "
            f"{writer.acknowledged_between(gone, starting)} while away, refused {dict(writer.statuses())}"
        )
    assert noticed - (gone - killed) < TRUTH_WITHIN
    assert watch.longest_silence() < TRUTH_WITHIN
    assert watch.always(gone + TRUTH_WITHIN, starting, entry) == {False}
    # HAPI without its database answers 500: a bad answer, where one that is gone gives none.
    expected = {502, 503, 504} if server == "postgres" else {503, 504}
    for name, writer in {**writers, "reading": reading}.items():
        assert set(writer.statuses()) <= expected, f"{name}: {writer.statuses()}"
        if server in WRITES_GO_ON:
            assert not writer.refused, f"{name}: {writer.statuses()}"
            assert writer.acknowledged_between(gone, starting) > 5
        assert writer.acknowledged_between(started + recovered, float("inf")) > 0, name

    eventually(
        dict.fromkeys(("auth", "patients", "letters", "messaging", "orgs"), 0),
        lambda: asyncio.run(unsettled(backends.postgres_url)),
        within=SETTLED_WITHIN,
    )
    held = ward.registered()
    times = Counter(held.values())
    assert {number: times[f"{ward.run}x{number}"] for number in registering.acknowledged} == dict.fromkeys(
        registering.acknowledged, 1
    )
    assert all(
        held[answer["id"]] == f"{ward.run}x{number}" for number, answer in registering.acknowledged.items()
    )
    assert all(times[f"{ward.run}x{number}"] <= 1 for number in registering.refused)
    eventually({ward.patient, *held}, ward.seen_by_the_nurse, within=20)

    names = ward.names()
    assert set(renaming.acknowledged) <= set(names)
    assert names == sorted(set(names)), "a name was written twice, or after a later one"
    read = ward.nurse.get(f"/api/patients/{ward.patient}/demographics").json()["data"]
    assert read["name"][0]["given"] == [f"Step{names[-1]}"]

    founded = ward.organisations()
    assert {founded[f"{ward.run} organisation {number}"] for number in founding.acknowledged} == {1}
    assert max(founded.values()) == 1

    assert processes(stack) == ours
    assert stack.output == said
