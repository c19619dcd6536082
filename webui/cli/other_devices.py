"""What the terminal says of other devices: addresses, a QR code, what plain http cannot do.

Knows the terminal; what it says comes from `network`.
"""

from __future__ import annotations

import shutil
import sys
from typing import TYPE_CHECKING

import click

from webui.network import qr

if TYPE_CHECKING:
    from webui.network.lan import Lan

PLAIN_HTTP = (
    "Over plain http a browser on another device gives no microphone, keeps its clipboard to "
    "itself and does not install the page; everybody on the network can read along. "
    "Start with --tls for https."
)


def tell_others(lan: Lan) -> None:
    """Print how other devices get here, if they do."""
    say = click.echo
    urls = lan.urls()
    if urls:
        say("On other devices of this network:")
        for url in urls:
            say(f"  {url}")
        for line in code_of(f"{urls[0]}/"):
            say(line)
    elif lan.binding.is_open:
        say("This machine is on no network yet; its addresses are answered as they come.")
    if lan.certificates is not None and lan.certificates.fingerprint is not None:
        say("Devices must trust its certificate authority once: open /ca.crt there, then compare")
        say(f"SHA-256 {lan.certificates.fingerprint}")
    if urls and lan.scheme == "http":
        say(PLAIN_HTTP)


def tell_first_run(lan: Lan, url: str, code: str) -> None:
    """Print how the first account is made, without which nobody else comes in."""
    others = lan.urls()
    if others:
        click.echo("Nobody has an account yet, so other devices are not let in.")
    else:
        click.echo("Nobody has an account yet: whoever sits at this machine is let in.")
    click.echo(f"To make the administrator, open {(others or [url])[0]}/first-run#{code}")
    click.echo(f"The code is {code}; it is good until the server ends.")


def code_of(url: str) -> list[str]:
    """Return the lines of a QR code; none where no person sees them or they do not fit."""
    can_show = sys.stdout.isatty() and "utf" in (sys.stdout.encoding or "").lower()
    if not can_show or qr.width(url) > shutil.get_terminal_size().columns:
        return []
    return qr.lines(url)
