"""What the use cases work with besides the database."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from ..directories import Organisations
from ..fhir.client import FhirPatients
from ..sealing import Seal


@dataclass(frozen=True, slots=True)
class PatientsContext:
    """The adapters of the running service.

    Args:
        fhir: the FHIR server.
        fhir_ready: whether it answers right now.
        organisations: the owner of organisations.
        mrn_system: the identifier system of medical record numbers.
        digest_key: makes the digests of identifiers.
        seal: seals the cursors of searches.
        grace: seconds until the reconciler takes over an unfinished write.
        public_url: what clients call Quill, if the request does not say.
    """

    fhir: FhirPatients
    fhir_ready: Callable[[], Awaitable[bool]]
    organisations: Organisations
    mrn_system: str
    digest_key: bytes = field(repr=False)
    seal: Seal = field(repr=False)
    grace: float
    public_url: str | None
