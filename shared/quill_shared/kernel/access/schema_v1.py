"""The projection of access facts as the first migration of a service makes it.

Frozen: a later change is a function of its own, for a later migration.
"""

from alembic import op
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Integer,
    PrimaryKeyConstraint,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB


def create_access_tables() -> None:
    """Version 1, for use in an Alembic `upgrade`."""
    op.create_table(
        "access_account",
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
    )
    op.create_index(
        "ix_access_account_fhir_patient_id",
        "access_account",
        ["fhir_patient_id"],
        postgresql_where=text("fhir_patient_id IS NOT NULL"),
    )
    op.create_table(
        "access_organisation",
        Column("organisation_id", BigInteger, nullable=False, autoincrement=False),
        Column("name", Text, nullable=False),
        Column("type", Text, nullable=False),
        Column("sequence", BigInteger, nullable=False),
        PrimaryKeyConstraint("organisation_id", name="pk_access_organisation"),
    )
    op.create_table(
        "access_staff",
        Column("organisation_id", BigInteger, nullable=False),
        Column("user_id", BigInteger, nullable=False),
        Column("is_primary", Boolean, nullable=False),
        Column("active", Boolean, nullable=False),
        Column("sequence", BigInteger, nullable=False),
        PrimaryKeyConstraint("organisation_id", "user_id", name="pk_access_staff"),
    )
    op.create_index("ix_access_staff_user_id", "access_staff", ["user_id"], postgresql_where=text("active"))
    op.create_table(
        "access_patient",
        Column("organisation_id", BigInteger, nullable=False),
        Column("patient_id", Text, nullable=False),
        Column("active", Boolean, nullable=False),
        Column("sequence", BigInteger, nullable=False),
        PrimaryKeyConstraint("organisation_id", "patient_id", name="pk_access_patient"),
    )
    op.create_index(
        "ix_access_patient_patient_id", "access_patient", ["patient_id"], postgresql_where=text("active")
    )
    op.create_table(
        "access_grant",
        Column("user_id", BigInteger, nullable=False),
        Column("patient_id", Text, nullable=False),
        Column("user_type", Text, nullable=False),
        Column("active", Boolean, nullable=False),
        Column("sequence", BigInteger, nullable=False),
        PrimaryKeyConstraint("user_id", "patient_id", name="pk_access_grant"),
    )
    op.create_index(
        "ix_access_grant_patient_id", "access_grant", ["patient_id"], postgresql_where=text("active")
    )
    op.create_table(
        "access_feature",
        Column("organisation_id", BigInteger, nullable=False),
        Column("feature_key", Text, nullable=False),
        Column("active", Boolean, nullable=False),
        Column("sequence", BigInteger, nullable=False),
        PrimaryKeyConstraint("organisation_id", "feature_key", name="pk_access_feature"),
    )


def drop_access_tables() -> None:
    """The reverse of `create_access_tables`."""
    for table in (
        "access_feature",
        "access_grant",
        "access_patient",
        "access_staff",
        "access_organisation",
        "access_account",
    ):
        op.drop_table(table)
