"""How long a model thought.

Revision 0002, after 0001. What was written before was not measured.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("messages", sa.Column("reasoning_s", sa.Double(), nullable=True))


def downgrade() -> None:
    op.drop_column("messages", "reasoning_s")
