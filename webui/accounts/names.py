"""Names that people sign in by: what one may be, and what tells two apart.

Knows text alone. A name is shown to others, so nothing in it may hide, turn or imitate writing.
"""

from __future__ import annotations

import unicodedata

from webui.errors import InvalidRequest

MAX_NAME_CHARS = 40
MAX_LABEL_CHARS = 60
MARKS = " ._-'@+"
KINDS = frozenset("LNM")  # letters, numbers and the marks upon them
# What the log calls who is no account, as letters and digits alone.
RESERVED = frozenset({"commandline", "firstrun", "you"})


def checked(name: str) -> str:
    """Return a name as it is kept: in the composed form, without spaces at its ends.

    Raises:
        InvalidRequest: It is empty, too long, has characters that no name needs, or stands for
            what is no account.
    """
    name = " ".join(unicodedata.normalize("NFC", name).split())
    if not name:
        raise InvalidRequest("name is empty", "Choose one.", field="name")
    if len(name) > MAX_NAME_CHARS:
        raise InvalidRequest(
            f"name has {len(name)} characters", f"Take at most {MAX_NAME_CHARS}.", field="name"
        )
    odd = [one for one in name if one not in MARKS and unicodedata.category(one)[0] not in KINDS]
    if odd or not any(unicodedata.category(one)[0] in "LN" for one in name):
        shown = f"U+{ord(odd[0]):04X}" if odd else repr(name)
        raise InvalidRequest(
            f"name has characters that a name cannot have ({shown})",
            f"Take letters, digits and any of {' '.join(MARKS.strip())}.",
            field="name",
        )
    if "".join(one for one in key_of(name) if one.isalnum()) in RESERVED:
        raise InvalidRequest(
            f"the name {name} stands for something else here", "Take another one.", field="name"
        )
    return name


def key_of(name: str) -> str:
    """Return what tells names apart: neither case nor the way a letter is composed counts."""
    return " ".join(unicodedata.normalize("NFKC", name).casefold().split())


def is_same(name: str, other: str) -> bool:
    """Whether another program means the same person by a name.

    Case counts for nothing in ASCII. Beyond it letters that fold into each other, such as ß and ss,
    may be two people there.
    """
    return name == other or (name.isascii() and other.isascii() and name.lower() == other.lower())


def label(text: str, empty_hint: str) -> str:
    """Return the name of a thing that its owner alone sees, as it is kept.

    Args:
        text: As it was written.
        empty_hint: What to do where it is empty.

    Raises:
        InvalidRequest: It is empty, too long, or has characters that are not shown.
    """
    text = " ".join(unicodedata.normalize("NFC", text).split())
    if not text:
        raise InvalidRequest("name is empty", empty_hint, field="name")
    if len(text) > MAX_LABEL_CHARS:
        raise InvalidRequest(
            f"name has {len(text)} characters", f"Take at most {MAX_LABEL_CHARS}.", field="name"
        )
    hidden = [one for one in text if not one.isprintable()]
    if hidden:
        raise InvalidRequest(
            f"name has a character that is not shown (U+{ord(hidden[0]):04X})",
            "Take it out.",
            field="name",
        )
    return text
