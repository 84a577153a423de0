"""The first schema. A released migration never changes: it says its tables itself."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "1"
down_revision = None
branch_labels = None
depends_on = None

KEY = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Create all tables."""
    op.create_table(
        "vaults",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("name", KEY, nullable=False, unique=True),
        sa.Column("epoch", sa.Text, nullable=False),
        sa.Column("clock", sa.BigInteger, nullable=False),
        sa.Column("fenced_by", sa.Text),
        sa.Column("on_tie", sa.Text, nullable=False),
        sa.Column("swept_at", sa.BigInteger, nullable=False),
        sa.Column("tombstones_gone_before", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "versions",
        sa.Column("vault_id", sa.Integer, sa.ForeignKey("vaults.id"), primary_key=True),
        sa.Column("receipt", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("key", KEY, nullable=False),
        sa.Column("timestamp", sa.BigInteger, nullable=False),
        sa.Column("device_id", KEY, nullable=False),
        sa.Column("base", sa.Text),
        sa.Column("merged_from", sa.Text),
        sa.Column("moved_to", KEY),
        sa.Column("blob_sha256", sa.Text),
        sa.Column("blob_size", sa.BigInteger),
        sa.Column("blob_media_type", sa.Text),
        sa.Column("modified_at", sa.BigInteger),
        sa.Column("live", sa.Boolean, nullable=False),
        sa.Column("conflict", sa.Boolean, nullable=False),
        sa.Column("received_at", sa.BigInteger, nullable=False),
        sa.Column("content_hash", sa.Text),
        sa.Column("text_size", sa.Integer, nullable=False),
        sa.Column("gone", sa.Boolean, nullable=False),
        sa.Column("packed_with", sa.BigInteger),
        sa.Column("links", sa.Integer),
        sa.Column("value", sa.Text),
        sa.Column("packed", sa.LargeBinary),
        sa.UniqueConstraint("vault_id", "timestamp", "device_id", "key"),
    )
    op.create_index("versions_by_key", "versions", ["vault_id", "key", "receipt", "content_hash"])
    for name, columns in (("target", ["vault_id", "moved_to"]), ("blob", ["blob_sha256"])):
        present = sa.text(f"{columns[-1]} IS NOT NULL")
        op.create_index(f"versions_by_{name}", "versions", columns, sqlite_where=present, postgresql_where=present)
    op.create_index(
        "versions_to_look_at",
        "versions",
        ["vault_id", "key", "receipt"],
        sqlite_where=sa.text("conflict IS 1"),
        postgresql_where=sa.text("conflict IS true"),
    )
    op.create_table(
        "keys",
        sa.Column("vault_id", sa.Integer, sa.ForeignKey("vaults.id"), primary_key=True),
        sa.Column("key", KEY, primary_key=True),
        sa.Column("floor", sa.BigInteger, nullable=False),
        sa.Column("changed_at", sa.BigInteger),
        sqlite_with_rowid=False,
    )
    op.create_index("keys_by_change", "keys", ["vault_id", "changed_at"], unique=True)
    op.create_table(
        "siblings",
        sa.Column("vault_id", sa.Integer, primary_key=True),
        sa.Column("key", KEY, primary_key=True),
        sa.Column("receipt", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.ForeignKeyConstraint(["vault_id", "receipt"], ["versions.vault_id", "versions.receipt"]),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "absent_dots",
        sa.Column("vault_id", sa.Integer, primary_key=True),
        sa.Column("key", KEY, primary_key=True),
        sa.Column("timestamp", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("device_id", KEY, primary_key=True),
        sa.ForeignKeyConstraint(["vault_id", "key"], ["keys.vault_id", "keys.key"]),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "unpacked",
        sa.Column("vault_id", sa.Integer, primary_key=True),
        sa.Column("receipt", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.ForeignKeyConstraint(["vault_id", "receipt"], ["versions.vault_id", "versions.receipt"]),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "devices",
        sa.Column("vault_id", sa.Integer, sa.ForeignKey("vaults.id"), primary_key=True),
        sa.Column("device_id", KEY, primary_key=True),
        sa.Column("cursor", sa.BigInteger, nullable=False),
        sa.Column("epoch", sa.Text, nullable=False),
        sa.Column("last_seen", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )
