"""Operational templates (openEHR REST API, Definition, ADL 1.4)."""

import asyncio
from collections import Counter
from datetime import datetime

import httpx
import pytest

from quill_letters.openehr.client import OpenEhrServer
from quill_shared.platform.http import UpstreamClient

from ..servers import Deviation, Server, unique
from .openehr import (
    DESCRIPTION,
    LANGUAGE,
    TEMPLATES,
    XML,
    OpenEhrClient,
    canonical,
    refusal,
    tag,
    template,
)


def name() -> str:
    return f"conformance_{unique()}.v1"


async def test_a_template_is_uploaded_listed_and_read_back(openehr: OpenEhrClient) -> None:
    template_id = name()

    uploaded = await openehr.upload(template(template_id))

    location = f"{openehr.base}{TEMPLATES}/{template_id}"
    assert (uploaded.status_code, uploaded.content) == (201, b"")
    assert (tag(uploaded), uploaded.headers["location"]) == (template_id, location)
    (listed,) = [
        each for each in (await openehr.http.get(TEMPLATES)).json() if each["template_id"] == template_id
    ]
    assert set(listed) == {"template_id", "concept", "archetype_id", "created_timestamp"}
    assert (listed["concept"], listed["archetype_id"]) == ("Conformance", "openEHR-EHR-COMPOSITION.report.v1")
    assert datetime.fromisoformat(listed["created_timestamp"]).tzinfo is not None
    read = await openehr.http.get(f"{TEMPLATES}/{template_id}", headers={"Accept": XML})
    assert (read.status_code, read.headers["content-type"].partition(";")[0]) == (200, XML)
    assert (tag(read), read.headers["location"]) == (template_id, location)
    assert canonical(read.text) == canonical(template(template_id))


async def test_the_answer_is_the_template_where_that_is_preferred(openehr: OpenEhrClient) -> None:
    template_id = name()

    uploaded = await openehr.upload(template(template_id), Prefer="return=representation")

    assert uploaded.status_code == 201
    assert canonical(uploaded.text) == canonical(template(template_id))


async def test_a_template_id_is_taken_once(openehr: OpenEhrClient) -> None:
    template_id = name()
    await openehr.upload(template(template_id))

    again = await openehr.upload(template(template_id))
    other = await openehr.upload(template(template_id).replace("A report", "Another"))

    assert [(each.status_code, refusal(each)) for each in (again, other)] == [(409, "Conflict")] * 2


async def test_ehrbase_answers_anything_to_who_upload_at_once_and_keeps_one(openehr: OpenEhrClient) -> None:
    """Who uploads at its start looks afterwards whether the template is there, whatever the answer was."""
    deviation = Deviation(
        "EHRbase checks, then stores: the loser may be told 201 or 500", {201, 409, 500}, {201, 409}
    )
    template_id = name()

    answers = await asyncio.gather(*(openehr.upload(template(template_id)) for _ in range(4)))

    told = Counter(each.status_code for each in answers)
    assert told[201] >= 1
    assert set(told) <= deviation.expected(openehr.server)  # type: ignore[operator]
    assert openehr.server.is_real or told == {201: 1, 409: 3}
    listed = [each["template_id"] for each in (await openehr.http.get(TEMPLATES)).json()]
    assert listed.count(template_id) == 1
    assert (await openehr.upload(template(template_id))).status_code == 409


async def test_an_unknown_template_is_not_found(openehr: OpenEhrClient) -> None:
    for accept in (XML, "application/json", f"{XML}, application/json"):
        answer = await openehr.http.get(f"{TEMPLATES}/{name()}", headers={"Accept": accept})
        assert (answer.status_code, refusal(answer)) == (404, "Not Found")


async def test_an_error_is_told_in_the_format_asked_for(openehr: OpenEhrClient) -> None:
    in_xml = await openehr.http.get(f"{TEMPLATES}/none", headers={"Accept": f"{XML}, application/json"})
    in_json = await openehr.http.get(f"{TEMPLATES}/none", headers={"Accept": f"application/json, {XML}"})

    assert in_xml.headers["content-type"].startswith(XML)
    assert in_json.headers["content-type"].startswith("application/json")


