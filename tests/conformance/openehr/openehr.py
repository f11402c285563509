"""What the cases send to openEHR servers, and how they read answers."""

from typing import Any, Final
from xml.etree import ElementTree

import httpx

from ..servers import Server

BASE_PATH: Final = "/ehrbase/rest/openehr/v1"
TEMPLATES: Final = "/definition/template/adl1.4"
XML: Final = "application/xml"

_ONCE: Final = (
    "<lower_included>true</lower_included><upper_included>true</upper_included>"
    "<lower_unbounded>false</lower_unbounded><upper_unbounded>false</upper_unbounded>"
    "<lower>1</lower><upper>1</upper>"
)
_EXISTS: Final = f"<existence>{_ONCE}</existence>"
_OCCURS: Final = f"<occurrences>{_ONCE}</occurrences>"
LANGUAGE: Final = (
    "<language><terminology_id><value>ISO_639-1</value></terminology_id>"
    "<code_string>en</code_string></language>"
)
DESCRIPTION: Final = (
    '<description><original_author id="name">a project</original_author>'
    f"<lifecycle_state>draft</lifecycle_state><details>{LANGUAGE}<purpose>For tests.</purpose></details>"
    "</description>"
)
# A report whose category is `event` (openehr::433) and whose content is left open.
_DEFINITION: Final = (
    f"<definition><rm_type_name>COMPOSITION</rm_type_name>{_OCCURS}<node_id>at0000</node_id>"
    '<attributes xsi:type="C_SINGLE_ATTRIBUTE"><rm_attribute_name>category</rm_attribute_name>'
    f'{_EXISTS}<children xsi:type="C_COMPLEX_OBJECT"><rm_type_name>DV_CODED_TEXT</rm_type_name>'
    f'{_OCCURS}<node_id/><attributes xsi:type="C_SINGLE_ATTRIBUTE">'
    f"<rm_attribute_name>defining_code</rm_attribute_name>{_EXISTS}"
    f'<children xsi:type="C_CODE_PHRASE"><rm_type_name>CODE_PHRASE</rm_type_name>{_OCCURS}<node_id/>'
    "<terminology_id><value>openehr</value></terminology_id><code_list>433</code_list></children>"
    "</attributes></children></attributes>"
    "<archetype_id><value>openEHR-EHR-COMPOSITION.report.v1</value></archetype_id>"
    "<template_id><value>{template_id}</value></template_id>"
    '<term_definitions code="at0000"><items id="text">Report</items>'
    '<items id="description">A report</items></term_definitions></definition>'
)


def template(template_id: str) -> str:
    """The smallest operational template (ADL 1.4) that EHRbase accepts."""
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<template xmlns="http://schemas.openehr.org/v1"'
        ' xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">'
        f"{LANGUAGE}{DESCRIPTION}<template_id><value>{template_id}</value></template_id>"
        f"<concept>Conformance</concept>{_DEFINITION.replace('{template_id}', template_id)}</template>"
    )


def canonical(xml: str) -> str:
    """XML without what may differ between two texts of the same document."""
    return ElementTree.canonicalize(xml, strip_text=True)


def status(subject_id: str, namespace: str = "fhir", **changes: Any) -> dict[str, Any]:
    """An EHR_STATUS about somebody; a change to None leaves the attribute out."""
    whole = {
        "_type": "EHR_STATUS",
        "archetype_node_id": "openEHR-EHR-EHR_STATUS.generic.v1",
        "name": {"_type": "DV_TEXT", "value": "EHR Status"},
        "subject": subject(subject_id, namespace),
        "is_queryable": True,
        "is_modifiable": True,
        **changes,
    }
    return {name: value for name, value in whole.items() if value is not None}


def subject(subject_id: str, namespace: str = "fhir", **changes: Any) -> dict[str, Any]:
    """A PARTY_SELF that refers to somebody known elsewhere; a change to None leaves the attribute out."""
    reference = {
        "_type": "PARTY_REF",
        "namespace": namespace,
        "type": "PERSON",
        "id": {"_type": "GENERIC_ID", "value": subject_id, "scheme": "fhir"},
        **changes,
    }
    given = {name: value for name, value in reference.items() if value is not None}
    return {"_type": "PARTY_SELF", "external_ref": given}


class OpenEhrClient:
    """The requests Quill sends; `http` is there for what is out of the ordinary."""

    def __init__(self, http: httpx.AsyncClient, server: Server) -> None:
        self.http = http
        self.server = server
        self.base = server.url

    @property
    def status_url(self) -> str:
        return self.base.removesuffix("/openehr/v1") + "/status"

    async def create_ehr(
        self, ehr_status: dict[str, Any], *, ehr_id: str | None = None, **headers: str
    ) -> httpx.Response:
        if ehr_id is None:
            return await self.http.post("/ehr", json=ehr_status, headers=headers)
        return await self.http.put(f"/ehr/{ehr_id}", json=ehr_status, headers=headers)

    async def ehr_of(self, subject_id: str, namespace: str = "fhir") -> httpx.Response:
        parameters = {"subject_id": subject_id, "subject_namespace": namespace}
        return await self.http.get("/ehr", params=parameters)

    async def upload(self, xml: str, **headers: str) -> httpx.Response:
        given = {"Content-Type": XML, "Accept": XML, **headers}
        return await self.http.post(TEMPLATES, content=xml.encode(), headers=given)


def refusal(answer: httpx.Response) -> str:
    """The kind of an error in EHRbase's own document, in JSON or in XML as was asked for."""
    if answer.headers["content-type"].startswith(XML):
        root = ElementTree.fromstring(answer.content)
        told = {child.tag: child.text or "" for child in root}
    else:
        told = answer.json()
    assert set(told) == {"error", "message"}
    assert told["message"]
    return str(told["error"])


def tag(answer: httpx.Response) -> str:
    """What an ETag names, which EHRbase quotes."""
    text = answer.headers["etag"]
    assert text.startswith('"')
    assert text.endswith('"')
    return text[1:-1]
