"""From search parameters to one SQL query (FHIR R4, search).

Every parameter becomes a condition on an index table; nothing looks into stored JSON. Parameters given twice
must all hold, values separated by commas are alternatives.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

from .dates import parse_time_range
from .definitions import SEARCH_PARAMETERS, SearchParameter, fold, indexed_token, split_reference
from .outcome import InvalidRequestError, NotAllowedError
from .storage import Connection

_PREFIXED = re.compile(r"(?P<prefix>eq|ne|lt|le|gt|ge|sa|eb|ap)?(?P<date>\d.*)")
_ALTERNATIVE = re.compile(r"(?:[^\\,]|\\.|\\$)+", re.DOTALL)
_SYSTEM_AND_CODE = re.compile(r"(?P<system>(?:[^\\|]|\\.)*)\|(?P<code>.*)", re.DOTALL)
_IGNORED: Final = frozenset({"_format", "_pretty"})
_TOTALS: Final = frozenset({"none", "estimate", "accurate"})
# The largest text in the "C" collation, so that a prefix is a range of the index.
_AFTER_ALL: Final = "\U0010ffff"
_WHOLE_DATE: Final = len("YYYY-MM-DD")

# Whether a resource's time range satisfies a prefix, given the searched range as $low and $high.
_RANGE_TESTS: Final = {
    "eq": "i.low >= {low} AND i.low < {high} AND i.high <= {high}",
    "ne": "(i.low < {low} OR i.high > {high})",
    "lt": "i.low < {low}",
    "le": "i.low < {high}",
    "gt": "i.high > {high}",
    "ge": "i.high > {low}",
    "sa": "i.low >= {high}",
    "eb": "i.high <= {low}",
}
_INSTANT_TESTS: Final = {
    "eq": "r.updated >= {low} AND r.updated < {high}",
    "ne": "(r.updated < {low} OR r.updated >= {high})",
    "lt": "r.updated < {low}",
    "le": "r.updated < {high}",
    "gt": "r.updated >= {high}",
    "ge": "r.updated >= {low}",
    "sa": "r.updated >= {high}",
    "eb": "r.updated < {low}",
}


@dataclass(slots=True)
class SearchPlan:
    """A parsed search: its conditions and order as SQL, and how the result is to be shown."""

    resource_type: str
    conditions: list[str] = field(default_factory=list)
    arguments: list[Any] = field(default_factory=list)
    order: list[str] = field(default_factory=list)
    count: int | None = None
    count_only: bool = False
    accurate_total: bool = False

    def bind(self, value: object) -> str:
        """Add an argument and return its placeholder."""
        self.arguments.append(value)
        return f"${len(self.arguments)}"

    def statement(self) -> str:
        where = " AND ".join(["r.type = $1", "NOT r.deleted", *self.conditions])
        order = ", ".join([*self.order, "r.rid"])
        return f"SELECT r.rid FROM resource r WHERE {where} ORDER BY {order}"  # noqa: S608 - placeholders only


async def find(connection: Connection, plan: SearchPlan, *, limit: int | None = None) -> list[int]:
    """Run a search and return the matching resources' row ids in order."""
    statement, arguments = plan.statement(), list(plan.arguments)
    if limit is not None:
        arguments.append(limit)
        statement += f" LIMIT ${len(arguments)}"
    # One array is far quicker to receive than a row for each match.
    found: list[int] = await connection.fetchval(f"SELECT ARRAY({statement})", *arguments)
    return found


def plan_search(resource_type: str, parameters: Iterable[tuple[str, str]], *, base_url: str) -> SearchPlan:
    """Parse search parameters.

    Raises:
        InvalidRequestError: a parameter, modifier, prefix or value that is not understood. Nothing is ignored
            silently: a search that drops a condition would show the wrong patients.
    """
    plan = SearchPlan(resource_type)
    plan.bind(resource_type)
    known = SEARCH_PARAMETERS[resource_type]
    for key, value in parameters:
        if key in _RESULT_PARAMETERS:
            _RESULT_PARAMETERS[key](plan, value)
            continue
        if key in _IGNORED or not value:
            continue
        name, _, modifier = key.partition(":")
        if name == "_id" and not modifier:
            plan.conditions.append(f"r.id = ANY({plan.bind(_ids(resource_type, value))}::text[])")
        elif name == "_lastUpdated" and not modifier:
            plan.conditions.append(_date_test(plan, name, value, _INSTANT_TESTS))
        elif name in known:
            condition = _condition(plan, known[name], modifier=modifier, value=value, base_url=base_url)
            plan.conditions.append(condition)
        else:
            valid = ", ".join(sorted([*known, "_id", "_lastUpdated"]))
            shown = name if re.fullmatch(r"[A-Za-z_.-]{1,40}", name) else "?"
            raise InvalidRequestError(
                f'HAPI-0524: Unknown search parameter "{shown}" for resource type "{resource_type}". '
                f"Valid search parameters for this search are: [{valid}]"
            )
    return plan


