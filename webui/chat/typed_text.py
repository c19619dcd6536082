"""What people type, before it is kept: bounded, whole characters, no control characters.

A value file: it judges and cleans; it knows neither conversations nor storage.
"""

from __future__ import annotations

from webui.errors import InvalidRequest
from webui.sampling_params import MAX_SYSTEM_PROMPT_CHARS

MAX_TEXT_BYTES = 1_000_000
MAX_TITLE_CHARS = 200
MAX_AUTOMATIC_TITLE_CHARS = 60
_CONTROL = dict.fromkeys(code for code in range(32) if chr(code) not in "\t\n\r")


def clean_text(text: str) -> str:
    """Return a message's text without control characters; line ends and tabs stay.

    Raises:
        InvalidRequest: It is empty, too large or not valid Unicode.
    """
    cleaned = _valid(text, "text")
    if not cleaned.strip():
        raise InvalidRequest("The message is empty", "Write something first.", field="text")
    size_bytes = len(cleaned.encode())
    if size_bytes > MAX_TEXT_BYTES:
        raise InvalidRequest(
            f"The message has {size_bytes:,} bytes; at most {MAX_TEXT_BYTES:,} fit",
            "Shorten it or send it in parts.",
            field="text",
        )
    return cleaned


def clean_title(title: str) -> str:
    """Return a title on one line.

    Raises:
        InvalidRequest: It is empty, too long or not valid Unicode.
    """
    cleaned = " ".join(_valid(title, "title").split())
    if not cleaned:
        raise InvalidRequest("The title is empty", "Write at least one letter.", field="title")
    if len(cleaned) > MAX_TITLE_CHARS:
        raise InvalidRequest(
            f"The title has {len(cleaned)} characters; at most {MAX_TITLE_CHARS} fit",
            "Shorten it.",
            field="title",
        )
    return cleaned


def clean_server_prompt(text: str) -> str:
    """Return the text without control characters and the spaces around it; it may be empty.

    Raises:
        InvalidRequest: It is too long or not valid Unicode.
    """
    cleaned = _valid(text, "server_prompt").strip()
    if len(cleaned) > MAX_SYSTEM_PROMPT_CHARS:
        raise InvalidRequest(
            f"The server prompt has {len(cleaned):,} characters; at most "
            f"{MAX_SYSTEM_PROMPT_CHARS:,} fit",
            "Shorten it.",
            field="server_prompt",
        )
    return cleaned


def title_from(text: str) -> str:
    """Return the first words of a message as a title."""
    line = " ".join(text[: MAX_AUTOMATIC_TITLE_CHARS * 20].split())
    if len(line) <= MAX_AUTOMATIC_TITLE_CHARS:
        return line
    cut = line[:MAX_AUTOMATIC_TITLE_CHARS]
    border = cut.rfind(" ")
    # Languages without spaces, and long links, have no border to speak of.
    end = border if border >= MAX_AUTOMATIC_TITLE_CHARS // 3 else MAX_AUTOMATIC_TITLE_CHARS - 1
    return f"{cut[:end]}…"


def _valid(text: str, field: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InvalidRequest(
            f"Character {error.start + 1} is half of a surrogate pair",
            "Send valid Unicode.",
            field=field,
        ) from error
    return text.translate(_CONTROL)
