"""The first tables of the messaging context.

Revision ID: 0001
"""

from quill_shared.kernel.access import create_access_tables, drop_access_tables
from quill_shared.platform.schema_v1 import create_platform_tables, drop_platform_tables

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Creates everything."""
    create_platform_tables()
    create_access_tables()


def downgrade() -> None:
    """Drops everything."""
    drop_access_tables()
    drop_platform_tables()
