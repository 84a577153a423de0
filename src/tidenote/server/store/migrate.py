"""Brings a database to the tables that this version of Tidenote knows, or refuses it untouched."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect

from tidenote.errors import ConfigError

SCRIPTS: Final = Path(__file__).parent / "migrations"


def needs_migration(connection: Connection) -> bool:
    """Say whether `migrate` has anything to do. Only reads.

    Raises:
        ConfigError: if the database is a newer Tidenote's, or no Tidenote's.
    """
    present = set(MigrationContext.configure(connection).get_current_heads())
    script = ScriptDirectory(str(SCRIPTS))
    if unknown := present - {revision.revision for revision in script.walk_revisions()}:
        raise ConfigError(
            f"a newer Tidenote wrote this database (schema {', '.join(sorted(unknown))}): install that version; "
            "nothing was changed"
        )
    if not present and inspect(connection).get_table_names():
        raise ConfigError("this database is not Tidenote's: name another; nothing was changed")
    return present != set(script.get_heads())


def migrate(connection: Connection) -> None:
    """Bring the database up to date, inside the connection's transaction: wholly or not at all."""
    config = Config()
    config.set_main_option("script_location", str(SCRIPTS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
