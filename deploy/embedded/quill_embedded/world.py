"""The demonstration world: two organisations, seven accounts, a dozen patients. Nobody in it exists.

The names are invented. The NHS numbers are from the range beginning with 999, which is never issued, and
satisfy Modulus 11. Addresses end in `.example`, which no mail reaches.
"""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Organisation:
    """An organisation, and the features switched on for it."""

    key: str
    name: str
    type: str
    location: str
    features: tuple[str, ...] = ("letters", "messaging")


@dataclass(frozen=True, slots=True)
class Account:
    """An account of the demonstration.

    `organisation` is the key of the one whose staff it belongs to; `patient_id` whose record it is linked
    to, or, for an external account, opened to by a grant.
    """

    username: str
    name: str
    description: str
    system_permissions: str
    base_profession: str = "patient"
    roles: tuple[str, ...] = ()
    organisation: str | None = None
    patient_id: str | None = None

    @property
    def email(self) -> str:
        """An address that no mail reaches."""
        return f"{self.username}@quill.example"


@dataclass(frozen=True, slots=True)
class Patient:
    """A patient, and the organisations that care for them."""

    id: str
    given_name: str
    family_name: str
    birth_date: str
    gender: str
    nhs_number: str
    organisations: tuple[str, ...]


HOSPITAL: Final = "hospital"
SURGERY: Final = "surgery"

ORGANISATIONS: Final = (
    Organisation(HOSPITAL, "Riverside General, Cardiology", "hospital_team", "Riverside"),
    Organisation(SURGERY, "Meadow Lane Surgery", "gp_practice", "Little Harbour"),
)

SUPERADMIN: Final = Account(
    "superadmin",
    "Robin Ashdown",
    "superadmin: everything, and the only one who makes superadmins",
    "superadmin",
)
EXTERNAL: Final = Account(
    "external",
    "Dr Lena Fairweather",
    "clinician from elsewhere, invited to one record by its patient",
    "external_hcp",
    patient_id="demo-01",
)
ACCOUNTS: Final = (
    Account(
        "admin",
        "Morgan Hale",
        "administrator: organisations, accounts, all patients",
        "admin",
        base_profession="system_administrator",
    ),
    Account(
        "consultant",
        "Dr Priya Ravensworth",
        "consultant cardiologist at the hospital",
        "staff",
        base_profession="consultant",
        roles=("Clinician",),
        organisation=HOSPITAL,
    ),
    Account(
        "gp",
        "Dr Tom Ellerby",
        "general practitioner at the surgery",
        "staff",
        base_profession="general_practitioner",
        roles=("Clinician",),
        organisation=SURGERY,
    ),
    Account(
        "receptionist",
        "Sam Okonjo",
        "receptionist at the surgery",
        "staff",
        base_profession="receptionist",
        organisation=SURGERY,
    ),
    Account(
        "patient", "Amara Whitlock", "patient of both, sees the own record", "patient", patient_id="demo-01"
    ),
)

_BOTH: Final = (HOSPITAL, SURGERY)
PATIENTS: Final = (
    Patient("demo-01", "Amara", "Whitlock", "1958-03-14", "female", "9991002030", _BOTH),
    Patient("demo-02", "Bertram", "Oakhurst", "1944-11-02", "male", "9991145079", (HOSPITAL,)),
    Patient("demo-03", "Celia", "Marchbank", "1972-07-29", "female", "9991307125", (HOSPITAL,)),
    Patient("demo-04", "Dmitri", "Solanke", "1989-01-08", "male", "9991450211", (HOSPITAL,)),
    Patient("demo-05", "Esme", "Thornbury", "2016-05-21", "female", "9991509348", (HOSPITAL,)),
    Patient("demo-06", "Farid", "Kingsley", "1966-09-17", "male", "9991618252", (HOSPITAL,)),
    Patient("demo-07", "Greta", "Langstone", "1931-12-24", "female", "9991721363", _BOTH),
    Patient("demo-08", "Hamish", "Ferncliffe", "1995-04-03", "male", "9991804471", (SURGERY,)),
    Patient("demo-09", "Imogen", "Castleford", "2001-02-28", "other", "9991913580", (SURGERY,)),
    Patient("demo-10", "Jonah", "Brightwell", "2022-10-11", "male", "9992046120", (SURGERY,)),
    Patient("demo-11", "Keziah", "Underhill", "1980-06-30", "female", "9992155272", (SURGERY,)),
    Patient("demo-12", "Leopold", "Wainscott", "1977-08-19", "unknown", "9992268034", (SURGERY,)),
)
