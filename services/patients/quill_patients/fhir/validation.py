"""Validation of a Patient before it is written: in full, against FHIR R4 and the rules of identity.

`fhir.resources` knows the structure, but lets pass what FHIR forbids: codes outside a required binding,
`"active": "yes"`, nulls and empty objects. A second walk over what was received refuses those. Faults
name the element and the rule, never the value.
"""

import re
from collections.abc import Iterator, Mapping
from datetime import date
from decimal import Decimal
from functools import cache
from typing import Annotated, Any, Final, get_args, get_origin

from fhir.resources.R4B.patient import Patient as PatientModel
from pydantic import BaseModel, ValidationError

from quill_shared.platform.errors import FieldError, Unprocessable

from ..domain import NHS_NUMBER_SYSTEM, InvalidValueError, check_fhir_birth_date, nhs_number

_NOT_TEXT: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff]")
_ELEMENT: Final = re.compile(r"_?[A-Za-z]{1,64}")
_MOST_FAULTS: Final = 50

Path = tuple[str | int, ...]
Fault = tuple[Path, str, str]


def check(resource: Mapping[str, Any], *, today: date) -> None:
    """Accepts a valid Patient.

    Raises:
        Unprocessable: with one error per fault, its `loc` the path of the element.
    """
    faults: dict[Path, Fault] = {}
    # The models take a certain form for granted.
    form = [*_form_faults(resource, ()), *_contained_faults(resource.get("contained"))]
    for fault in (*(form or _model_faults(resource)), *_identity_faults(resource, today)):
        faults.setdefault(fault[0], fault)
    if faults:
        errors: list[FieldError] = [
            {"loc": ["body", *path], "msg": message, "type": kind}
            for path, message, kind in list(faults.values())[:_MOST_FAULTS]
        ]
        raise Unprocessable(errors, "The resource is not a valid Patient", code="invalid_resource")


def _form_faults(value: object, path: Path) -> Iterator[Fault]:
    """JSON that FHIR forbids everywhere (R4, JSON representation)."""
    if isinstance(value, str):
        if not value.strip():
            yield path, "must not be empty", "empty"
        elif _NOT_TEXT.search(value):
            yield path, "must not contain control characters or unpaired surrogates", "invalid_text"
    elif isinstance(value, Mapping):
        if not value:
            yield path, "must not be empty", "empty"
        for key, item in value.items():
            where = (*path, _shown(key))
            if item is None:
                yield where, "must not be null", "null"
            elif key == "fhir_comments":
                yield where, "is not an element of this type", "unknown_element"
            elif key.startswith("_") and not _is_about_primitives(item):
                yield where, "must be an object, or a list of objects and nulls", "wrong_type"
            else:
                yield from _form_faults(item, where)
    elif isinstance(value, list):
        if not value:
            yield path, "must not be empty", "empty"
        for index, item in enumerate(value):
            # A null in an array stands for a primitive that has only an extension.
            if item is not None:
                yield from _form_faults(item, (*path, index))


def _is_about_primitives(value: object) -> bool:
    """Whether `value` has the form of what is said of a primitive, under its name with an underscore."""
    items = value if isinstance(value, list) else [value]
    return all(isinstance(item, Mapping) or (item is None and items is value) for item in items)


def _contained_faults(contained: object) -> Iterator[Fault]:
    for index, item in enumerate(contained if isinstance(contained, list) else ()):
        if not (isinstance(item, Mapping) and isinstance(item.get("resourceType"), str)):
            yield ("contained", index), "must be a resource", "invalid_value"


def _shown(key: str) -> str:
    """An element's name is shown; whatever else a client used as a name may be data."""
    return key if _ELEMENT.fullmatch(key) else "?"