@pytest.mark.parametrize("content_type", ["application/json", "text/xml", None])
async def test_a_template_is_uploaded_as_xml(openehr: OpenEhrClient, content_type: str | None) -> None:
    headers = {"Accept": "*/*", **({"Content-Type": content_type} if content_type else {})}

    answer = await openehr.http.post(TEMPLATES, content=template(name()).encode(), headers=headers)

    assert answer.status_code == 415
    assert set(answer.json()) == {"timestamp", "status", "error", "path"}


async def test_ehrbase_uploads_for_nobody_who_takes_json_alone(openehr: OpenEhrClient) -> None:
    template_id = name()

    refused = await openehr.upload(template(template_id), Accept="application/json")
    taken = await openehr.upload(template(template_id), Accept="*/*")

    assert (refused.status_code, refusal(refused)) == (406, "Not Acceptable")
    assert taken.status_code == 201


BAD = {
    "empty": "",
    "no XML": "no xml",
    "not closed": template("x")[:-3],
    "another root": "<template/>",
    "another namespace": template("x").replace("schemas.openehr.org/v1", "schemas.openehr.org/v2"),
    "no concept": template("x").replace("<concept>Conformance</concept>", "<concept></concept>"),
    "no language": template("x").replace(LANGUAGE, "", 1),
    "no description": template("x").replace(DESCRIPTION, ""),
    "no state": template("x").replace("<lifecycle_state>draft</lifecycle_state>", ""),
    "no purpose": template("x").replace("<purpose>For tests.</purpose>", ""),
}


@pytest.mark.parametrize("fault", BAD)
async def test_a_bad_template_is_refused(openehr: OpenEhrClient, fault: str) -> None:
    answer = await openehr.upload(BAD[fault])

    assert (answer.status_code, refusal(answer)) == (400, "Bad Request")


STRICT = "A template that no composition can be of is a mistake, and templates are never deleted"
TOLERATED = {
    "blank concept": lambda text: text.replace("Conformance", " "),
    "another type": lambda text: text.replace(">COMPOSITION<", ">EVALUATION<"),
    "another order": lambda text: text.replace("</definition>", "</definition><concept>late</concept>"),
    "document type": lambda text: text.replace("<template ", '<!DOCTYPE t [<!ENTITY e "x">]><template '),
    "no node id": lambda text: text.replace("<node_id>at0000</node_id>", ""),
}


@pytest.mark.parametrize("fault", TOLERATED)
async def test_ehrbase_takes_templates_that_are_not_right(openehr: OpenEhrClient, fault: str) -> None:
    answer = await openehr.upload(TOLERATED[fault](template(name())))

    assert answer.status_code == Deviation(STRICT, 201, 400).expected(openehr.server)


@pytest.mark.parametrize("accept", ["application/json", "application/openehr.wt+json"])
async def test_ehrbase_gives_a_web_template_to_who_asks_for_json(openehr: OpenEhrClient, accept: str) -> None:
    """To see whether a template is there, ask for XML."""
    deviation = Deviation("The stand-in makes no web templates; Quill reads none", 200, 406)
    template_id = name()
    await openehr.upload(template(template_id))

    answer = await openehr.http.get(f"{TEMPLATES}/{template_id}", headers={"Accept": accept})

    assert answer.status_code == deviation.expected(openehr.server)


async def test_quills_client_knows_a_server_that_works(openehr_server: Server) -> None:
    assert openehr_server.credentials is not None
    for credentials, expected in (
        (openehr_server.credentials, True),
        (("quill", "wrong"), False),
    ):
        auth = httpx.BasicAuth(*credentials)
        client = UpstreamClient("openehr", openehr_server.url, auth=auth)
        assert await OpenEhrServer(client).works() is expected
        await client.close()
