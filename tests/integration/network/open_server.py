"""`webui serve` as it is where strangers must sign in: listening is not refused."""

from __future__ import annotations

from webui.cli import main, server

server.may_listen = lambda settings: True

if __name__ == "__main__":
    main()