def alternatives(name: str, value: str) -> list[str]:
    """Split at the commas that are not escaped; the escapes stay."""
    found = _ALTERNATIVE.findall(value)
    if not found:
        raise InvalidRequestError(f"HAPI-0524: Search parameter {name} has no value")
    return found


def unescaped(text: str) -> str:
    r"""Undo ``\,`` ``\|`` ``\$`` ``\\`` (FHIR R4, escaping search parameters)."""
    return re.sub(r"\\([,|$\\])", r"\1", text)


def _any_of(conditions: Iterable[str]) -> str:
    return "(" + " OR ".join(conditions) + ")"


def _condition(
    plan: SearchPlan, parameter: SearchParameter, *, modifier: str, value: str, base_url: str
) -> str:
    """One parameter's condition, its comma-separated values being alternatives."""
    if parameter.kind == "reference":
        return _reference_condition(plan, parameter, modifier=modifier, value=value, base_url=base_url)
    if modifier == "contains" and parameter.kind == "string":
        raise NotAllowedError("HAPI-1258: :contains modifier is disabled on this server")
    if modifier and not (parameter.kind == "string" and modifier == "exact"):
        raise InvalidRequestError(f"HAPI-1248: Modifier not supported for search parameter {parameter.name}")
    name = plan.bind(parameter.name)
    parts = alternatives(parameter.name, value)
    if parameter.kind == "string":
        tests = [_string_test(plan, unescaped(part), modifier) for part in parts]
    elif parameter.kind == "token":
        tests = [_token_test(plan, part) for part in parts]
    else:
        tests = [_date_test(plan, parameter.name, value, _RANGE_TESTS)]
    table = f"{parameter.kind}_index"
    return f"r.rid IN (SELECT i.rid FROM {table} i WHERE i.parameter = {name} AND {_any_of(tests)})"  # noqa: S608


def _string_test(plan: SearchPlan, text: str, modifier: str) -> str:
    folded = fold(text)
    if modifier == "exact":
        return f"(i.folded = {plan.bind(folded)} AND i.exact = {plan.bind(text)})"
    return f"(i.folded >= {plan.bind(folded)} AND i.folded < {plan.bind(folded + _AFTER_ALL)})"


def _token_test(plan: SearchPlan, part: str) -> str:
    """``code``, ``system|code``, ``|code`` (no system) or ``system|`` (any code of it)."""
    match = _SYSTEM_AND_CODE.fullmatch(part)
    if match is None:
        return f"i.code = {plan.bind(indexed_token(unescaped(part)))}"
    system, code = (indexed_token(unescaped(text)) for text in match.groups())
    if not system and not code:
        raise InvalidRequestError("HAPI-0524: a token needs a system or a code")
    tests = [f"i.system = {plan.bind(system)}" if system else "i.system IS NULL"]
    if code:
        tests.append(f"i.code = {plan.bind(code)}")
    return "(" + " AND ".join(tests) + ")"


def _ids(resource_type: str, value: str) -> list[str]:
    return [unescaped(part).removeprefix(f"{resource_type}/") for part in alternatives("_id", value)]


