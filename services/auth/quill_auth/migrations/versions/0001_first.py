"""The first tables of the auth context.

Revision ID: 0001
"""

from typing import Any

import sqlalchemy as sa
from alembic import op

from quill_shared.kernel.access import create_access_tables, drop_access_tables
from quill_shared.platform.schema_v1 import create_platform_tables, drop_platform_tables

revision = "0001"
down_revision = None

_TABLES = (
    "access_grant_record",
    "invite",
    "signing_key",
    "throttle_bucket",
    "refresh_token",
    "sign_in_session",
    "account",
)


def upgrade() -> None:
    """Creates everything."""
    create_platform_tables()
    create_access_tables()
    _accounts()
    _sessions()
    _throttling()
    _keys()
    _external_access()


def downgrade() -> None:
    """Drops everything."""
    for table in _TABLES:
        op.drop_table(table)
    drop_access_tables()
    drop_platform_tables()


def _accounts() -> None:
    op.create_table(
        "account",
        sa.Column("id", sa.BigInteger, sa.Identity(), nullable=False),
        *(_text(name) for name in ("username", "username_key", "email", "email_key")),
        _text("full_name", nullable=True),
        *(_text(name) for name in ("password_hash", "base_profession")),
        *(_texts(name) for name in ("additional_competencies", "removed_competencies")),
        _text("system_permissions"),
        _texts("roles"),
        _text("fhir_patient_id", nullable=True),
        sa.Column("is_active", sa.Boolean, nullable=False, server_default=sa.true()),
        sa.Column("ver", sa.Integer, nullable=False, server_default=sa.text("1")),
        *(_instant(name, nullable=True) for name in ("powers_changed_at", "sessions_ended_at")),
        _text("sessions_ended_reason", nullable=True),
        sa.Column("version", sa.BigInteger, nullable=False, server_default=sa.text("1")),
        *(_instant(name, server_default=sa.func.now()) for name in ("created_at", "updated_at")),
        sa.PrimaryKeyConstraint("id", name="pk_account"),
    )
    op.create_index("uq_account_username_key", "account", ["username_key"], unique=True)
    op.create_index("uq_account_email_key", "account", ["email_key"], unique=True)
    op.create_index(
        "uq_account_fhir_patient_id",
        "account",
        ["fhir_patient_id"],
        unique=True,
        postgresql_where=sa.text("fhir_patient_id IS NOT NULL"),
    )
    op.create_index("ix_account_system_permissions", "account", ["system_permissions", "id"])
    op.create_index("ix_account_powers_changed_at", "account", ["powers_changed_at"])
    op.create_index("ix_account_sessions_ended_at", "account", ["sessions_ended_at"])


def _sessions() -> None:
    op.create_table(
        "sign_in_session",
        _text("id"),
        sa.Column("user_id", sa.BigInteger, nullable=False),
        _text("client"),
        _instant("created_at"),
        _instant("refreshed_at"),
        _instant("ended_at", nullable=True),
        _text("ended_reason", nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_sign_in_session"),
        _account_key("sign_in_session", "user_id"),
    )
    op.create_index("ix_sign_in_session_user_id", "sign_in_session", ["user_id"])
    op.create_index(
        "ix_sign_in_session_ended_at",
        "sign_in_session",
        ["ended_at"],
        postgresql_where=sa.text("ended_at IS NOT NULL"),
    )
    op.create_index("ix_sign_in_session_created_at", "sign_in_session", ["created_at"])
    op.create_table(
        "refresh_token",
        sa.Column("token_hash", sa.LargeBinary, nullable=False),
        _text("session_id"),
        _instant("issued_at"),
        _instant("first_used_at", nullable=True),
        sa.PrimaryKeyConstraint("token_hash", name="pk_refresh_token"),
        sa.ForeignKeyConstraint(
            ["session_id"], ["sign_in_session.id"], name="fk_refresh_token_session_id", ondelete="CASCADE"
        ),
    )
    op.create_index("ix_refresh_token_session_id", "refresh_token", ["session_id"])


def _throttling() -> None:
    op.create_table(
        "throttle_bucket",
        sa.Column("key", sa.LargeBinary, nullable=False),
        sa.Column("failures", sa.Integer, nullable=False),
        _instant("since"),
        sa.Column("closures", sa.Integer, nullable=False),
        _instant("closed_until", nullable=True),
        _instant("last_at"),
        sa.PrimaryKeyConstraint("key", name="pk_throttle_bucket"),
    )
    op.create_index("ix_throttle_bucket_last_at", "throttle_bucket", ["last_at"])


def _keys() -> None:
    op.create_table(
        "signing_key",
        *(_text(name) for name in ("kid", "public_key")),
        sa.Column("private_key", sa.LargeBinary, nullable=False),
        _text("sealed_with"),
        _instant("activates_at"),
        _instant("expires_at", nullable=True),
        _instant("created_at", server_default=sa.func.now()),
        sa.PrimaryKeyConstraint("kid", name="pk_signing_key"),
    )


def _external_access() -> None:
    op.create_table(
        "invite",
        sa.Column("id", sa.BigInteger, sa.Identity(), nullable=False),
        sa.Column("token_hash", sa.LargeBinary, nullable=False),
        *(_text(name) for name in ("patient_id", "email", "email_key", "user_type")),
        sa.Column("invited_by", sa.BigInteger, nullable=False),
        *(_instant(name) for name in ("created_at", "expires_at")),
        _instant("used_at", nullable=True),
        sa.Column("used_by", sa.BigInteger),
        _instant("revoked_at", nullable=True),
        sa.Column("revoked_by", sa.BigInteger),
        sa.PrimaryKeyConstraint("id", name="pk_invite"),
        *(_account_key("invite", column) for column in ("invited_by", "used_by", "revoked_by")),
    )
    op.create_index("uq_invite_token_hash", "invite", ["token_hash"], unique=True)
    op.create_index("ix_invite_patient_id_email_key", "invite", ["patient_id", "email_key"])
    op.create_table(
        "access_grant_record",
        sa.Column("user_id", sa.BigInteger, nullable=False),
        *(_text(name) for name in ("patient_id", "user_type")),
        _instant("granted_at"),
        sa.Column("granted_by", sa.BigInteger, nullable=False),
        _instant("revoked_at", nullable=True),
        sa.Column("revoked_by", sa.BigInteger),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("user_id", "patient_id", name="pk_access_grant_record"),
        *(_account_key("access_grant_record", column) for column in ("user_id", "granted_by", "revoked_by")),
    )
    op.create_index(
        "ix_access_grant_record_patient_id",
        "access_grant_record",
        ["patient_id"],
        postgresql_where=sa.text("revoked_at IS NULL"),
    )


def _text(name: str, *, nullable: bool = False) -> sa.Column[Any]:
    return sa.Column(name, sa.Text, nullable=nullable)


def _texts(name: str) -> sa.Column[Any]:
    return sa.Column(name, sa.ARRAY(sa.Text), nullable=False)


def _instant(name: str, *, nullable: bool = False, **more: Any) -> sa.Column[Any]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable, **more)


def _account_key(table: str, column: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint([column], ["account.id"], name=f"fk_{table}_{column}")
