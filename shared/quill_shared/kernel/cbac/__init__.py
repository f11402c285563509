"""Competency-based access control: the catalogue and how an account's competencies follow from it."""

from .catalogue import (
    DEFAULT_JURISDICTION,
    BaseProfession,
    Catalogue,
    CatalogueError,
    Competency,
    CompetencyCategory,
    DrugSchedule,
    Jurisdiction,
    RegistrationBody,
    Retention,
    RiskLevel,
    catalogue,
    load_catalogue,
)
from .resolution import (
    UnknownBaseProfessionError,
    UnknownCompetencyError,
    UnknownIdError,
    final_competencies,
    require_base_profession,
    require_competencies,
)

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
    "UnknownBaseProfessionError",
    "UnknownCompetencyError",
    "UnknownIdError",
    "catalogue",
    "final_competencies",
    "load_catalogue",
    "require_base_profession",
    "require_competencies",
]
