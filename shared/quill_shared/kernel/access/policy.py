"""V(p): who may see patient p (contract, section 1, legend).

An admin or superadmin; staff sharing an organisation with p; the user linked to p; a user holding an
unrevoked grant for p.
"""

from sqlalchemy import Select, literal, select, union
from sqlalchemy.ext.asyncio import AsyncSession

from quill_shared.kernel.principal import Principal
from quill_shared.platform.errors import Forbidden

from . import repository


class CareAccess:
    """Decides from the facts in the database of the session."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def may_view(self, principal: Principal, patient_id: str) -> bool:
        """Whether V(patient_id) holds."""
        if principal.is_admin or principal.fhir_patient_id == patient_id:
            return True
        if principal.is_staff and await repository.shares_organisation(
            self._session, principal.user_id, patient_id
        ):
            return True
        return await repository.holds_grant(self._session, principal.user_id, patient_id)

    async def require_view(self, principal: Principal, patient_id: str) -> None:
        """Refuses who may not see the patient, in the same words whether the patient exists or not.

        Raises:
            Forbidden: V(patient_id) does not hold.
        """
        if not await self.may_view(principal, patient_id):
            raise Forbidden(code="patient_access_denied")

    @staticmethod
    def visible_patients(principal: Principal) -> Select[tuple[str]]:
        """Ids of the patients a principal sees in lists, for use in a query: their organisations', the
        granted ones and their own. An admin sees no more than that here; the whole index is a scope of
        its own.
        """
        parts = [repository.patients_granted_to(principal.user_id)]
        if principal.is_staff:
            parts.append(repository.patients_of_staff(principal.user_id))
        if principal.fhir_patient_id is not None:
            parts.append(select(literal(principal.fhir_patient_id)))
        visible = union(*parts).subquery()
        return select(visible.c[0])
