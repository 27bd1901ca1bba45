"""Accounts, API keys and sessions."""

from __future__ import annotations

from sqlalchemy import ForeignKey, Index, String
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from services.persistence.tables.base import Base, Identifier, Moment, Slot


class UserRow(Base):
    """An account; its key lies in a slot, sealed by the installation key."""

    __tablename__ = "users"

    user_id: Mapped[Identifier] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(64))
    folded_name: Mapped[str] = mapped_column(String(192), unique=True)
    """The name as it is compared: case folded."""
    role: Mapped[str] = mapped_column(String(16))
    disabled: Mapped[bool] = mapped_column(default=False)
    password_hash: Mapped[str | None]
    must_change_password: Mapped[bool] = mapped_column(default=False)
    created_at: Mapped[Moment]
    key_slot: Mapped[Slot] = mapped_column(unique=True)


class ApiKeyRow(Base):
    """An API key, known by its hash alone."""

    __tablename__ = "api_keys"
    __table_args__ = (Index(None, "user_id", "created_at", "key_id"),)

    key_id: Mapped[Identifier] = mapped_column(primary_key=True)
    user_id: Mapped[Identifier] = mapped_column(ForeignKey("users.user_id", ondelete="CASCADE"))
    name: Mapped[str] = mapped_column(String(64))
    prefix: Mapped[str] = mapped_column(String(64))
    hash: Mapped[str] = mapped_column(String(64), unique=True)
    memory: Mapped[str] = mapped_column(String(16))
    scopes: Mapped[list[str]] = mapped_column(ARRAY(String(64)))
    created_at: Mapped[Moment]
    expires_at: Mapped[Moment | None]


class KeyMappingRow(Base):
    """For whom a key may speak; its id is the keyed hash of the key and of what its program calls them."""

    __tablename__ = "key_mappings"

    mapping_id: Mapped[Identifier] = mapped_column(primary_key=True)
    key_id: Mapped[Identifier] = mapped_column(ForeignKey("api_keys.key_id", ondelete="CASCADE"), index=True)
    user_id: Mapped[Identifier] = mapped_column(ForeignKey("users.user_id", ondelete="CASCADE"), index=True)
    created_at: Mapped[Moment]
    accepted: Mapped[bool]
    """By the account, or by whoever owns the machine."""


class RefreshFamilyRow(Base):
    """One session: every refresh token that descends from one login."""

    __tablename__ = "refresh_families"

    family_id: Mapped[Identifier] = mapped_column(primary_key=True)
    user_id: Mapped[Identifier] = mapped_column(ForeignKey("users.user_id", ondelete="CASCADE"), index=True)
    ended_at: Mapped[Moment | None]
    expires_at: Mapped[Moment] = mapped_column(index=True)
    """When its newest token expires; the family can go then."""


class RefreshTokenRow(Base):
    """A refresh token, used at most once; a used one is kept to recognise its reuse."""

    __tablename__ = "refresh_tokens"

    hash: Mapped[str] = mapped_column(String(128), primary_key=True)
    family_id: Mapped[Identifier] = mapped_column(
        ForeignKey("refresh_families.family_id", ondelete="CASCADE"), index=True
    )
    expires_at: Mapped[Moment]
    used_at: Mapped[Moment | None]
