"""What an account can do: `final = (base profession ∪ additional) − removed`."""

from collections.abc import Iterable

from .catalogue import catalogue

__all__ = [
    "UnknownBaseProfessionError",
    "UnknownCompetencyError",
    "UnknownIdError",
    "final_competencies",
    "require_base_profession",
    "require_competencies",
]


class UnknownIdError(ValueError):
    """An id that the catalogue does not define. `id` is the id as it was given.

    UnknownIdError
    ├── UnknownBaseProfessionError
    └── UnknownCompetencyError
    """

    kind = "id"

    def __init__(self, id_: str) -> None:
        self.id = id_
        super().__init__(f"Unknown {self.kind}: {id_}")


class UnknownBaseProfessionError(UnknownIdError):
    """A base profession that the catalogue does not define."""

    kind = "base profession"


class UnknownCompetencyError(UnknownIdError):
    """A competency that the catalogue does not define."""

    kind = "competency"


def require_base_profession(id_: str) -> str:
    """Return `id_` when the catalogue defines it as a base profession.

    Raises:
        UnknownBaseProfessionError: when it does not.
    """
    if id_ not in catalogue().base_professions:
        raise UnknownBaseProfessionError(id_)
    return id_


def require_competencies(ids: Iterable[str]) -> frozenset[str]:
    """Return `ids` as a set when the catalogue defines every one of them.

    Raises:
        UnknownCompetencyError: naming the first, in sorted order, that it does not.
    """
    wanted = frozenset(ids)
    for id_ in sorted(wanted):
        if id_ not in catalogue().competencies:
            raise UnknownCompetencyError(id_)
    return wanted


def final_competencies(
    base_profession: str, additional: Iterable[str], removed: Iterable[str]
) -> tuple[str, ...]:
    """Resolve an account's competencies.

    A removal wins over the base profession and over an addition. Removing what is not there is no error.

    Args:
        base_profession: id of the account's profession.
        additional: ids given to this account beside those of its profession.
        removed: ids taken from it.

    Returns:
        The ids it ends with, sorted, each once.

    Raises:
        UnknownBaseProfessionError: the profession is not in the catalogue.
        UnknownCompetencyError: one of the ids is not in the catalogue. It is refused, never ignored.

    Example:
        >>> final_competencies("receptionist", ["access_patient_records"], [])
        ('access_clinic_admin', 'access_patient_records')
    """
    base = catalogue().base_professions[require_base_profession(base_profession)].base_competencies
    return tuple(sorted((require_competencies(additional) | set(base)) - require_competencies(removed)))
