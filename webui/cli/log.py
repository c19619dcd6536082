"""Structured logs: one line of key=value for each record, on standard error.

Prompts and keys are logged nowhere; what comes from outside cannot start a line of its own.
"""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime

from typing_extensions import override

FIELDS = ("request_id", "generation_id", "model_id")
NOISY = ("uvicorn", "httpx", "httpcore", "asyncio", "PIL", "matplotlib", "alembic", "multipart")
# Uvicorn says these as errors; the command says the first better, and the second is our design.
EXPECTED = ("Application startup failed", "Cancel %s running task")


class KeyValue(logging.Formatter):
    """Lay a record out as `time=… level=… logger=… msg="…"`."""

    @override
    def format(self, record: logging.LogRecord) -> str:
        """Return the line; a traceback follows inside it, escaped."""
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        pairs = {
            "time": time.replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "msg": record.getMessage(),
        }
        pairs |= {name: str(getattr(record, name)) for name in FIELDS if hasattr(record, name)}
        if record.exc_info:
            pairs["traceback"] = self.formatException(record.exc_info)
        return " ".join(f"{key}={quoted(value)}" for key, value in pairs.items())


def quoted(value: str) -> str:
    """Return a value that holds on one line: bare when simple, else as a JSON string."""
    is_simple = value.isascii() and value.isprintable() and value and not set(value) & set(' "=\\')
    return value if is_simple else json.dumps(value)


def configure(level: str) -> None:
    """Send the records of this process to standard error.

    Args:
        level: Least important level shown, of ours; libraries speak from warnings on.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(KeyValue())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in NOISY:
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("uvicorn.error").addFilter(_is_unexpected)
    logging.captureWarnings(capture=True)


def _is_unexpected(record: logging.LogRecord) -> bool:
    return not str(record.msg).startswith(EXPECTED)
