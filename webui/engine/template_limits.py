"""How much a chat template may make, and the checks before it makes it.

Knows sizes of values; knows neither Jinja's environment nor tokens. A check runs before the
operation it guards, because one step can otherwise turn a few characters into terabytes.
"""

from __future__ import annotations

import re
import time

from jinja2 import TemplateError, Undefined

MAX_TEXT_CHARS = 4_000_000
MAX_WORK = 16 * MAX_TEXT_CHARS  # characters made and written, captured ones too, and loop turns
MAX_ITEMS = 1_000_000
MAX_RANGE = 100_000
MAX_INTEGER_BITS = 256
MAX_SECONDS = 2.0
MAX_DIGITS = 30
NESTED_CHARS = 4  # brackets, quotes or a comma around each value in a nested one
_SIZED = (str, list, tuple)
_PERCENT_FORMAT = re.compile(r"(?:[^%]|%[-+ 0#]?\d{0,3}(?:\.\d{0,3})?[sdifxr%])*", re.DOTALL)


_WIDTH = re.compile(r"%[-+ 0#]?(\d{1,3})")


class TemplateLimit(TemplateError):  # noqa: N818 - named as the errors of the house are
    """A limit was reached; turned into an `InvalidRequest` at the rim."""


class Meter:
    """What one rendering has used up."""

    def __init__(self) -> None:
        self._work = 0
        self._deadline = 0.0

    def start(self) -> None:
        """Begin a rendering."""
        self._work = 0
        self._deadline = time.monotonic() + MAX_SECONDS

    def spend(self, work: int) -> None:
        """Count some work.

        Raises:
            TemplateLimit: It was too much, or the time is up.
        """
        self._work += work
        if self._work > MAX_WORK:
            raise TemplateLimit("it writes too much")
        if time.monotonic() > self._deadline:
            raise TemplateLimit(f"it takes longer than {MAX_SECONDS:g} s")


def text_of(value: object) -> str:
    """Return how a value is written out; never calls code that a template made."""
    if isinstance(value, str):
        return value
    if value is None or isinstance(value, bool | int | float | Undefined):
        return str(value)
    if isinstance(value, list | tuple | dict):
        weigh(value)
        return str(value)
    return f"<{type(value).__name__}>"


def weigh(value: object) -> None:
    """Refuse a nested value whose text would be too long, without writing it."""
    weight, waiting = 0, [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            waiting += [*item.keys(), *item.values()]
        elif isinstance(item, list | tuple):
            waiting += item
        elif not isinstance(item, str | bool | int | float | Undefined | None):
            raise TemplateLimit(f"it writes out a {type(item).__name__}")
        weight += NESTED_CHARS + (len(item) if isinstance(item, str) else 0)
        check_size(weight + len(waiting))


def checked(result: object) -> object:
    """Return a value that is not too large to go on with, else refuse it."""
    if isinstance(result, str):
        check_size(len(result))
    elif isinstance(result, list | tuple | dict) and len(result) > MAX_ITEMS:
        raise TemplateLimit(f"it makes a list of {len(result)} items")
    return result


def check_size(num_chars: int) -> None:
    """Refuse a text of this length."""
    if num_chars > MAX_TEXT_CHARS:
        raise TemplateLimit(f"it makes a text of more than {MAX_TEXT_CHARS} characters")


def check_text_call(name: str, text: str, args: tuple[object, ...]) -> None:
    """Refuse the text methods and filters whose result could be huge."""
    if name == "replace" and len(args) >= 2:
        old, new = text_of(args[0]), text_of(args[1])
        found = text.count(old) if old else len(text) + 1
        check_size(len(text) + found * len(new))
    elif name in ("indent", "tojson"):
        widths = [len(arg) if isinstance(arg, str) else arg for arg in args]
        widest = max([1, *(width for width in widths if isinstance(width, int))])
        check_size(max(1, len(text)) * widest)


def check_precision(args: tuple[object, ...]) -> None:
    """Refuse to round to so many digits that the power of ten alone takes long."""
    if any(isinstance(arg, int) and abs(arg) > MAX_DIGITS for arg in args):
        raise TemplateLimit(f"it rounds to more than {MAX_DIGITS} digits")


def check_operands(operator: str, left: object, right: object) -> None:
    """Refuse `left operator right` where the result could be huge."""
    if operator == "%" and isinstance(left, str):
        weigh(right)
        if not _PERCENT_FORMAT.fullmatch(left):
            raise TemplateLimit("it formats text in a way that is not supported here")
        check_size(len(left) + sum(int(width) for width in _WIDTH.findall(left)))
    elif operator == "+" and isinstance(left, _SIZED) and isinstance(right, _SIZED):
        _check_length(left, len(left) + len(right))
    elif operator == "*" and isinstance(left, _SIZED) and isinstance(right, int):
        _check_length(left, len(left) * right)
    elif operator == "*" and isinstance(left, int) and isinstance(right, _SIZED):
        _check_length(right, left * len(right))
    elif isinstance(left, int) and isinstance(right, int):
        bits = left.bit_length(), right.bit_length()
        needed = bits[0] * abs(right) if operator == "**" else sum(bits)
        if needed > MAX_INTEGER_BITS:
            raise TemplateLimit("it makes a number that is too large")


def bounded_range(*args: int) -> range:
    """Return a range that is not too long to walk through."""
    found = range(*args)
    if len(found) > MAX_RANGE:
        raise TemplateLimit(f"it counts to {len(found)}")
    return found


def _check_length(value: object, size: int) -> None:
    if size > (MAX_TEXT_CHARS if isinstance(value, str) else MAX_ITEMS):
        raise TemplateLimit(f"it makes something of {size} parts")
