import httpx
import pytest

from quill_embedded.openehr import OpenEhrSettings, create_openehr_app

TEMPLATE = """<?xml version="1.0" encoding="UTF-8"?>
<template xmlns="http://schemas.openehr.org/v1">
  <language><terminology_id><value>ISO_639-1</value></terminology_id><code_string>en</code_string></language>
  <description>
    <original_author id="name">a project</original_author><lifecycle_state>draft</lifecycle_state>
    <details>
      <language><terminology_id><value>ISO_639-1</value></terminology_id><code_string>en</code_string></language>
      <purpose>For tests.</purpose>
    </details>
  </description>
  <template_id><value>minimal.v1</value></template_id>
  <concept>Minimal</concept>
  <definition>
    <rm_type_name>COMPOSITION</rm_type_name><node_id>at0000</node_id>
    <archetype_id><value>openEHR-EHR-COMPOSITION.report.v1</value></archetype_id>
  </definition>
</template>
"""
XML = {"Content-Type": "application/xml"}
PATH = "/definition/template/adl1.4"


async def test_a_template_is_uploaded_listed_and_read_back(openehr: httpx.AsyncClient) -> None:
    assert (await openehr.get(PATH)).json() == []
    answer = await openehr.post(PATH, content=TEMPLATE, headers=XML)
    assert (answer.status_code, answer.headers["etag"]) == (201, '"minimal.v1"')
    assert answer.headers["location"].endswith("/definition/template/adl1.4/minimal.v1")
    (listed,) = (await openehr.get(PATH)).json()
    assert listed["template_id"] == "minimal.v1"
    assert listed["concept"] == "Minimal"
    assert listed["archetype_id"] == "openEHR-EHR-COMPOSITION.report.v1"
    read = await openehr.get(f"{PATH}/minimal.v1", headers={"Accept": "application/xml"})
    assert (read.text, read.headers["content-type"].partition(";")[0]) == (TEMPLATE, "application/xml")


async def test_a_template_id_is_taken_once(openehr: httpx.AsyncClient) -> None:
    await openehr.post(PATH, content=TEMPLATE, headers=XML)
    answer = await openehr.post(PATH, content=TEMPLATE, headers=XML)
    assert answer.status_code == 409
    assert answer.json()["error"] == "Conflict"


@pytest.mark.parametrize(
    "content",
    [
        "",
        "no xml",
        "<template/>",
        TEMPLATE.replace("<concept>Minimal</concept>", ""),
        TEMPLATE.replace("Minimal", " "),
        TEMPLATE.replace(">COMPOSITION<", ">EVALUATION<"),
        TEMPLATE.replace("<lifecycle_state>draft</lifecycle_state>", ""),
        TEMPLATE.replace("<value>minimal.v1</value>", ""),
        TEMPLATE.replace("minimal.v1", "minimal\n.v1"),
        TEMPLATE.replace("schemas.openehr.org/v1", "schemas.openehr.org/v2"),
        TEMPLATE.replace("<template xmlns", '<!DOCTYPE t [<!ENTITY e "x">]><template xmlns'),
        TEMPLATE.replace("</definition>", "</definition><concept>late</concept>"),
    ],
)
async def test_a_bad_template_is_refused(openehr: httpx.AsyncClient, content: str) -> None:
    answer = await openehr.post(PATH, content=content, headers=XML)
    assert answer.status_code == 400
    assert set(answer.json()) == {"error", "message"}
    assert (await openehr.get(PATH)).json() == []


async def test_media_types_are_held_to(openehr: httpx.AsyncClient) -> None:
    only_json = {**XML, "Accept": "application/json"}
    assert (await openehr.post(PATH, content=TEMPLATE, headers=only_json)).status_code == 406
    assert (await openehr.post(PATH, content=TEMPLATE)).status_code == 415
    await openehr.post(PATH, content=TEMPLATE, headers=XML)
    web_template = {"Accept": "application/openehr.wt+json"}
    assert (await openehr.get(f"{PATH}/minimal.v1", headers=web_template)).status_code == 406
    assert (await openehr.get(f"{PATH}/absent")).status_code == 404


async def test_status_tells_the_versions(openehr: httpx.AsyncClient) -> None:
    url = "http://openehr.test/ehrbase/rest/status"
    answer = await openehr.get(url, headers={"Accept": "application/json"})
    assert answer.json()["ehrbase_version"]
    assert answer.json()["postgres_version"]
    assert (await openehr.get(url)).headers["content-type"] == "application/xml"


async def test_basic_authentication_can_be_asked_for(clean_database_url: str) -> None:
    app = create_openehr_app(OpenEhrSettings(database_url=clean_database_url, username="u", password="p:q"))
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://openehr.test") as client,
    ):
        for auth in (None, ("u", "wrong"), ("other", "p:q")):
            for path in ("/ehrbase/rest/status", "/unknown"):
                answer = await client.get(path, auth=auth)
                assert answer.status_code == 401
                assert answer.headers["www-authenticate"].startswith("Basic")
        broken = await client.get("/ehrbase/rest/status", headers={"Authorization": "Basic ***"})
        assert broken.status_code == 401
        assert (await client.get("/ehrbase/rest/status", auth=("u", "p:q"))).status_code == 200


def test_half_of_the_credentials_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="together"):
        OpenEhrSettings(database_url="postgresql://h/d", username="u")
