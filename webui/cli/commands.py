"""The group of all commands, and how their errors reach a person: one line, exit code 1.

Where the model to load at start is unknown it is 2, as for wrong flags.
`serve` is what happens when no command is named, so its flags may stand alone.
"""

from __future__ import annotations

import errno
import sys

import click
from typing_extensions import override

import webui
from webui.cli.backup import backup, restore_command
from webui.cli.bench import bench
from webui.cli.columns import printable
from webui.cli.doctor import doctor
from webui.cli.models import load, models, unload
from webui.cli.ps import ps
from webui.cli.serve import UnknownModel, serve
from webui.cli.user import user
from webui.errors import WebuiError, in_one_line

OWN_FLAGS = frozenset({"--help", "-h", "--version"})


class Commands(click.Group):
    """Take flags without a command as those of `serve`."""

    @override
    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args or (args[0].startswith("-") and args[0] not in OWN_FLAGS):
            args = ["serve", *args]
        return super().parse_args(ctx, args)

    @override
    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        super().format_options(ctx, formatter)
        records = [option.get_help_record(ctx) for option in serve.params]
        with formatter.section("Options of serve, which may stand without it"):
            formatter.write_dl([record for record in records if record is not None])


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(webui.__version__, prog_name="Hearthside")
def commands() -> None:
    """Hearthside: a multi-user web UI for language models that run on your own machine."""


for command in (serve, user, models, load, unload, ps, doctor, backup, restore_command, bench):
    commands.add_command(command)


def main() -> None:
    """Run the command line of this process; the entry point of the script `webui`."""
    try:
        commands(prog_name="webui")
    except UnknownModel as error:
        click.echo(line(error.message, error.hint), err=True)
        sys.exit(2)
    except WebuiError as error:
        sys.exit(line(error.message, error.hint))
    except OSError as error:
        # A full disk or a folder without rights may show anywhere; anything else is a bug.
        if error.errno not in {errno.EACCES, errno.EPERM, errno.ENOSPC, errno.EROFS, errno.EDQUOT}:
            raise
        sys.exit(line(f"{error.filename or 'the disk'}: {error.strerror}"))


def line(message: str, hint: str = "") -> str:
    """Return an error as one line for a terminal; a name in it cannot move the cursor."""
    message = printable(" ".join(message.split()).removesuffix("."))
    return f"Error: {in_one_line(message, printable(hint))}"
