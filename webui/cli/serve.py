"""`webui serve`: start the server, say where it is, open the browser.

Turns flags into settings; the one place that loads the app.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from webui.cli import log
from webui.cli.other_devices import tell_first_run, tell_others
from webui.cli.server import Server, check_address, open_sockets
from webui.errors import NotFound
from webui.hub.catalog import Catalog
from webui.network.binding import binding_of
from webui.settings import Build, LogLevel, load

if TYPE_CHECKING:
    from collections.abc import Callable
    from socket import socket

    from webui.network.lan import Lan
    from webui.settings import Settings

STARTER_MB = 93


class UnknownModel(NotFound):
    """The model to load at start is not there."""

    code = "unknown_model"


@click.command(context_settings={"show_default": False})
@click.option("--host", help="Address to listen on [127.0.0.1].")
@click.option("--port", type=int, help="Port to listen on; 0 takes a free one [7860].")
@click.option(
    "--listen", is_flag=True, default=None, help="The whole network; strangers must sign in."
)
@click.option(
    "--allowed-hosts",
    multiple=True,
    metavar="NAME",
    help="Further host name this server answers for; may be repeated.",
)
@click.option("--tls", is_flag=True, default=None, help="Serve https, with a certificate of ours.")
@click.option("--tls-cert", type=Path, metavar="FILE", help="Certificate to serve https with.")
@click.option("--tls-key", type=Path, metavar="FILE", help="Private key of that certificate.")
@click.option("--mdns/--no-mdns", default=None, help="Tell the network our name [yes].")
@click.option(
    "--trusted-proxy",
    multiple=True,
    metavar="ADDRESS[/MASK]",
    help="Reverse proxy whose X-Forwarded headers are believed; may be repeated.",
)
@click.option("--root-path", metavar="PATH", help="Path under which a reverse proxy shows this.")
@click.option(
    "--requests-per-s",
    type=float,
    metavar="NUMBER",
    help="What one person or strange address may send; 0 counts none [50].",
)
@click.option(
    "--session-idle-days",
    type=int,
    metavar="NUMBER",
    help="Days without use after which a sign-in ends [14].",
)
@click.option(
    "--session-days",
    type=int,
    metavar="NUMBER",
    help="Days after which a sign-in ends, however much it is used [30].",
)
@click.option(
    "--trusted-user-header", metavar="HEADER", help="In which that proxy says who is signed in."
)
@click.option(
    "--trusted-user-auto-create",
    is_flag=True,
    default=None,
    help="Make an account for who comes by that header.",
)
@click.option("--oidc-issuer", metavar="URL", help="OpenID Connect provider to sign in by.")
@click.option("--oidc-client-id", metavar="ID", help="What it calls this server.")
@click.option(
    "--oidc-client-secret-file", type=Path, metavar="FILE", help="File with the secret it gave us."
)
@click.option("--oidc-name", metavar="NAME", help="What people call it.")
@click.option("--oidc-scopes", metavar="WORDS", help="What it is asked for [openid profile].")
@click.option(
    "--oidc-auto-create",
    is_flag=True,
    default=None,
    help="Make an account for who comes from there.",
)
@click.option(
    "--oidc-email-domains",
    multiple=True,
    metavar="DOMAIN",
    help="Only for confirmed e-mail addresses there; may be repeated.",
)
@click.option("--data-dir", type=Path, help="Folder of the database and everything that must last.")
@click.option("--models-dir", type=Path, help="Folder of model files.")
@click.option("--model", metavar="NAME_OR_PATH", help="Model to load at start.")
@click.option(
    "--starter",
    is_flag=False,
    flag_value="true",
    metavar="[PATH]",
    help=f"Get the starter model ({STARTER_MB} MB) unasked; PATH takes a file already there.",
)
@click.option("--browser/--no-browser", default=None, help="Open the browser [yes].")
@click.option("--ui/--no-ui", default=None, help="Serve the page, or only the API [page].")
@click.option("--log-level", type=click.Choice(get_args(LogLevel)), help="Log lines shown [info].")
@click.option(
    "--fake-engine",
    type=float,
    metavar="RATE",
    help="Answer from a made-up model at RATE tokens a second.",
)
@click.option(
    "--max-gap-ms",
    type=int,
    metavar="MS",
    help="Longest pause in a reply while another prompt is read [300].",
)
@click.option(
    "--drain-s",
    type=float,
    metavar="SECONDS",
    help="How long replies may go on when their model is unloaded [30].",
)
@click.option(
    "--load-stall-s",
    type=float,
    metavar="SECONDS",
    help="How long a load may make no progress before this is told [60].",
)
@click.option(
    "--cache-ram-mb",
    type=int,
    metavar="MIB",
    help="Memory for conversations that models have read [1024].",
)
@click.option(
    "--cache-disk-mb",
    type=int,
    metavar="MIB",
    help="Disk for the same, to outlive a restart [8192].",
)
@click.option(
    "--cache-api-hours",
    type=int,
    metavar="HOURS",
    help="How long what programs had read stays there after its last use [24].",
)
@click.option(
    "--build",
    type=click.Choice(get_args(Build)),
    help="Kind of llama.cpp to compile at install; found out by default.",
)
def serve(**flags: Any) -> None:  # noqa: ANN401 - one value a flag, checked by Settings
    """Start the server (the default command)."""
    given = {name: value for name, value in flags.items() if value not in (None, ())}
    if given.get("starter") == "true":
        given["starter"] = True
    settings = load(given)
    check_address(settings)
    check_model(settings)
    log.configure(settings.log_level)
    listeners = open_sockets(binding_of(settings).hosts, settings.port)
    with contextlib.ExitStack() as stack:
        for listener in listeners:
            stack.enter_context(listener)
        port = listeners[0].getsockname()[1]
        run(settings.model_copy(update={"port": port}), listeners)


def check_model(settings: Settings) -> None:
    """Check that the model to load at start is there; not where the starter may yet bring it.

    Raises:
        UnknownModel: It is not.
    """
    if settings.model is None or settings.models_dir is None:
        return
    if settings.starter or settings.fake_engine is not None:
        return
    try:
        Catalog(settings.models_dir).get_at(settings.model)
    except NotFound as error:
        raise UnknownModel(error.message, error.hint, field="model") from error


def run(settings: Settings, listeners: list[socket]) -> None:
    """Make the app and serve it until a signal ends it.

    Args:
        settings: With the port that was really taken.
        listeners: Its sockets.
    """
    # The app brings all of the house along; other commands must start without it.
    from webui.app import create_app, end_streams

    app = create_app(settings)
    lan: Lan = app.state.runtime.lan
    if lan.certificates is not None:
        lan.certificates.open(lan.reachable())
    server = Server(
        app,
        on_ready=lambda: greet(settings, lan, app.state.runtime.accounts.first_run_code),
        on_stop=lambda: end_streams(app),
        tls=lan.certificates.context if lan.certificates else None,
    )
    server.serve_until_signal(listeners)


def greet(settings: Settings, lan: Lan, first_run_code: str | None = None) -> None:
    """Say where the server is and what is missing; open the browser.

    Args:
        settings: What the server was told.
        lan: How it is reached.
        first_run_code: What makes the first administrator; None where there is one.
    """
    say = click.echo
    url = lan.url("127.0.0.1" if lan.binding.is_everywhere else lan.binding.hosts[0])
    say(f"Hearthside is at {url}")
    tell_others(lan)
    if first_run_code is not None:
        tell_first_run(lan, url, first_run_code)
    if lacks_model(settings):
        say(f"There is no model in {settings.models_dir} yet.")
        say(
            f"Get the starter, a small one ({STARTER_MB} MB): press its button on the page, "
            "or start with --starter"
        )
    if settings.browser and settings.ui and can_open_browser():
        # Some systems' openers wait until the browser ends.
        threading.Thread(target=_open_browser, args=(url, webbrowser.open), daemon=True).start()
    sys.stdout.flush()


def lacks_model(settings: Settings) -> bool:
    """Whether there is nothing that can be loaded and nothing on its way."""
    if settings.fake_engine or settings.model or settings.starter or settings.models_dir is None:
        return False
    return all(file.error for file in Catalog(settings.models_dir).list())


def can_open_browser() -> bool:
    """Whether a person sits here who could see it: a terminal and a screen."""
    has_screen = (
        sys.platform == "darwin"
        or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
        or "WSL_DISTRO_NAME" in os.environ
    )
    return sys.stdout.isatty() and has_screen and "SSH_CONNECTION" not in os.environ


def _open_browser(url: str, opener: Callable[[str], bool]) -> None:
    opener(url)
