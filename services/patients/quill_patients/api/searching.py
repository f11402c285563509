"""What a FHIR search asks for, read from its parameters or from the page link of an earlier answer."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl

from starlette.requests import Request

from quill_shared.kernel.principal import Principal
from quill_shared.platform.errors import BadRequest
from quill_shared.platform.pagination import MAX_PAGE, storable

from ..domain import is_patient_id
from ..errors import UnsupportedMedia
from ..fhir.capabilities import SEARCH_PARAMETERS
from ..fhir.client import Criteria
from ..sealing import Seal

_FORM: Final = "application/x-www-form-urlencoded"
_IGNORED: Final = frozenset({"_format", "_pretty"})
_MODIFIERS: Final = {
    "name": ("exact",),
    "family": ("exact",),
    "given": ("exact",),
}
_DATE: Final = re.compile(r"(eq|ne|lt|le|gt|ge|sa|eb)?[0-9]{4}(-[0-9]{2}(-[0-9]{2})?)?")
_SHOWN: Final = re.compile(r"[A-Za-z_:.-]{1,40}")
_MOST_PARAMETERS: Final = 100
_LONGEST_VALUE: Final = 20_000

LONGEST_PAGE_TOKEN: Final = 7000
"""Of the characters that a gateway takes in an address."""

Parameters = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class SearchRequest:
    """A search: its criteria for the FHIR server, the ids it is about if it names any, and the page."""

    criteria: Criteria
    ids: Sequence[str] | None
    count: int
    after: int = 0

    @property
    def longest(self) -> str:
        """The name of the parameter that takes most room."""
        sizes = {"_id": len(",".join(self.ids or ()))}
        for name, value in self.criteria:
            sizes[name] = sizes.get(name, 0) + len(value)
        return max(sizes, key=sizes.__getitem__)

    def sealed(self, principal: Principal, seal: Seal, *, after: int) -> str:
        """This search from a position on, as a token for the same caller."""
        return seal.close([principal.user_id, list(self.criteria), self.ids, self.count, after])


def search_request(parameters: Parameters, principal: Principal, seal: Seal) -> SearchRequest:
    """The search in `parameters`. Nothing is ignored: a search that drops a condition shows the wrong
    patients.

    Raises:
        BadRequest: a parameter, modifier or value that is not understood.
    """
    pages = [value for name, value in parameters if name == "_page"]
    if pages:
        if len([name for name, _ in parameters if name not in _IGNORED]) > 1:
            raise bad_parameter("stands alone", "_page")
        return _opened(pages[0], principal, seal)
    criteria: list[tuple[str, str]] = []
    ids: list[str] | None = None
    count, is_counted = MAX_PAGE, False
    for name, value in parameters:
        if name in _IGNORED:
            continue
        if name == "_count":
            if is_counted:
                raise bad_parameter("must be given once", name)
            count, is_counted = _count(value), True
        elif name == "_id":
            named = _ids(value)
            ids = named if ids is None else [each for each in ids if each in named]
        else:
            criteria.append(_criterion(name, value))
    return SearchRequest(criteria, ids, count)


def _opened(token: str, principal: Principal, seal: Seal) -> SearchRequest:
    match seal.open(token):
        case [user_id, list(criteria), ids, int(count), int(after)] if user_id == principal.user_id:
            return SearchRequest([(name, value) for name, value in criteria], ids, count, after)
    raise bad_parameter("is no page of yours", "_page")


def _count(value: str) -> int:
    if not (value.isascii() and value.isdigit() and len(value) <= 9 and int(value) > 0):
        raise bad_parameter("must be a whole number above 0", "_count")
    return min(int(value), MAX_PAGE)


def _ids(value: str) -> list[str]:
    ids = list(dict.fromkeys(part.removeprefix("Patient/") for part in value.split(",")))
    if len(ids) > MAX_PAGE or not all(is_patient_id(part) for part in ids):
        raise bad_parameter("must be ids, separated by commas", "_id")
    return ids


def _criterion(name: str, value: str) -> tuple[str, str]:
    plain, colon, modifier = name.partition(":")
    if plain not in SEARCH_PARAMETERS or (colon and modifier not in _MODIFIERS.get(plain, ())):
        raise bad_parameter("is not supported", name)
    if not value.strip() or len(value) > _LONGEST_VALUE or not storable(value):
        raise bad_parameter("has no usable value", name)
    if plain == "birthdate" and not _DATE.fullmatch(value):
        raise bad_parameter("must be one date", name)
    return name, value


def conditional_create(header: str) -> Criteria:
    """The search in an If-None-Exist header: by identifier only, which is what tells patients apart.

    Raises:
        BadRequest: anything else.
    """
    parameters = parse_qsl(header.partition("?")[2] if "?" in header else header, keep_blank_values=True)
    if not parameters or any(name != "identifier" for name, _ in parameters):
        raise BadRequest("If-None-Exist must search by identifier", code="invalid_search")
    return [_criterion(name, value) for name, value in parameters]


async def parameters_of(request: Request) -> Parameters:
    """The parameters of a search by POST, in its form and in its address.

    Raises:
        UnsupportedMedia: the body is no form.
        BadRequest: too many parameters.
    """
    body = await request.body()
    if body and request.headers.get("content-type", "").partition(";")[0].strip().lower() != _FORM:
        raise UnsupportedMedia("The content must be a form")
    try:
        form = parse_qsl(
            body.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=_MOST_PARAMETERS
        )
    except ValueError:
        raise BadRequest("Too many parameters", code="invalid_search") from None
    return [*request.query_params.multi_items(), *form]


def bad_parameter(message: str, *names: str) -> BadRequest:
    """The error of search parameters, by name; a name that is not one may be data and is not repeated."""
    shown: Iterable[str] = dict.fromkeys(name if _SHOWN.fullmatch(name) else "?" for name in names)
    return BadRequest(
        f"Search parameter {', '.join(shown)}: {message}",
        code="invalid_search",
        extra={
            "errors": [{"loc": ["query", name], "msg": message, "type": "invalid_search"} for name in shown]
        },
    )
