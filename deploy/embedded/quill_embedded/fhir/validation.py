"""Validation of received resources against the R4 models, in full.

``fhir.resources`` checks structure, cardinality and formats, but accepts a few things that FHIR forbids
(codes outside a required binding, ``"active": "yes"``, nulls and empty objects). A second walk over the
parsed model and the received JSON refuses those, and collects the references on its way.

What HAPI's parser would refuse is answered 400, what its validator would refuse is answered 422.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from typing import Annotated, Any, Final, get_args, get_origin

from fhir.resources.R4B.communication import Communication
from fhir.resources.R4B.fhirresourcemodel import FHIRResourceModel
from fhir.resources.R4B.patient import Patient
from pydantic import BaseModel, ValidationError

from .outcome import InvalidRequestError, UnprocessableError

MODELS: Final[dict[str, type[FHIRResourceModel]]] = {"Patient": Patient, "Communication": Communication}

_CONTROL_CHARACTERS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff]")
_NOT_FOLLOWED: Final = frozenset({"contained", "extension", "modifierExtension"})
_MOST_FAULTS: Final = 50


@dataclass(frozen=True, slots=True)
class FoundReference:
    """A literal reference: where it stands (``Communication.subject``), its text, the types allowed there."""

    path: str
    reference: str
    allowed_types: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _FieldRule:
    attribute: str
    json_types: tuple[type, ...] | None
    codes: frozenset[str] | None
    reference_types: tuple[str, ...]


def validate_resource(resource_type: str, resource: dict[str, Any]) -> list[FoundReference]:
    """Check a received resource in full and return the references it makes.

    Raises:
        InvalidRequestError: not this type, an unknown element, or a value of the wrong form (400).
        UnprocessableError: a required element is missing or a rule between elements is broken (422).
    """
    stated = resource.get("resourceType")
    if stated != resource_type:
        if not isinstance(stated, str):
            raise InvalidRequestError(
                "HAPI-0450: Failed to parse request body as JSON resource. Error was: "
                "HAPI-1838: Invalid JSON content detected, missing required element: 'resourceType'"
            )
        raise InvalidRequestError(
            "HAPI-0450: Failed to parse request body as JSON resource. Error was: "
            f'HAPI-1814: Incorrect resource type found, expected "{resource_type}" but found another'
        )
    faults = list(_form_faults(resource, resource_type))
    if faults:
        raise InvalidRequestError(*faults[:_MOST_FAULTS])
    try:
        model = MODELS[resource_type].model_validate(resource)
    except ValidationError as error:
        raise _refusal(error, resource_type) from None
    except (KeyError, RecursionError, ArithmeticError):
        # The models look a contained resource's class up by its name and fail with KeyError for none.
        raise InvalidRequestError("HAPI-1815: Unknown resource type or structure in the content") from None
    references: list[FoundReference] = []
    faults = list(
        _strict_faults(model, resource, path=resource_type, plain_path=resource_type, found=references)
    )
    if faults:
        raise InvalidRequestError(*faults[:_MOST_FAULTS])
    return references


def _refusal(error: ValidationError, resource_type: str) -> InvalidRequestError | UnprocessableError:
    values: list[str] = []
    rules: list[str] = []
    for fault in error.errors(include_url=False, include_input=False, include_context=False):
        path = _join(resource_type, fault["loc"])
        if fault["type"] == "extra_forbidden":
            values.append(f"HAPI-1825: Unknown element found during parse: {path}")
        elif fault["type"] == "model_field_validation.missing":
            rules.append(f"{path}: minimum required = 1, but only found 0")
        elif fault["type"] == "value_error" and "from this list" in fault["msg"]:
            count = "more than one" if "multiple" in fault["msg"] else "none"
            rules.append(f"{path}: one value of a choice is needed, but {count} was given")
        else:
            values.append(f"HAPI-1821: [element={path}] Invalid attribute value")
    if values:
        return InvalidRequestError(*values[:_MOST_FAULTS])
    return UnprocessableError(*rules[:_MOST_FAULTS])


def _join(start: str, location: tuple[int | str, ...]) -> str:
    return start + "".join(f"[{step}]" if isinstance(step, int) else f".{_shown(step)}" for step in location)


def _form_faults(value: object, path: str) -> Iterator[str]:
    """JSON that FHIR forbids everywhere: nulls, empty objects, arrays and strings, control characters."""
    if isinstance(value, str):
        if not value:
            yield f"HAPI-1821: [element={path}] Attribute value must not be empty"
        elif _CONTROL_CHARACTERS.search(value):
            yield f"HAPI-1821: [element={path}] Invalid attribute value: control character"
    elif isinstance(value, dict):
        if not value:
            yield f"HAPI-1821: [element={path}] Object must not be empty"
        for key, item in value.items():
            if item is None:
                yield f"HAPI-1821: [element={path}.{_shown(key)}] null is not allowed"
            else:
                yield from _form_faults(item, f"{path}.{_shown(key)}")
    elif isinstance(value, list):
        if not value:
            yield f"HAPI-1821: [element={path}] Array must not be empty"
        for index, item in enumerate(value):
            # A null in an array stands for a primitive that has only an extension.
            if item is not None:
                yield from _form_faults(item, f"{path}[{index}]")


def _shown(key: str) -> str:
    """An element name is shown; anything else a client used as a name may be data and is not."""
    return key if re.fullmatch(r"_?[A-Za-z]{1,64}", key) else "?"


@cache
def _rules(model: type[BaseModel]) -> dict[str, _FieldRule]:
    rules: dict[str, _FieldRule] = {}
    for attribute, info in model.model_fields.items():
        extra = info.json_schema_extra
        details: dict[str, Any] = extra if isinstance(extra, dict) else {}
        codes = details.get("enum_values")
        rules[info.alias or attribute] = _FieldRule(
            attribute=attribute,
            json_types=_json_types(info.annotation),
            codes=frozenset(codes) if codes else None,
            reference_types=tuple(details.get("enum_reference_types", ())),
        )
    return rules


def _json_types(annotation: object) -> tuple[type, ...] | None:
    """The Python types a field's JSON value must have, where the models would also accept a string."""
    if annotation is bool:
        return (bool,)
    if annotation is int:
        return (int,)
    if annotation is Decimal:
        return (int, Decimal)
    if get_origin(annotation) is Annotated:
        return _json_types(get_args(annotation)[0])
    for argument in get_args(annotation):
        found = _json_types(argument)
        if found is not None:
            return found
    return None


