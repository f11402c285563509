"""The projection of access facts in a service's database; a first migration makes it with `schema_v1`.

Every row keeps the `sequence` it was built from; an older event changes nothing. Removals leave the
row as a tombstone (`active` false), so that a late event cannot bring it back.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

access_metadata = MetaData()

account = Table(
    "access_account",
    access_metadata,
    Column("user_id", BigInteger, nullable=False, autoincrement=False),
    Column("username", Text, nullable=False),
    Column("display_name", Text, nullable=False),
    Column("email", Text, nullable=False),
    Column("system_permissions", Text, nullable=False),
    Column("roles", JSONB, nullable=False),
    Column("fhir_patient_id", Text),
    Column("is_active", Boolean, nullable=False),
    Column("ver", Integer, nullable=False),
    Column("sequence", BigInteger, nullable=False),
    PrimaryKeyConstraint("user_id", name="pk_access_account"),
    Index(
        "ix_access_account_fhir_patient_id",
        "fhir_patient_id",
        postgresql_where=text("fhir_patient_id IS NOT NULL"),
    ),
)
"""The account directory."""

organisation = Table(
    "access_organisation",
    access_metadata,
    Column("organisation_id", BigInteger, nullable=False, autoincrement=False),
    Column("name", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("sequence", BigInteger, nullable=False),
    PrimaryKeyConstraint("organisation_id", name="pk_access_organisation"),
)

staff = Table(
    "access_staff",
    access_metadata,
    Column("organisation_id", BigInteger, nullable=False),
    Column("user_id", BigInteger, nullable=False),
    Column("is_primary", Boolean, nullable=False),
    Column("active", Boolean, nullable=False),
    Column("sequence", BigInteger, nullable=False),
    PrimaryKeyConstraint("organisation_id", "user_id", name="pk_access_staff"),
    Index("ix_access_staff_user_id", "user_id", postgresql_where=text("active")),
)
"""Staff memberships of organisations."""

patient = Table(
    "access_patient",
    access_metadata,
    Column("organisation_id", BigInteger, nullable=False),
    Column("patient_id", Text, nullable=False),
    Column("active", Boolean, nullable=False),
    Column("sequence", BigInteger, nullable=False),
    PrimaryKeyConstraint("organisation_id", "patient_id", name="pk_access_patient"),
    Index("ix_access_patient_patient_id", "patient_id", postgresql_where=text("active")),
)
"""Patient memberships of organisations."""

grant = Table(
    "access_grant",
    access_metadata,
    Column("user_id", BigInteger, nullable=False),
    Column("patient_id", Text, nullable=False),
    Column("user_type", Text, nullable=False),
    Column("active", Boolean, nullable=False),
    Column("sequence", BigInteger, nullable=False),
    PrimaryKeyConstraint("user_id", "patient_id", name="pk_access_grant"),
    Index("ix_access_grant_patient_id", "patient_id", postgresql_where=text("active")),
)
"""Grants of a patient's record to an external user."""

feature = Table(
    "access_feature",
    access_metadata,
    Column("organisation_id", BigInteger, nullable=False),
    Column("feature_key", Text, nullable=False),
    Column("active", Boolean, nullable=False),
    Column("sequence", BigInteger, nullable=False),
    PrimaryKeyConstraint("organisation_id", "feature_key", name="pk_access_feature"),
)
"""Features switched on for an organisation."""
