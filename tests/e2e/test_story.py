"""The story of the first slice, over real HTTP with cookies and CSRF tokens."""

import secrets
from typing import Any

import httpx

from .support import Browser, Stack, eventually


def unique(prefix: str) -> str:
    return f"{prefix}-{secrets.token_hex(4)}"


def account(admin: Browser, name: str, password: str, **more: Any) -> int:
    body = {"name": name, "email": f"{name}@quill.example", "password": password, **more}
    return int(admin.made("/api/users", body)["id"])


def test_staff_see_exactly_their_organisations_patients_and_a_stranger_sees_none(stack: Stack) -> None:
    password = secrets.token_urlsafe(16)
    with stack.browser("admin") as admin:
        ward = admin.made("/api/organizations", {"name": unique("Ward"), "type": "hospital_team"})["id"]
        elsewhere = admin.made("/api/organizations", {"name": unique("Surgery"), "type": "gp_practice"})["id"]
        names = {"nurse": unique("nurse"), "stranger": unique("stranger")}
        ids = {
            who: account(
                admin, name, password, base_profession="registered_nurse", system_permissions="staff"
            )
            for who, name in names.items()
        }
        admin.made(f"/api/organizations/{ward}/staff", {"user_id": ids["nurse"]})
        admin.made(f"/api/organizations/{elsewhere}/staff", {"user_id": ids["stranger"]})
        patients = {unique("p") for _ in range(3)}
        for patient_id in patients:
            admin.made(
                "/api/patients",
                {
                    "given_name": "Wilma",
                    "family_name": unique("Family"),
                    "patient_id": patient_id,
                    "organisation_id": ward,
                },
            )
        assert patients <= admin.all_patients()

        with (
            stack.browser(names["nurse"], password) as nurse,
            stack.browser(names["stranger"], password) as stranger,
        ):
            eventually(patients, nurse.patients)
            assert stranger.patients() == set()
            one = sorted(patients)[0]
            assert nurse.get(f"/api/patients/{one}").json()["id"] == one
            refused = stranger.get(f"/api/patients/{one}")
            unknown = stranger.get(f"/api/patients/{unique('nobody')}")
            assert (refused.status_code, unknown.status_code) == (403, 403)
            assert refused.json()["detail"] == unknown.json()["detail"]

            admin.made(f"/api/organizations/{ward}/patients/{one}", method="DELETE")
            eventually(patients - {one}, nurse.patients)
            admin.made(f"/api/organizations/{elsewhere}/patients", {"patient_id": one})
            eventually({one}, stranger.patients)


def test_the_seeded_world_is_as_it_is_told(stack: Stack) -> None:
    everyone = {f"demo-{number:02}" for number in range(1, 13)}
    hospital = {f"demo-{number:02}" for number in range(1, 8)}
    surgery = {"demo-01", "demo-07", *everyone - hospital}
    expected = {
        "consultant": hospital,
        "gp": surgery,
        "receptionist": surgery,
        "patient": {"demo-01"},
        "external": {"demo-01"},
    }
    for username, visible in expected.items():
        with stack.browser(username) as browser:
            eventually(visible, lambda browser=browser: browser.patients() & everyone)
    with stack.browser("admin") as admin:
        organisations = list(admin.pages("/api/organizations", "organizations", limit="100"))
        features = [
            {
                each["feature_key"]
                for each in admin.get(f"/api/organizations/{organisation['id']}/features").json()["features"]
            }
            for organisation in organisations
            if organisation["name"] in ("Riverside General, Cardiology", "Meadow Lane Surgery")
        ]
    assert features == [{"letters", "messaging"}] * 2


def test_a_write_without_its_csrf_token_is_refused(stack: Stack) -> None:
    with stack.browser("admin") as admin:
        body = {"name": unique("Ward"), "type": "hospital_team"}
        answer = admin.client.post("/api/organizations", json=body)
        assert (answer.status_code, answer.json()["detail"]) == (403, "CSRF failed")
        with stack.browser("gp") as other:
            stolen = {"X-CSRF-Token": other.client.cookies["XSRF-TOKEN"]}
        assert admin.client.post("/api/organizations", json=body, headers=stolen).status_code == 403
        assert admin.post("/api/organizations", body).status_code == 200


def test_signing_out_ends_the_session_on_the_server(stack: Stack) -> None:
    with stack.browser("gp") as gp:
        kept = dict(gp.client.cookies)
        assert gp.get("/api/auth/me").json()["username"] == "gp"
        gp.made("/api/auth/logout")
        assert gp.get("/api/auth/me").status_code == 401

        def still_in() -> int:
            cookie = "; ".join(f"{name}={value}" for name, value in kept.items())
            return httpx.get(f"{stack.url}/api/auth/me", headers={"Cookie": cookie}).status_code

        eventually(401, still_in, within=2)


def test_a_session_goes_on_by_its_refresh_token(stack: Stack) -> None:
    with stack.browser("consultant") as browser:
        before = browser.client.cookies["access_token"]
        assert browser.made("/api/auth/refresh") == {"detail": "ok"}
        assert browser.client.cookies["access_token"] != before
        assert browser.get("/api/auth/me").json()["username"] == "consultant"


def test_a_revoked_grant_closes_the_record(stack: Stack) -> None:
    """The demo's external clinician stays as they are: another one is invited and shut out again."""
    name, password = unique("visitor"), secrets.token_urlsafe(16)
    with stack.browser("patient") as patient, stack.browser() as visitor:
        invitation = {"email": f"{name}@quill.example", "user_type": "external_hcp"}
        token = patient.made("/api/patients/demo-01/invite-external", invitation)["token"]
        acceptance = {"token": token, "username": name, "password": password}
        user_id = visitor.made("/api/accept-invite", acceptance)["user_id"]
        visitor.made("/api/auth/login", {"username": name, "password": password})
        eventually({"demo-01"}, visitor.patients)
        patient.made(f"/api/patients/demo-01/external-access/{user_id}", method="DELETE")
        eventually(set(), visitor.patients)
        assert visitor.get("/api/patients/demo-01").status_code == 403
        assert visitor.post("/api/accept-invite", acceptance).status_code == 400


def test_health_names_every_part(stack: Stack) -> None:
    answer = httpx.get(f"{stack.url}/api/health").json()
    assert answer["status"] == "healthy"
    assert set(answer["services"]) >= {
        "auth_db", "fhir", "ehrbase", "rabbitmq", "auth", "patients", "letters", "messaging", "orgs",
    }  # fmt: skip
    assert answer["services"]["rabbitmq"] == {
        "available": True,
        "transport": "rabbitmq" if stack.real else "embedded",
    }
