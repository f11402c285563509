"""The first tables of the patients context.

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
        "patient_index",
        sa.Column("position", sa.BigInteger, sa.Identity(), nullable=False),
        sa.Column("patient_id", sa.Text, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("last_updated", sa.DateTime(timezone=True), nullable=False),
        sa.Column("is_active", sa.Boolean, nullable=False),
        sa.Column("is_gone", sa.Boolean, nullable=False, server_default=sa.text("false")),
        sa.Column("sequence", sa.BigInteger, nullable=False, server_default=sa.text("1")),
        sa.PrimaryKeyConstraint("position", name="pk_patient_index"),
    )
    op.create_index("uq_patient_index_patient_id", "patient_index", ["patient_id"], unique=True)
    op.create_table(
        "identifier_claim",
        sa.Column("digest", sa.LargeBinary, nullable=False),
        sa.Column("patient_id", sa.Text, nullable=False),
        sa.Column("stamp", sa.BigInteger, nullable=False, server_default=sa.text("1")),
        sa.PrimaryKeyConstraint("digest", name="pk_identifier_claim"),
    )
    op.create_index("ix_identifier_claim_patient_id", "identifier_claim", ["patient_id"])
    op.create_table(
        "sweep_state",
        sa.Column("id", sa.SmallInteger, autoincrement=False, nullable=False),
        sa.Column("watermark", sa.DateTime(timezone=True)),
        sa.Column("walked_at", sa.DateTime(timezone=True)),
        sa.PrimaryKeyConstraint("id", name="pk_sweep_state"),
    )


def downgrade() -> None:
    """Drops everything."""
    for table in ("sweep_state", "identifier_claim", "patient_index"):
        op.drop_table(table)
    drop_access_tables()
    drop_platform_tables()
