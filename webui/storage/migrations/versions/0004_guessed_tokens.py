"""How many tokens of a reply were guessed, and how many of those held.

Revision 0004, after 0002. What was written before was not guessed.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("messages", sa.Column("drafted_tokens", sa.Integer(), nullable=True))
    op.add_column("messages", sa.Column("accepted_tokens", sa.Integer(), nullable=True))


def downgrade() -> None:
    op.drop_column("messages", "accepted_tokens")
    op.drop_column("messages", "drafted_tokens")
