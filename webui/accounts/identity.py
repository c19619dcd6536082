"""What a request shows to be let in as somebody, and who that is.

Knows tokens and their hashes; no request and no row.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from webui.actor import Actor


class Source(StrEnum):
    """By what somebody came in."""

    LOCAL = "local"  # sits at the machine, before there is an administrator
    SESSION = "session"
    API_KEY = "api_key"


@dataclass(frozen=True, slots=True)
class Sender:
    """From where a request came.

    Attributes:
        address: Of the client; empty where nobody knows it.
        device: Browser and system, in words.
        vouched: Whom a trusted proxy names there; None where none does.
    """

    address: str = ""
    device: str = ""
    vouched: str | None = None


class EndpointGroup(StrEnum):
    """What of the API a key may open; everything else is for people."""

    CHAT = "chat"
    EMBEDDINGS = "embeddings"
    MODELS = "models"
    METRICS = "metrics"
    MANAGE = "manage"
    CONVERSATIONS = "conversations"


@dataclass(frozen=True, slots=True)
class Scope:
    """What a key opens.

    Attributes:
        endpoints: Words for groups of endpoints; None opens all that keys may open.
        models: Ids of models; None means any.
    """

    endpoints: frozenset[str] | None = None
    models: frozenset[str] | None = None

    def has(self, group: EndpointGroup) -> bool:
        """Whether a group of endpoints is open."""
        return self.endpoints is None or group in self.endpoints


@dataclass(slots=True, kw_only=True, eq=False)
class Identity:
    """Somebody who was let in; one object for as long as that lasts.

    Attributes:
        actor: Who it is.
        source: By what.
        id: Of the session or key; opens nothing.
        scope: What a key opens; None for people.
        must_change_password: Nothing else goes before that.
        confirmed_until_s: So long it counts that they showed anew who they are; monotonic seconds.
        ended: Set when it is over, so that answers that last can be cut off.
    """

    actor: Actor
    source: Source
    id: str = ""
    scope: Scope | None = None
    must_change_password: bool = False
    confirmed_until_s: float = 0.0
    ended: asyncio.Event = field(default_factory=asyncio.Event)


def new_token() -> str:
    """Return a fresh secret: 43 characters that are safe in a header, 256 random bits."""
    return secrets.token_urlsafe(32)


def hash_of(token: str) -> str:
    """Return what of a secret is kept; a fast hash will do, since nobody guesses 256 bits."""
    return hashlib.sha256(token.encode()).hexdigest()


# Later ones name the earlier too: Edge says that it is Chrome and Safari.
BROWSERS: Mapping[str, str] = {
    "Edg": "Edge",
    "OPR": "Opera",
    "Firefox": "Firefox",
    "FxiOS": "Firefox",
    "Chrome": "Chrome",
    "CriOS": "Chrome",
    "Safari": "Safari",
}
SYSTEMS: Mapping[str, str] = {
    "iPhone": "iPhone",
    "iPad": "iPad",
    "Android": "Android",
    "Windows": "Windows",
    "Mac OS X": "macOS",
    "CrOS": "ChromeOS",
    "Linux": "Linux",
}
MAX_DEVICE_CHARS = 60


def device_of(user_agent: str) -> str:
    """Return browser and system in words, from what a browser says of itself."""
    browser = next((name for mark, name in BROWSERS.items() if mark in user_agent), "")
    system = next((name for mark, name in SYSTEMS.items() if mark in user_agent), "")
    if browser and system:
        return f"{browser}, {system}"
    plain = "".join(one for one in user_agent if one.isprintable())
    return browser or system or plain[:MAX_DEVICE_CHARS]
