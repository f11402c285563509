"""The platform's tables as the first migration of every service makes them.

Frozen: a later change is a function of its own, for a later migration.
"""

from alembic import op
from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    Identity,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    Text,
    Uuid,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB


def create_platform_tables() -> None:
    """Version 1, for use in an Alembic `upgrade`."""
    op.create_table(
        "outbox",
        Column("id", Uuid, nullable=False),
        Column("position", BigInteger, Identity(always=True), nullable=False),
        Column("type", Text, nullable=False),
        Column("subject", Text, nullable=False),
        Column("body", LargeBinary, nullable=False),
        Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
        Column("published_at", DateTime(timezone=True)),
        PrimaryKeyConstraint("id", name="pk_outbox"),
    )
    op.create_index(
        "ix_outbox_unpublished", "outbox", ["position"], postgresql_where=text("published_at IS NULL")
    )
    op.create_index(
        "ix_outbox_published", "outbox", ["published_at"], postgresql_where=text("published_at IS NOT NULL")
    )
    op.create_table(
        "inbox",
        Column("event_id", Uuid, nullable=False),
        Column("received_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
        PrimaryKeyConstraint("event_id", name="pk_inbox"),
    )
    op.create_index("ix_inbox_received_at", "inbox", ["received_at"])
    op.create_table(
        "upstream_intent",
        Column("id", Uuid, nullable=False),
        Column("kind", Text, nullable=False),
        Column("target", Text, nullable=False),
        Column("payload", JSONB, nullable=False),
        Column("attempts", Integer, nullable=False, server_default=text("0")),
        Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
        Column("due_at", DateTime(timezone=True), nullable=False),
        PrimaryKeyConstraint("id", name="pk_upstream_intent"),
    )
    op.create_index("ix_upstream_intent_due_at", "upstream_intent", ["due_at"])
    op.create_table(
        "parked_message",
        Column("event_id", Uuid, nullable=False),
        Column("type", Text, nullable=False),
        Column("body", LargeBinary, nullable=False),
        Column("reason", Text, nullable=False),
        Column("parked_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
        PrimaryKeyConstraint("event_id", name="pk_parked_message"),
    )


def drop_platform_tables() -> None:
    """The reverse of `create_platform_tables`."""
    for table in ("parked_message", "upstream_intent", "inbox", "outbox"):
        op.drop_table(table)
