"""What an operational template must hold to be accepted (openEHR ADL 1.4 OPT)."""

import re
from dataclasses import dataclass
from typing import Final
from xml.etree import ElementTree

from .errors import BadRequestError

_NAMESPACE: Final = "{http://schemas.openehr.org/v1}"
_ORDER: Final = ("language", "description", "uid", "template_id", "concept", "definition")
_REQUIRED_TEXTS: Final = (
    "language/terminology_id/value",
    "language/code_string",
    "description/original_author",
    "description/lifecycle_state",
    "description/details/language/code_string",
    "description/details/purpose",
    "template_id/value",
    "concept",
    "definition/rm_type_name",
    "definition/node_id",
    "definition/archetype_id/value",
)


@dataclass(frozen=True, slots=True)
class Template:
    """An operational template as received, and what lists show of it."""

    template_id: str
    concept: str
    archetype_id: str
    xml: str


def read_template(body: bytes) -> Template:
    """Check an uploaded operational template.

    Raises:
        BadRequestError: not XML, not a template, or a required part is missing.
    """
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise BadRequestError("the template is not UTF-8") from None
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise BadRequestError("a template must not hold a document type")
    try:
        root = ElementTree.fromstring(text.encode())  # noqa: S314 - document types were refused above
    except (ElementTree.ParseError, ValueError):
        raise BadRequestError("the template is not well-formed XML") from None
    if root.tag != f"{_NAMESPACE}template":
        raise BadRequestError("the root element is not an openEHR template")
    places = [_ORDER.index(name) for name in (_local(child.tag) for child in root) if name in _ORDER]
    if places != sorted(places):
        raise BadRequestError("the template's elements are not in the order of the schema")
    for path in _REQUIRED_TEXTS:
        if not _text(root, path):
            raise BadRequestError(f"Required value {path} is missing or empty")
    if not re.fullmatch(r"[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?", _text(root, "template_id/value")):
        raise BadRequestError("template_id holds characters that an HTTP header cannot carry")
    if _text(root, "definition/rm_type_name") != "COMPOSITION":
        raise BadRequestError("the template's root is not a COMPOSITION")
    return Template(
        template_id=_text(root, "template_id/value"),
        concept=_text(root, "concept"),
        archetype_id=_text(root, "definition/archetype_id/value"),
        xml=text,
    )


def _local(tag: str) -> str:
    return tag.removeprefix(_NAMESPACE)


def _text(root: ElementTree.Element, path: str) -> str:
    found = root.findtext("/".join(f"{_NAMESPACE}{step}" for step in path.split("/")))
    return (found or "").strip()
