"""Shares: who may read what of somebody else's.

Revision 0010, after 0009.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

POINTS_TO = (
    ("owner_id", "users"),
    ("conversation_id", "conversations"),
    ("user_id", "users"),
    ("group_id", "groups"),
    ("leaf_id", "messages"),
)


def upgrade() -> None:
    op.create_table(
        "shares",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("owner_id", sa.String(), nullable=False),
        sa.Column("conversation_id", sa.String(), nullable=False),
        sa.Column("audience", sa.String(length=16), nullable=False),
        sa.Column("user_id", sa.String(), nullable=True),
        sa.Column("group_id", sa.String(), nullable=True),
        sa.Column("leaf_id", sa.String(), nullable=True),
        sa.Column("leaf_text_chars", sa.Integer(), nullable=True),
        sa.Column("leaf_reasoning_chars", sa.Integer(), nullable=True),
        sa.Column("leaf_model", sa.String(), nullable=True),
        sa.Column("title", sa.String(), nullable=True),
        sa.Column("num_messages", sa.Integer(), nullable=True),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("expires_at", sa.DateTime(), nullable=True),
        *(
            sa.ForeignKeyConstraint(
                [column], [f"{table}.id"], name=f"fk_shares_{column}_{table}", ondelete="CASCADE"
            )
            for column, table in POINTS_TO
        ),
        sa.PrimaryKeyConstraint("id", name="pk_shares"),
    )
    for column, _ in POINTS_TO:
        op.create_index(f"ix_shares_{column}", "shares", [column])


def downgrade() -> None:
    op.drop_table("shares")
