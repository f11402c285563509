"""The tables of the orgs context."""

from datetime import datetime

from sqlalchemy import BigInteger, DateTime, ForeignKey, Identity, Index, Text, func, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from quill_shared.platform.database import new_metadata


class Base(DeclarativeBase):
    """The base of this context's tables."""

    metadata = new_metadata()


class Organisation(Base):
    """An organisation.

    `version` rises with every event about it, its memberships and features included; `revision` only
    with a change of its own fields: clients see that one as ETag.
    """

    __tablename__ = "organisation"
    __table_args__ = (Index("ix_organisation_name_id", "name", "id"),)

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    name: Mapped[str] = mapped_column(Text)
    type: Mapped[str] = mapped_column(Text)
    location: Mapped[str | None] = mapped_column(Text)
    version: Mapped[int] = mapped_column(BigInteger, server_default=text("1"))
    revision: Mapped[int] = mapped_column(BigInteger, server_default=text("1"))
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())


class StaffMembership(Base):
    """A member of staff; at most one membership of an account is primary."""

    __tablename__ = "staff_membership"
    __table_args__ = (
        Index("uq_staff_membership_primary", "user_id", unique=True, postgresql_where=text("is_primary")),
        Index("ix_staff_membership_user_id", "user_id"),
    )

    organisation_id: Mapped[int] = mapped_column(ForeignKey("organisation.id"), primary_key=True)
    user_id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    is_primary: Mapped[bool]
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())


class PatientMembership(Base):
    """A patient of the organisation; at most one membership of a patient is primary."""

    __tablename__ = "patient_membership"
    __table_args__ = (
        Index(
            "uq_patient_membership_primary", "patient_id", unique=True, postgresql_where=text("is_primary")
        ),
        Index("ix_patient_membership_patient_id", "patient_id"),
    )

    organisation_id: Mapped[int] = mapped_column(ForeignKey("organisation.id"), primary_key=True)
    patient_id: Mapped[str] = mapped_column(Text, primary_key=True)
    is_primary: Mapped[bool]
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())


class EnabledFeature(Base):
    """A feature that is on; a row that is not there is off."""

    __tablename__ = "enabled_feature"

    organisation_id: Mapped[int] = mapped_column(ForeignKey("organisation.id"), primary_key=True)
    feature_key: Mapped[str] = mapped_column(Text, primary_key=True)
    enabled_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    enabled_by: Mapped[int] = mapped_column(BigInteger)


class JoinRequest(Base):
    """A self-registered account's wish to join."""

    __tablename__ = "join_request"

    organisation_id: Mapped[int] = mapped_column(ForeignKey("organisation.id"), primary_key=True)
    user_id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    status: Mapped[str] = mapped_column(Text)
    requested_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    decided_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    decided_by: Mapped[int | None] = mapped_column(BigInteger)
