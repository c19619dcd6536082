"""By what sign-ins began.

Revision 0011, after 0010.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("sessions", sa.Column("way", sa.String(length=16), nullable=True))


def downgrade() -> None:
    op.drop_column("sessions", "way")
