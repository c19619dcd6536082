"""The history of the schema, one numbered step a file; Alembic runs `env.py` itself."""