def _strict_faults(
    model: BaseModel, received: dict[str, Any], *, path: str, plain_path: str, found: list[FoundReference]
) -> Iterator[str]:
    rules = _rules(type(model))
    for key, value in received.items():
        rule = rules.get(key)
        if rule is None:
            continue
        parsed = getattr(model, rule.attribute, None)
        # Where references are not followed the plain path is empty, and stays so further down.
        plain = f"{plain_path}.{key}" if plain_path and key not in _NOT_FOLLOWED else ""
        values = value if isinstance(value, list) else [value]
        models = parsed if isinstance(parsed, list) else [parsed]
        for index, (item, item_model) in enumerate(zip(values, models, strict=False)):
            where = f"{path}.{key}[{index}]" if isinstance(value, list) else f"{path}.{key}"
            if isinstance(item_model, BaseModel) and isinstance(item, dict):
                literal = item.get("reference")
                if plain and isinstance(literal, str):
                    found.append(FoundReference(plain, literal, rule.reference_types))
                yield from _strict_faults(item_model, item, path=where, plain_path=plain, found=found)
            elif item is None:
                continue
            elif rule.codes is not None and item not in rule.codes:
                yield f"HAPI-1821: [element={where}] Invalid attribute value: unknown code"
            elif rule.json_types is not None and (
                not isinstance(item, rule.json_types)
                or (isinstance(item, bool) and bool not in rule.json_types)
            ):
                yield f"HAPI-1821: [element={where}] Invalid attribute value: wrong JSON type"
