"""The tables of the auth context."""

from datetime import datetime

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    Text,
    func,
    text,
    true,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from quill_shared.platform.database import new_metadata

_Instant = DateTime(timezone=True)


class Base(DeclarativeBase):
    """The base of this context's tables."""

    metadata = new_metadata()


class Account(Base):
    """A person's account.

    `ver` is the version of its powers: tokens issued with a lower one are outdated. `version` rises
    with every event about the account. The `…_key` columns are what names are compared by.
    """

    __tablename__ = "account"
    __table_args__ = (
        Index("uq_account_username_key", "username_key", unique=True),
        Index("uq_account_email_key", "email_key", unique=True),
        Index(
            "uq_account_fhir_patient_id",
            "fhir_patient_id",
            unique=True,
            postgresql_where=text("fhir_patient_id IS NOT NULL"),
        ),
        Index("ix_account_system_permissions", "system_permissions", "id"),
        Index("ix_account_powers_changed_at", "powers_changed_at"),
        Index("ix_account_sessions_ended_at", "sessions_ended_at"),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    username: Mapped[str] = mapped_column(Text)
    username_key: Mapped[str] = mapped_column(Text)
    email: Mapped[str] = mapped_column(Text)
    email_key: Mapped[str] = mapped_column(Text)
    full_name: Mapped[str | None] = mapped_column(Text)
    password_hash: Mapped[str] = mapped_column(Text)
    base_profession: Mapped[str] = mapped_column(Text)
    additional_competencies: Mapped[list[str]] = mapped_column(ARRAY(Text))
    removed_competencies: Mapped[list[str]] = mapped_column(ARRAY(Text))
    system_permissions: Mapped[str] = mapped_column(Text)
    roles: Mapped[list[str]] = mapped_column(ARRAY(Text))
    fhir_patient_id: Mapped[str | None] = mapped_column(Text)
    is_active: Mapped[bool] = mapped_column(Boolean, server_default=true())
    ver: Mapped[int] = mapped_column(Integer, server_default=text("1"))
    powers_changed_at: Mapped[datetime | None] = mapped_column(_Instant)
    sessions_ended_at: Mapped[datetime | None] = mapped_column(_Instant)
    sessions_ended_reason: Mapped[str | None] = mapped_column(Text)
    version: Mapped[int] = mapped_column(BigInteger, server_default=text("1"))
    created_at: Mapped[datetime] = mapped_column(_Instant, server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(_Instant, server_default=func.now())


class SignInSession(Base):
    """A session: what one sign-in began. `refreshed_at` is when its newest access token was issued."""

    __tablename__ = "sign_in_session"
    __table_args__ = (
        Index("ix_sign_in_session_user_id", "user_id"),
        Index("ix_sign_in_session_ended_at", "ended_at", postgresql_where=text("ended_at IS NOT NULL")),
        Index("ix_sign_in_session_created_at", "created_at"),
    )

    id: Mapped[str] = mapped_column(Text, primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("account.id"))
    client: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(_Instant)
    refreshed_at: Mapped[datetime] = mapped_column(_Instant)
    ended_at: Mapped[datetime | None] = mapped_column(_Instant)
    ended_reason: Mapped[str | None] = mapped_column(Text)


class RefreshToken(Base):
    """A refresh token, by the SHA-256 of its text. A used one stays, so that its replay is noticed."""

    __tablename__ = "refresh_token"
    __table_args__ = (Index("ix_refresh_token_session_id", "session_id"),)

    token_hash: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    session_id: Mapped[str] = mapped_column(ForeignKey("sign_in_session.id", ondelete="CASCADE"))
    issued_at: Mapped[datetime] = mapped_column(_Instant)
    first_used_at: Mapped[datetime | None] = mapped_column(_Instant)


class ThrottleBucket(Base):
    """Failures of one account or address. The key is a hash: what strangers type is not kept."""

    __tablename__ = "throttle_bucket"
    __table_args__ = (Index("ix_throttle_bucket_last_at", "last_at"),)

    key: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    failures: Mapped[int] = mapped_column(Integer)
    since: Mapped[datetime] = mapped_column(_Instant)
    closures: Mapped[int] = mapped_column(Integer)
    closed_until: Mapped[datetime | None] = mapped_column(_Instant)
    last_at: Mapped[datetime] = mapped_column(_Instant)


class SigningKey(Base):
    """A key pair that signs access tokens; the private half is encrypted under the settings' key."""

    __tablename__ = "signing_key"

    kid: Mapped[str] = mapped_column(Text, primary_key=True)
    public_key: Mapped[str] = mapped_column(Text)
    private_key: Mapped[bytes] = mapped_column(LargeBinary)
    sealed_with: Mapped[str] = mapped_column(Text)
    activates_at: Mapped[datetime] = mapped_column(_Instant)
    expires_at: Mapped[datetime | None] = mapped_column(_Instant)
    created_at: Mapped[datetime] = mapped_column(_Instant, server_default=func.now())


class Invite(Base):
    """An invitation of somebody outside to one patient's record, by the SHA-256 of its token."""

    __tablename__ = "invite"
    __table_args__ = (
        Index("uq_invite_token_hash", "token_hash", unique=True),
        Index("ix_invite_patient_id_email_key", "patient_id", "email_key"),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    token_hash: Mapped[bytes] = mapped_column(LargeBinary)
    patient_id: Mapped[str] = mapped_column(Text)
    email: Mapped[str] = mapped_column(Text)
    email_key: Mapped[str] = mapped_column(Text)
    user_type: Mapped[str] = mapped_column(Text)
    invited_by: Mapped[int] = mapped_column(ForeignKey("account.id"))
    created_at: Mapped[datetime] = mapped_column(_Instant)
    expires_at: Mapped[datetime] = mapped_column(_Instant)
    used_at: Mapped[datetime | None] = mapped_column(_Instant)
    used_by: Mapped[int | None] = mapped_column(ForeignKey("account.id"))
    revoked_at: Mapped[datetime | None] = mapped_column(_Instant)
    revoked_by: Mapped[int | None] = mapped_column(ForeignKey("account.id"))


class AccessGrant(Base):
    """A user's access to a patient's record; a revoked one stays, with who revoked it.

    `version` rises with every grant and revocation and is the sequence of their events.
    """

    __tablename__ = "access_grant_record"
    __table_args__ = (
        Index("ix_access_grant_record_patient_id", "patient_id", postgresql_where=text("revoked_at IS NULL")),
    )

    user_id: Mapped[int] = mapped_column(ForeignKey("account.id"), primary_key=True)
    patient_id: Mapped[str] = mapped_column(Text, primary_key=True)
    user_type: Mapped[str] = mapped_column(Text)
    granted_at: Mapped[datetime] = mapped_column(_Instant)
    granted_by: Mapped[int] = mapped_column(ForeignKey("account.id"))
    revoked_at: Mapped[datetime | None] = mapped_column(_Instant)
    revoked_by: Mapped[int | None] = mapped_column(ForeignKey("account.id"))
    version: Mapped[int] = mapped_column(BigInteger)
