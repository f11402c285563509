"""The first tables of the orgs context.

Revision ID: 0001
"""

import sqlalchemy as sa
from alembic import op

from quill_shared.kernel.access import create_access_tables, drop_access_tables
from quill_shared.platform.schema_v1 import create_platform_tables, drop_platform_tables

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Creates everything."""
    create_platform_tables()
    create_access_tables()
    op.create_table(
        "organisation",
        sa.Column("id", sa.BigInteger, sa.Identity(), nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("type", sa.Text, nullable=False),
        sa.Column("location", sa.Text),
        sa.Column("version", sa.BigInteger, nullable=False, server_default=sa.text("1")),
        sa.Column("revision", sa.BigInteger, nullable=False, server_default=sa.text("1")),
        _timestamp("created_at"),
        _timestamp("updated_at"),
        sa.PrimaryKeyConstraint("id", name="pk_organisation"),
    )
    op.create_index("ix_organisation_name_id", "organisation", ["name", "id"])
    _membership("staff_membership", sa.Column("user_id", sa.BigInteger, nullable=False))
    _membership("patient_membership", sa.Column("patient_id", sa.Text, nullable=False))
    op.create_table(
        "enabled_feature",
        _organisation(),
        sa.Column("feature_key", sa.Text, nullable=False),
        _timestamp("enabled_at"),
        sa.Column("enabled_by", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("organisation_id", "feature_key", name="pk_enabled_feature"),
        _organisation_key("enabled_feature"),
    )
    op.create_table(
        "join_request",
        _organisation(),
        sa.Column("user_id", sa.BigInteger, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        _timestamp("requested_at"),
        sa.Column("decided_at", sa.DateTime(timezone=True)),
        sa.Column("decided_by", sa.BigInteger),
        sa.PrimaryKeyConstraint("organisation_id", "user_id", name="pk_join_request"),
        _organisation_key("join_request"),
    )


def downgrade() -> None:
    """Drops everything."""
    for table in (
        "join_request",
        "enabled_feature",
        "patient_membership",
        "staff_membership",
        "organisation",
    ):
        op.drop_table(table)
    drop_access_tables()
    drop_platform_tables()


def _timestamp(name: str) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now())


def _organisation() -> sa.Column[int]:
    return sa.Column("organisation_id", sa.BigInteger, nullable=False)


def _organisation_key(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["organisation_id"], ["organisation.id"], name=f"fk_{table}_organisation_id"
    )


def _membership(table: str, member: sa.Column[object]) -> None:
    op.create_table(
        table,
        _organisation(),
        member,
        sa.Column("is_primary", sa.Boolean, nullable=False),
        _timestamp("created_at"),
        sa.PrimaryKeyConstraint("organisation_id", member.name, name=f"pk_{table}"),
        _organisation_key(table),
    )
    op.create_index(
        f"uq_{table}_primary", table, [member.name], unique=True, postgresql_where=sa.text("is_primary")
    )
    op.create_index(f"ix_{table}_{member.name}", table, [member.name])
