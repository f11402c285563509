"""The tables of the patients context. No name, date or identifier of a patient is in them."""

from datetime import datetime

from sqlalchemy import BigInteger, Boolean, DateTime, Identity, Index, LargeBinary, SmallInteger, Text, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from quill_shared.platform.database import new_metadata


class Base(DeclarativeBase):
    """The base of this context's tables."""

    metadata = new_metadata()


class PatientIndex(Base):
    """A patient in FHIR: the order of lists, and what is known of the record without reading it.

    `sequence` counts the events about the patient. A record that vanished from FHIR stays as `is_gone`,
    so that its sequence goes on should it come back.
    """

    __tablename__ = "patient_index"
    __table_args__ = (Index("uq_patient_index_patient_id", "patient_id", unique=True),)

    position: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    patient_id: Mapped[str] = mapped_column(Text)
    version: Mapped[int] = mapped_column(BigInteger)
    last_updated: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    is_active: Mapped[bool] = mapped_column(Boolean)
    is_gone: Mapped[bool] = mapped_column(Boolean, server_default=text("false"))
    sequence: Mapped[int] = mapped_column(BigInteger, server_default=text("1"))


class IdentifierClaim(Base):
    """Who last claimed an identifier for a patient of ours: decides races between writers, no more.

    Whether the claim still holds is seen in FHIR. `stamp` rises with every claim, so that whoever takes a
    stale one over notices a claim renewed meanwhile.
    """

    __tablename__ = "identifier_claim"
    __table_args__ = (Index("ix_identifier_claim_patient_id", "patient_id"),)

    digest: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    patient_id: Mapped[str] = mapped_column(Text)
    stamp: Mapped[int] = mapped_column(BigInteger, server_default=text("1"))


class SweepState(Base):
    """How far the sweep of the FHIR server has come; one row."""

    __tablename__ = "sweep_state"

    id: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    watermark: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    walked_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
