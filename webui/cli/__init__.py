"""The command line: one file per command; `commands` puts them together."""

from webui.cli.commands import main

__all__ = ["main"]
