"""The group of all measurements; `stack` is what happens when none is named.

Knows names only: a measurement is imported when it is asked for, so that `webui --help` stays quick.
"""

from __future__ import annotations

import importlib
from types import MappingProxyType

import click
from typing_extensions import override

MODULES = MappingProxyType(
    {name: f"webui.cli.bench.{name}" for name in ("engine", "people", "stack")}
)
DEFAULT = "stack"


class Measurements(click.Group):
    """Take flags without a measurement as those of `stack`."""

    @override
    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args or (args[0].startswith("-") and args[0] not in ctx.help_option_names):
            args = [DEFAULT, *args]
        return super().parse_args(ctx, args)

    @override
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(MODULES)

    @override
    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in MODULES:
            return None
        command: click.Command = getattr(importlib.import_module(MODULES[cmd_name]), cmd_name)
        return command

    @override
    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        super().format_options(ctx, formatter)
        command = self.get_command(ctx, DEFAULT)
        assert command is not None
        records = [option.get_help_record(ctx) for option in command.params]
        with formatter.section(f"Options of {DEFAULT}, which may stand without it"):
            formatter.write_dl([record for record in records if record is not None])


@click.group(cls=Measurements)
def bench() -> None:
    """Measure speed on this machine, with servers of our own."""
