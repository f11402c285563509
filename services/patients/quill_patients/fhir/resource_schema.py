"""The whole Patient schema for the API's documentation, from the models of `fhir.resources`.

These models are never instantiated: resources are passed through as they are. They mirror the FHIR
models because those describe references to other types as anything at all.
"""

from collections.abc import Iterator, Mapping
from functools import cache
from types import GenericAlias
from typing import Annotated, Any, Final, ForwardRef, Literal, Union, get_args, get_origin

from fhir.resources.R4B.patient import Patient as PatientModel
from pydantic import BaseModel, ConfigDict, Field, GetJsonSchemaHandler, create_model
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

_OWN_OF_THE_LIBRARY: Final = frozenset({"fhir_comments", "resource_type"})


class FhirPatient(BaseModel):
    """A Patient resource (FHIR R4). A subclass names members that an answer has beside the elements."""

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        reference = handler(core_schema)
        own = handler.resolve_ref_schema(reference)
        own["allOf"] = [handler(_mirror_of_patient().__pydantic_core_schema__)]
        return reference


@cache
def _mirror_of_patient() -> type[BaseModel]:
    """Made when a schema is asked for, not when the service starts."""
    mirrors: dict[str, type[BaseModel]] = {}
    for model in _reachable(PatientModel):
        fields: dict[str, Any] = {
            attribute: (_mirrored(_stated(info.annotation), info.json_schema_extra), _described(info))
            for attribute, info in model.model_fields.items()
            if attribute not in _OWN_OF_THE_LIBRARY
        }
        if model is PatientModel:
            fields["resource_type"] = (Literal["Patient"], Field(alias="resourceType"))
        mirrors[model.__name__] = create_model(
            model.__name__,
            __config__=ConfigDict(defer_build=True, protected_namespaces=()),
            __doc__=(model.__doc__ or "").partition("\n\n")[2].strip() or None,
            **fields,
        )
    for mirror in mirrors.values():
        mirror.model_rebuild(_types_namespace=mirrors)
    return mirrors["Patient"]


def _described(info: Any) -> Any:
    """Optional, but never null: FHIR has no nulls but in arrays."""
    return Field(default_factory=dict, alias=info.alias, title=info.title, description=info.description)


def _stated(annotation: Any) -> Any:
    """The type an element has when it is there."""
    kinds = [each for each in get_args(annotation) if each is not type(None)]
    return kinds[0] if get_origin(annotation) is not Annotated and len(kinds) == 1 else annotation


def _reachable(root: type[BaseModel]) -> list[type[BaseModel]]:
    found: dict[type[BaseModel], None] = {root: None}
    waiting = [root]
    while waiting:
        for info in waiting.pop().model_fields.values():
            for part in _parts(info.annotation):
                model = _model_of(part)
                if model is not None and model not in found:
                    found[model] = None
                    waiting.append(model)
    return list(found)


def _parts(annotation: Any) -> Iterator[Any]:
    arguments = get_args(annotation)
    if arguments and get_origin(annotation) is not Annotated:
        for argument in arguments:
            yield from _parts(argument)
    else:
        yield annotation


def _model_of(part: Any) -> type[BaseModel] | None:
    """The FHIR model behind one of the library's complex types."""
    if not hasattr(part, "get_model_klass"):
        return None
    model: type[BaseModel] = part.get_model_klass()
    return model


def _mirrored(annotation: Any, details: Any) -> Any:
    """The annotation with the library's complex types replaced by the names of their mirrors."""
    codes = details.get("enum_values") if isinstance(details, Mapping) else None
    origin, arguments = get_origin(annotation), get_args(annotation)
    if codes and (origin is Annotated or not arguments):
        return Literal[tuple(codes)]
    if origin is Annotated:
        return annotation
    if origin is list:
        return GenericAlias(list, (_mirrored(arguments[0], details),))
    if arguments:
        return Union[_mirrored(arguments[0], details), None]  # noqa: UP007 - of values, not of names
    model = _model_of(annotation)
    return annotation if model is None else ForwardRef(model.__name__)
