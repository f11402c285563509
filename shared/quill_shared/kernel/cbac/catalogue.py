"""The catalogue of competencies, base professions and jurisdictions, read from the YAML beside this module.

The files are data that clinicians review. Everything in them is checked when they are loaded: a field
that is not known, an id that appears twice or a reference to an id that nobody defines is a
`CatalogueError`, so that a service with a broken catalogue does not start.
"""

from collections import Counter
from collections.abc import Container, Iterable, Mapping
from enum import StrEnum
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable
from types import MappingProxyType
from typing import Annotated, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, TypeAdapter, ValidationError

from ..permissions import SystemPermission

__all__ = [
    "DEFAULT_JURISDICTION",
    "BaseProfession",
    "Catalogue",
    "CatalogueError",
    "Competency",
    "CompetencyCategory",
    "DrugSchedule",
    "Jurisdiction",
    "RegistrationBody",
    "Retention",
    "RiskLevel",
    "catalogue",
    "load_catalogue",
]

DEFAULT_JURISDICTION = "uk"
"""The jurisdiction whose bodies `Competency.registration_type` names."""

Slug = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_]*$", max_length=64)]
Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]


class CatalogueError(Exception):
    """The catalogue's files contradict themselves or cannot be read."""


class RiskLevel(StrEnum):
    """The harm that a misuse of the competency can do."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


class CompetencyCategory(StrEnum):
    """The part of clinical work that a competency belongs to."""

    PRESCRIBING = "prescribing"
    CERTIFICATION = "certification"
    PROCEDURES = "procedures"
    PATIENT_MANAGEMENT = "patient_management"
    CONSENT = "consent"
    DIAGNOSTICS = "diagnostics"
    ADMINISTRATIVE = "administrative"
    SPECIALTY = "specialty"
    TEACHING = "teaching"


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Competency(_Entry):
    """One thing that an account may be able to do."""

    id: Slug = Field(description="The stable id that routes and policies ask for.")
    display_name: Text = Field(description="The name to show.")
    description: Text = Field(description="What the competency allows.")
    category: CompetencyCategory = Field(description="The part of clinical work it belongs to.")
    risk_level: RiskLevel = Field(description="The harm that a misuse can do.")
    requires_registration: bool = Field(description="Whether its holder is on a professional register.")
    registration_type: tuple[Slug, ...] = Field(
        default=(), description="The registers that count, any one of them, as named in the UK."
    )
    requires_supervision: bool = Field(
        default=False, description="Whether a senior supervises until signed off."
    )
    audit_retention_days: Literal[365, 730, 2555] = Field(description="How long its audit events are kept.")
    minimum_experience_years: int | None = Field(
        default=None, ge=1, le=40, description="Years of full registration needed, where any are."
    )
    clinical_safety_notes: Text = Field(description="What can go wrong, and what guards against it.")


class BaseProfession(_Entry):
    """The competencies that come with a profession, before any are added or removed."""

    id: Slug = Field(description="The stable id that accounts hold.")
    display_name: Text = Field(description="The name to show.")
    description: Text = Field(description="Who this profession is for.")
    base_competencies: tuple[Slug, ...] = Field(
        min_length=1, description="Ids of the competencies that come with it."
    )
    default_system_permission: SystemPermission = Field(
        description="The permission to propose for a new account."
    )
    requires_clinical_services: bool = Field(
        description="Whether the profession has no work in a deployment without clinical services."
    )
    notes: Text = Field(description="Remarks for those who assign it.")


class RegistrationBody(_Entry):
    """A register of professionals in one jurisdiction."""

    id: Slug
    display_name: Text
    equivalent_to: Slug | None = Field(
        default=None, description="The body of the default jurisdiction whose place it takes."
    )
    professions: tuple[Slug, ...] = Field(min_length=1, description="Base professions it registers.")


class DrugSchedule(_Entry):
    """A legal class of medicines."""

    id: Slug
    display_name: Text
    competency: Slug | None = Field(
        default=None, description="The competency that prescribing it asks for. Without one nobody may."
    )


class Retention(_Entry):
    """How long clinical records are kept."""

    adult_record_years: int = Field(ge=1, le=100)
    child_record_until_age: int = Field(ge=18, le=100)
    notes: Text


class Jurisdiction(_Entry):
    """What differs from country to country: registers, drug schedules, retention."""

    id: Slug
    display_name: Text
    registration_bodies: tuple[RegistrationBody, ...] = Field(min_length=1)
    drug_schedules: tuple[DrugSchedule, ...] = Field(min_length=1)
    retention: Retention


_Identified = TypeVar("_Identified", Competency, BaseProfession, Jurisdiction)
_Read = TypeVar("_Read")


class Catalogue:
    """The loaded catalogue: three read-only mappings by id, in the order of the files.

    Raises:
        CatalogueError: when an id is defined twice or refers to nothing. The message names all faults.
    """

    def __init__(
        self,
        competencies: Iterable[Competency],
        base_professions: Iterable[BaseProfession],
        jurisdictions: Iterable[Jurisdiction],
    ) -> None:
        self.competencies: Mapping[str, Competency] = _by_id("competency", competencies)
        self.base_professions: Mapping[str, BaseProfession] = _by_id("base profession", base_professions)
        self.jurisdictions: Mapping[str, Jurisdiction] = _by_id("jurisdiction", jurisdictions)
        if faults := list(self._faults()):
            raise CatalogueError("; ".join(faults))

    def _faults(self) -> Iterable[str]:
        default = self.jurisdictions.get(DEFAULT_JURISDICTION)
        if default is None:
            yield f"there is no jurisdiction {DEFAULT_JURISDICTION!r}"
            return
        bodies = {body.id for body in default.registration_bodies}
        for competency in self.competencies.values():
            where = f"competency {competency.id!r}"
            yield from _unknown(where, "registration body", competency.registration_type, bodies)
            yield from _repeated(where, competency.registration_type)
            if competency.requires_registration != bool(competency.registration_type):
                yield f"{where}: requires_registration and registration_type contradict each other"
        for profession in self.base_professions.values():
            where = f"base profession {profession.id!r}"
            yield from _unknown(where, "competency", profession.base_competencies, self.competencies)
            yield from _repeated(where, profession.base_competencies)
        for jurisdiction in self.jurisdictions.values():
            where = f"jurisdiction {jurisdiction.id!r}"
            yield from _repeated(where, [body.id for body in jurisdiction.registration_bodies])
            yield from _repeated(where, [schedule.id for schedule in jurisdiction.drug_schedules])
            schedules = [s.competency for s in jurisdiction.drug_schedules if s.competency is not None]
            yield from _unknown(where, "competency", schedules, self.competencies)
            for body in jurisdiction.registration_bodies:
                yield from _unknown(where, "base profession", body.professions, self.base_professions)
                if jurisdiction is default and body.equivalent_to is not None:
                    yield f"{where}: {body.id!r} is the body that others are equivalent to"
                if jurisdiction is not default:
                    yield from _unknown(where, "registration body", [body.equivalent_to or body.id], bodies)


def _by_id(kind: str, entries: Iterable[_Identified]) -> Mapping[str, _Identified]:
    found: dict[str, _Identified] = {}
    for entry in entries:
        if entry.id in found:
            raise CatalogueError(f"{kind} {entry.id!r} is defined twice")
        found[entry.id] = entry
    return MappingProxyType(found)


def _unknown(where: str, kind: str, ids: Iterable[str], known: Container[str]) -> Iterable[str]:
    for id_ in ids:
        if id_ not in known:
            yield f"{where}: unknown {kind} {id_!r}"


def _repeated(where: str, ids: Iterable[str]) -> Iterable[str]:
    for id_, count in Counter(ids).items():
        if count > 1:
            yield f"{where}: {id_!r} is listed {count} times"


def _read(file: Traversable, adapter: TypeAdapter[_Read]) -> _Read:
    try:
        return adapter.validate_python(yaml.safe_load(file.read_text(encoding="utf-8")))
    except (OSError, yaml.YAMLError, ValidationError) as error:
        raise CatalogueError(f"{file.name}: {error}") from error


def load_catalogue(directory: Traversable) -> Catalogue:
    """Read the catalogue from a directory laid out like this package.

    Args:
        directory: holds `competencies.yaml`, `base_professions.yaml` and `jurisdictions/*.yaml`.

    Raises:
        CatalogueError: when a file is missing, malformed or contradicts another.
    """
    try:
        files = sorted(
            (file for file in (directory / "jurisdictions").iterdir() if file.name.endswith(".yaml")),
            key=lambda file: file.name,
        )
    except OSError as error:
        raise CatalogueError(f"jurisdictions: {error}") from error
    return Catalogue(
        _read(directory / "competencies.yaml", TypeAdapter(list[Competency])),
        _read(directory / "base_professions.yaml", TypeAdapter(list[BaseProfession])),
        [_read(file, TypeAdapter(Jurisdiction)) for file in files],
    )


@cache
def catalogue() -> Catalogue:
    """Return the catalogue shipped with this package, loaded once per process.

    Raises:
        CatalogueError: when its files are broken. A service calls this while it starts.
    """
    return load_catalogue(resources.files(__package__))
