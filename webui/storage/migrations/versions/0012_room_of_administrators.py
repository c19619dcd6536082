"""What administrators did has a room of its own in the audit log.

Revision 0012, after 0011.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    column: sa.Column[bool] = sa.Column(
        "by_administrator", sa.Boolean(), nullable=False, server_default=sa.false()
    )
    op.add_column("audit", column)
    op.execute(
        "UPDATE audit SET by_administrator = TRUE WHERE actor_id = 'command line'"
        " OR actor_id IN (SELECT id FROM users WHERE role = 'administrator')"
    )


def downgrade() -> None:
    op.drop_column("audit", "by_administrator")
