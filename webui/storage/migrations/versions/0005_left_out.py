"""What happens when a conversation is longer than the context, and what was left out of a prompt.

Revision 0005, after 0004. Of what was written before nothing is known to have been left out.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("conversations", sa.Column("context_overflow", sa.String(), nullable=True))
    op.add_column("messages", sa.Column("left_out_messages", sa.Integer(), nullable=True))
    op.add_column("messages", sa.Column("left_out_before_id", sa.String(), nullable=True))
    op.add_column("messages", sa.Column("left_out_tokens", sa.Integer(), nullable=True))


def downgrade() -> None:
    op.drop_column("messages", "left_out_tokens")
    op.drop_column("messages", "left_out_before_id")
    op.drop_column("messages", "left_out_messages")
    op.drop_column("conversations", "context_overflow")
