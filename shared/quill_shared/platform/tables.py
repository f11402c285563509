"""The tables every service's database has for the platform, in a metadata of their own.

A service's first migration makes them with `platform.schema_v1`.
"""

from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    Uuid,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

platform_metadata = MetaData()

outbox = Table(
    "outbox",
    platform_metadata,
    Column("id", Uuid, nullable=False),
    Column("position", BigInteger, Identity(always=True), nullable=False),
    Column("type", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("published_at", DateTime(timezone=True)),
    PrimaryKeyConstraint("id", name="pk_outbox"),
    Index("ix_outbox_unpublished", "position", postgresql_where=text("published_at IS NULL")),
    Index("ix_outbox_published", "published_at", postgresql_where=text("published_at IS NOT NULL")),
)
"""Events that left with a transaction. `published_at` is set after the bus confirmed."""

inbox = Table(
    "inbox",
    platform_metadata,
    Column("event_id", Uuid, nullable=False),
    Column("received_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    PrimaryKeyConstraint("event_id", name="pk_inbox"),
    Index("ix_inbox_received_at", "received_at"),
)
"""Events whose effect is in this database."""

upstream_intent = Table(
    "upstream_intent",
    platform_metadata,
    Column("id", Uuid, nullable=False),
    Column("kind", Text, nullable=False),
    Column("target", Text, nullable=False),
    Column("payload", JSONB, nullable=False),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("due_at", DateTime(timezone=True), nullable=False),
    PrimaryKeyConstraint("id", name="pk_upstream_intent"),
    Index("ix_upstream_intent_due_at", "due_at"),
)
"""Writes to another system that are not known to be finished. A finished one is deleted."""

parked_message = Table(
    "parked_message",
    platform_metadata,
    Column("event_id", Uuid, nullable=False),
    Column("type", Text, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("reason", Text, nullable=False),
    Column("parked_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    PrimaryKeyConstraint("event_id", name="pk_parked_message"),
)
"""Events the embedded transport could not deliver; RabbitMQ keeps them in `quill.<service>.parked`."""