def _model_faults(resource: Mapping[str, Any]) -> Iterator[Fault]:
    if resource.get("resourceType") != "Patient":
        yield ("resourceType",), "must be Patient", "wrong_type"
        return
    try:
        model = PatientModel.model_validate(dict(resource))
    except ValidationError as error:
        for fault in error.errors(include_url=False, include_input=False, include_context=False):
            # The library says `root` of an element that is not even an object.
            loc = fault["loc"][:-1] if fault["loc"][-1:] == ("root",) else fault["loc"]
            path = tuple(part if isinstance(part, int) else _shown(part) for part in loc)
            yield path, *_meaning(fault["type"], fault["msg"])
        return
    except LookupError:
        # A contained resource's class is looked up by its name; for none this fails so.
        yield ("contained",), "is not a valid value", "invalid_value"
        return
    except (ArithmeticError, AttributeError, RecursionError, TypeError):
        yield (), "does not have the structure of a Patient", "structure"
        return
    yield from _strict_faults(model, resource, ())


def _meaning(kind: str, message: str) -> tuple[str, str]:
    if kind == "extra_forbidden":
        return "is not an element of this type", "unknown_element"
    if kind.endswith("missing"):
        return "is required", "missing"
    if "expected from this list" in message:
        return "more than one value for an element that allows one", "several_values"
    return "is not a valid value", "invalid_value"


class _Rule:
    """What the walk checks about one element."""

    __slots__ = ("attribute", "codes", "json_types")

    def __init__(self, attribute: str, annotation: object, details: Mapping[str, Any]) -> None:
        self.attribute = attribute
        self.json_types = _json_types(annotation)
        self.codes = frozenset(details.get("enum_values") or ())


@cache
def _rules(model: type[BaseModel]) -> dict[str, _Rule]:
    return {
        info.alias or attribute: _Rule(
            attribute,
            info.annotation,
            info.json_schema_extra if isinstance(info.json_schema_extra, dict) else {},
        )
        for attribute, info in model.model_fields.items()
    }


def _json_types(annotation: object) -> tuple[type, ...]:
    """The JSON types a primitive must have, where the models would also take a string for one."""
    if annotation is bool:
        return (bool,)
    if annotation is int:
        return (int,)
    if annotation is Decimal:
        return (int, float, Decimal)
    if get_origin(annotation) is Annotated:
        return _json_types(get_args(annotation)[0])
    return next((found for argument in get_args(annotation) if (found := _json_types(argument))), ())


def _strict_faults(model: BaseModel, received: Mapping[str, Any], path: Path) -> Iterator[Fault]:
    rules = _rules(type(model))
    for key, value in received.items():
        rule = rules.get(key)
        if rule is None:
            continue
        parsed = getattr(model, rule.attribute, None)
        pairs = (
            [((*path, key, index), *pair) for index, pair in enumerate(zip(value, parsed, strict=False))]
            if isinstance(value, list) and isinstance(parsed, list)
            else [((*path, key), value, parsed)]
        )
        for where, item, item_model in pairs:
            if isinstance(item_model, BaseModel) and isinstance(item, Mapping):
                yield from _strict_faults(item_model, item, where)
            elif item is None:
                continue
            elif rule.codes and item not in rule.codes:
                yield where, f"must be one of {', '.join(sorted(rule.codes))}", "unknown_code"
            elif rule.json_types and (
                not isinstance(item, rule.json_types)
                or (isinstance(item, bool) and bool not in rule.json_types)
            ):
                yield where, "has the wrong JSON type", "wrong_type"


def _identity_faults(resource: Mapping[str, Any], today: date) -> Iterator[Fault]:
    """The rules of identity, as far as the elements have the form to be judged by them."""
    identifiers = resource.get("identifier")
    for index, identifier in enumerate(identifiers if isinstance(identifiers, list) else ()):
        value = identifier.get("value") if isinstance(identifier, Mapping) else None
        if not isinstance(value, str) or identifier.get("system") != NHS_NUMBER_SYSTEM:
            continue
        where: Path = ("identifier", index, "value")
        try:
            if nhs_number(value) != value:
                yield where, "must be written without separators", "nhs_number"
        except InvalidValueError as error:
            yield where, str(error), "nhs_number"
    born = resource.get("birthDate")
    if isinstance(born, str):
        try:
            check_fhir_birth_date(born, today=today)
        except InvalidValueError as error:
            yield ("birthDate",), str(error), "birth_date"
