"""Who may use the server: credentials and pairings."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "2"
down_revision = "1"
branch_labels = None
depends_on = None

KEY = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Create both tables."""
    op.create_table(
        "credentials",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("device_id", KEY, nullable=False),
        sa.Column("vaults", sa.Text),
        sa.Column("role", sa.Text, nullable=False),
        sa.Column("token_hash", sa.Text, nullable=False, unique=True),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("last_seen_at", sa.BigInteger, nullable=False),
        sa.Column("session", sa.Boolean, nullable=False),
        sa.Column("old_hash", sa.Text),
        sa.Column("old_until", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "pairings",
        sa.Column("code_hash", sa.Text, primary_key=True),
        sa.Column("vault", sa.Text),
        sa.Column("device_id", sa.Text),
        sa.Column("role", sa.Text, nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
    )
