"""The tables of the SQL store, as this version of Tidenote knows them (migrations/ brings older ones here).

`versions` is append-only: the log; its old texts are packed, and at last let go. The others say what it amounts to now.
Columns that a scan reads come before the text, which is large and lies elsewhere on the disk.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    text,
)

metadata = MetaData()

KEY = Text().with_variant(Text(collation="C"), "postgresql")
"""A key: ordered by code points, as Python and SQLite do."""

vaults = Table(
    "vaults",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", KEY, nullable=False, unique=True),
    Column("epoch", Text, nullable=False),
    Column("clock", BigInteger, nullable=False),
    Column("fenced_by", Text),
    Column("on_tie", Text, nullable=False),  # "review", "ask" or "merge"
    Column("swept_at", BigInteger, nullable=False),  # ms since 1970
    Column("tombstones_gone_before", BigInteger, nullable=False),
)

versions = Table(
    "versions",
    metadata,
    Column("vault_id", Integer, ForeignKey("vaults.id"), primary_key=True),
    Column("receipt", BigInteger, primary_key=True, autoincrement=False),
    Column("key", KEY, nullable=False),
    Column("timestamp", BigInteger, nullable=False),
    Column("device_id", KEY, nullable=False),
    Column("base", Text),  # JSON [[timestamp, device_id], ...]; null is a blind write
    Column("merged_from", Text),  # the same; null is none
    Column("moved_to", KEY),
    Column("blob_sha256", Text),
    Column("blob_size", BigInteger),
    Column("blob_media_type", Text),
    Column("modified_at", BigInteger),
    Column("live", Boolean, nullable=False),
    Column("conflict", Boolean, nullable=False),
    Column("received_at", BigInteger, nullable=False),  # ms since 1970
    Column("content_hash", Text),  # null is a deletion
    Column("text_size", Integer, nullable=False),  # bytes of UTF-8
    Column("gone", Boolean, nullable=False),  # whether the content is kept no longer
    Column("packed_with", BigInteger),  # the receipt of the version that is the dictionary; null is none
    Column("links", Integer),  # at most how many dictionaries lead to a text that needs none
    Column("value", Text),  # null is a deletion, a blob, packed, or gone
    Column("packed", LargeBinary),
    # By timestamp first: a batch is looked up by its timestamps, and new ones go to the end of the index.
    UniqueConstraint("vault_id", "timestamp", "device_id", "key"),
    Index("versions_by_key", "vault_id", "key", "receipt", "content_hash"),
    Index(
        "versions_by_target",
        "vault_id",
        "moved_to",
        sqlite_where=text("moved_to IS NOT NULL"),
        postgresql_where=text("moved_to IS NOT NULL"),
    ),
    Index(
        "versions_by_blob",
        "blob_sha256",
        sqlite_where=text("blob_sha256 IS NOT NULL"),
        postgresql_where=text("blob_sha256 IS NOT NULL"),
    ),
)

Index(
    "versions_to_look_at",
    versions.c.vault_id,
    versions.c.key,
    versions.c.receipt,
    sqlite_where=versions.c.conflict.is_(True),
    postgresql_where=versions.c.conflict.is_(True),
)

keys = Table(
    "keys",
    metadata,
    Column("vault_id", Integer, ForeignKey("vaults.id"), primary_key=True),
    Column("key", KEY, primary_key=True),
    Column("floor", BigInteger, nullable=False),
    Column("changed_at", BigInteger),  # null: it was deleted so long ago that its tombstone is forgotten
    Index("keys_by_change", "vault_id", "changed_at", unique=True),
    sqlite_with_rowid=False,
)

siblings = Table(
    "siblings",
    metadata,
    Column("vault_id", Integer, primary_key=True),
    Column("key", KEY, primary_key=True),
    Column("receipt", BigInteger, primary_key=True, autoincrement=False),
    ForeignKeyConstraint(["vault_id", "receipt"], ["versions.vault_id", "versions.receipt"]),
    sqlite_with_rowid=False,
)
"""The versions that no other has replaced."""

absent_dots = Table(
    "absent_dots",
    metadata,
    Column("vault_id", Integer, primary_key=True),
    Column("key", KEY, primary_key=True),
    Column("timestamp", BigInteger, primary_key=True, autoincrement=False),
    Column("device_id", KEY, primary_key=True),
    ForeignKeyConstraint(["vault_id", "key"], ["keys.vault_id", "keys.key"]),
    sqlite_with_rowid=False,
)
"""Covered dots whose versions have not arrived; should they, they are replaced at once."""

unpacked = Table(
    "unpacked",
    metadata,
    Column("vault_id", Integer, primary_key=True),
    Column("receipt", BigInteger, primary_key=True, autoincrement=False),
    ForeignKeyConstraint(["vault_id", "receipt"], ["versions.vault_id", "versions.receipt"]),
    sqlite_with_rowid=False,
)
"""The replaced versions whose texts wait to be packed."""

devices = Table(
    "devices",
    metadata,
    Column("vault_id", Integer, ForeignKey("vaults.id"), primary_key=True),
    Column("device_id", KEY, primary_key=True),
    Column("cursor", BigInteger, nullable=False),
    Column("epoch", Text, nullable=False),
    Column("last_seen", BigInteger, nullable=False),  # ms since 1970
    sqlite_with_rowid=False,
)
"""Up to where each device has applied the log, roughly."""

credentials = Table(
    "credentials",
    metadata,
    Column("id", Text, primary_key=True),
    Column("device_id", KEY, nullable=False),
    Column("vaults", Text),  # JSON ["name", ...]; null is every one
    Column("role", Text, nullable=False),  # "reader", "editor" or "owner"
    Column("token_hash", Text, nullable=False, unique=True),
    Column("created_at", BigInteger, nullable=False),  # ms since 1970
    Column("last_seen_at", BigInteger, nullable=False),
    Column("session", Boolean, nullable=False),
    Column("old_hash", Text),
    Column("old_until", BigInteger, nullable=False),
)
"""Who may use the server; see registry.py."""

pairings = Table(
    "pairings",
    metadata,
    Column("code_hash", Text, primary_key=True),
    Column("vault", Text),  # null is every one
    Column("device_id", Text),
    Column("role", Text, nullable=False),
    Column("expires_at", BigInteger, nullable=False),  # ms since 1970
)
"""One-time links that nobody has used yet."""