def _date_test(plan: SearchPlan, name: str, text: str, tests: dict[str, str]) -> str:
    if "," in text:
        raise InvalidRequestError("HAPI-1930: DateRange parameter does not support OR queries")
    match = _PREFIXED.fullmatch(text)
    if match is None:
        code = (
            "1941: Invalid prefix"
            if re.match("[a-z]{2}[0-9]", text)
            else "1940: Invalid date/time/quantity format"
        )
        raise InvalidRequestError(f"HAPI-{code} in search parameter {name}")
    if match["prefix"] == "ap":
        raise InvalidRequestError("HAPI-1925: Unknown comparator: APPROXIMATE")
    try:
        searched = parse_time_range(match["date"])
    except ValueError:
        raise InvalidRequestError(f"HAPI-1882: Invalid date/time format in search parameter {name}") from None
    prefix = match["prefix"] or "eq"
    if tests is _RANGE_TESTS and len(match["date"]) < _WHOLE_DATE:
        # HAPI compares a year or a month by one of its days: `ge` by the last, `le` by the first.
        if prefix == "ge":
            searched = searched._replace(low=searched.high - timedelta(days=1))
        elif prefix == "le":
            searched = searched._replace(high=searched.low + timedelta(days=1))
    test = tests[prefix]
    low = plan.bind(searched.low) if "{low}" in test else ""
    high = plan.bind(searched.high) if "{high}" in test else ""
    return "(" + test.format(low=f"{low}::timestamptz", high=f"{high}::timestamptz") + ")"


def _reference_condition(
    plan: SearchPlan, parameter: SearchParameter, *, modifier: str, value: str, base_url: str
) -> str:
    """``Type/id``, an absolute URL under this base, or a bare id of any allowed type."""
    if modifier and not re.fullmatch(r"[A-Z][A-Za-z]+", modifier):
        raise InvalidRequestError(f"HAPI-1248: Modifier not supported for search parameter {parameter.name}")
    tests = []
    for part in alternatives(parameter.name, value):
        text = unescaped(part)
        target = split_reference(text, base_url)
        if target is None and "/" in text:
            raise InvalidRequestError(f"HAPI-0498: Invalid reference in search parameter {parameter.name}")
        types = (target[0],) if target else (modifier,) if modifier else parameter.targets
        test = f"i.target_id = {plan.bind(target[1] if target else text)}"
        if types:
            test += f" AND i.target_type = ANY({plan.bind(list(types))}::text[])"
        tests.append(f"({test})")
    path = plan.bind(parameter.path)
    return f"r.rid IN (SELECT i.rid FROM reference_index i WHERE i.path = {path} AND {_any_of(tests)})"  # noqa: S608


def _set_count(plan: SearchPlan, value: str) -> None:
    if not re.fullmatch(r"\d{1,9}", value):
        raise InvalidRequestError("HAPI-0375: Invalid _count value: it must be a whole number")
    plan.count = int(value)
    plan.count_only = plan.count_only or plan.count == 0


def _set_total(plan: SearchPlan, value: str) -> None:
    if value not in _TOTALS:
        raise InvalidRequestError("HAPI-0517: Invalid value for _total")
    plan.accurate_total = value != "none"


def _set_summary(plan: SearchPlan, value: str) -> None:
    if value not in ("count", "false"):
        raise InvalidRequestError("HAPI-0524: Of _summary only count and false are supported")
    plan.count_only = plan.count_only or value == "count"


def _set_sort(plan: SearchPlan, value: str) -> None:
    known = SEARCH_PARAMETERS[plan.resource_type]
    for part in value.split(","):
        name = part.removeprefix("-")
        direction = "DESC" if part.startswith("-") else "ASC"
        if name == "_id":
            plan.order.append(f"r.id {direction}")
        elif name == "_lastUpdated":
            plan.order.append(f"r.updated {direction}")
        elif name in known and known[name].kind in _SORT_COLUMNS:
            column = _SORT_COLUMNS[known[name].kind]
            table = f"{known[name].kind}_index"
            which = f"i.rid = r.rid AND i.parameter = {plan.bind(name)}"
            chosen = f"SELECT min(i.{column}) FROM {table} i WHERE {which}"  # noqa: S608
            plan.order.append(f"({chosen}) {direction} NULLS LAST")
        else:
            raise InvalidRequestError(
                f'HAPI-1194: Unknown _sort parameter value for resource type "{plan.resource_type}"'
            )


_SORT_COLUMNS: Final = {"string": "folded", "token": "code", "date": "low"}

_RESULT_PARAMETERS: Final[dict[str, Callable[[SearchPlan, str], None]]] = {
    "_count": _set_count,
    "_total": _set_total,
    "_summary": _set_summary,
    "_sort": _set_sort,
}
