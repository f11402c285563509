"""Whatever is sent, no application answers with a fault of its own.

Each documented operation, at its service and through the gateway, gets requests that follow its schema and
requests that break it. QUILL_FUZZ_EXAMPLES raises their number.
"""

import copy
import os
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st
from operations import ALL, MERGED, Operation, fuzzable, operations
from patients import PATIENT
from schemathesis import GenerationMode
from world import Caller, World

EXAMPLES = int(os.environ.get("QUILL_FUZZ_EXAMPLES", "15"))
# Routes that cannot be answered without the FHIR server or another service: these may be busy (503, 504).
NEEDS_UPSTREAM = (
    "/api/patients",
    "/api/fhir/",
    "/api/organizations/{organisation_id}/patients",
    "/api/organizations/{organisation_id}/staff",
    "/api/organizations/{organisation_id}/join-requests",
    "/api/users/{user_id}/link-patient",
)
# The accounts that the test itself calls with; changing them would end it.
OWN_ACCOUNTS = {1}
# The merged document holds each service's operations again: fewer cases show that the gateway passes them on.
OPERATIONS = list(operations(*ALL))


def real_ids(world: World) -> dict[str, Any]:
    """Path parameters under which something is found."""
    return {
        "patient_id": world.patient,
        "organisation_id": world.elsewhere,
        "user_id": world.accounts[Caller.STRANGER_STAFF][0],
        "feature_key": "teaching",
    }


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=12), inner, max_size=3),
    max_leaves=6,
)


@st.composite
def damaged_patients(draw: st.DrawFn) -> Any:
    """A FHIR Patient with some of its parts replaced, taken out or added.

    The schema of the whole resource is too large to make cases from within seconds.
    """
    resource: Any = copy.deepcopy(PATIENT)
    for _ in range(draw(st.integers(0, 3))):
        parent, key = resource, draw(st.sampled_from(sorted(resource))) if resource else "name"
        while isinstance(parent.get(key), list | dict) and parent[key] and draw(st.booleans()):
            inner = parent[key]
            if isinstance(inner, list):
                inner = inner[0]
            if not isinstance(inner, dict) or not inner:
                break
            parent, key = inner, draw(st.sampled_from(sorted(inner)))
        damage = draw(st.sampled_from(("replace", "remove", "add", "repeat")))
        if damage == "replace":
            parent[key] = draw(ANYTHING)
        elif damage == "remove":
            parent.pop(key, None)
        elif damage == "add":
            parent[draw(st.text(max_size=12))] = draw(ANYTHING)
        else:
            parent[key] = [parent.get(key)] * draw(st.integers(0, 3))
    return resource


# schemathesis draws some of its text with the random module, of which hypothesis disapproves.
@pytest.mark.filterwarnings("ignore::hypothesis.errors.HypothesisDeprecationWarning")
@pytest.mark.parametrize("operation", OPERATIONS, ids=str)
def test_no_request_makes_a_server_fail(world: World, operation: Operation) -> None:
    found = fuzzable(operation)
    _, username, password = world.accounts[Caller.SUPERADMIN]
    headers = {"Authorization": f"Bearer {world.sign_in(username, password)}"}
    known = real_ids(world)
    if operation.method in ("post", "put") and operation.path.startswith("/api/fhir/Patient"):
        strategy = damaged_patients().flatmap(
            lambda body: found.as_strategy(body=body, media_type="application/fhir+json")
        )
    else:
        strategy = st.one_of([found.as_strategy(generation_mode=mode) for mode in GenerationMode])

    @settings(
        max_examples=EXAMPLES if operation.document != MERGED else max(2, EXAMPLES // 3),
        deadline=None,
        database=None,
        derandomize=True,
        phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )
    @given(case=strategy, existing=st.booleans())
    def run(case: Any, existing: bool) -> None:
        for name in case.path_parameters:
            if existing and name in known:
                case.path_parameters[name] = known[name]
        assume(case.path_parameters.get("user_id") not in OWN_ACCOUNTS)
        response = case.call(base_url=world.system.urls[operation.server], headers=headers, timeout=30)
        if response.status_code >= 500:
            waits = operation.path.startswith(NEEDS_UPSTREAM) and response.status_code in (503, 504)
            assert waits, f"{response.status_code}: {case.as_curl_command()}"
        if response.status_code >= 400:
            world.canary.keep(f"answer {response.status_code}", response.text)
            assert response.headers["content-type"][0].endswith("json"), case.as_curl_command()

    run()
