"""The patients that searches look for, stored once on each server. `Ids` keeps searches among them."""

from dataclasses import dataclass
from typing import Any, Final

NAMES: Final = ("ada", "ben", "cyd", "dan", "eva", "fay")


@dataclass(frozen=True, slots=True)
class People:
    """Args:
    suffix: what the ids end with.
    system: the identifier system that only they use.
    """

    suffix: str
    system: str

    def id_of(self, name: str) -> str:
        return f"{name}-{self.suffix}"

    def name_of(self, patient_id: str) -> str:
        return patient_id.partition("-")[0]

    @property
    def among(self) -> tuple[str, str]:
        """The criterion that leaves everybody else out."""
        return ("_id", ",".join(map(self.id_of, NAMES)))

    def elements(self) -> dict[str, dict[str, Any]]:
        return {
            "ada": {
                "active": True,
                "name": [{"family": "Okafor", "given": ["Zoë", "Mary"], "prefix": ["Dr"]}],
                "birthDate": "1980-02-03",
                "gender": "female",
                "identifier": [{"system": self.system, "value": "A-1"}],
            },
            "ben": {
                "name": [{"family": "OKAFOR-SMITH", "given": ["Ada"], "text": "Ada the Great"}],
                "birthDate": "1980-02",
                "gender": "male",
                "identifier": [{"system": self.system, "value": "a-1"}, {"value": f"alone-{self.suffix}"}],
            },
            "cyd": {
                "active": False,
                "name": [{"family": "Straße", "given": ["Łukasz"], "suffix": ["Jr"]}],
                "birthDate": "1980",
                "gender": "other",
                "identifier": [{"system": f"{self.system}:2", "value": "A-1"}],
            },
            "dan": {
                "name": [{"family": "O'Brien de la Cruz", "given": ["Mary Ann"]}],
                "birthDate": "1981-12-31",
                "gender": "unknown",
                "identifier": [
                    {"system": self.system, "value": r"A,1|x$\y"},
                    {"system": self.system, "value": "9" * 600},
                ],
            },
            "eva": {"name": [{"family": "Ångström", "given": ["Ævar"]}], "deceasedBoolean": True},
            "fay": {
                "name": [
                    {"use": "old", "family": "Before", "given": ["Fay"]},
                    {"use": "official", "family": "After", "given": ["Fay"]},
                ],
                "telecom": [{"system": "phone", "value": "07700 900123"}],
            },
        }
