"""Takes numbers, texts and arrays from the front of a GGUF file, never past its end.

Knows lengths and types; knows no keys. What is not asked for is walked over in pieces, so that no
header, however long, takes more memory than a few windows.
"""

from __future__ import annotations

import array
import math
import struct
import sys
from dataclasses import dataclass
from enum import IntEnum
from typing import BinaryIO

from webui.errors import LoadFailed

WINDOW_BYTES = 1 << 20
MAX_STRING_BYTES = 1 << 20
MAX_ARRAY_ITEMS = 4_000_000
MAX_STRINGS = 4_000_000  # of all arrays together: the only part that takes a loop
MAX_HEADER_BYTES = 512 << 20
MAX_KEPT_ITEMS = 1024
MAX_KEPT_BYTES = 1024  # of one text


class ValueType(IntEnum):
    """How a metadata value is written."""

    UINT8 = 0
    INT8 = 1
    UINT16 = 2
    INT16 = 3
    UINT32 = 4
    INT32 = 5
    FLOAT32 = 6
    BOOL = 7
    STRING = 8
    ARRAY = 9
    UINT64 = 10
    INT64 = 11
    FLOAT64 = 12


CODES = {
    ValueType.UINT8: "B",
    ValueType.INT8: "b",
    ValueType.UINT16: "H",
    ValueType.INT16: "h",
    ValueType.UINT32: "I",
    ValueType.INT32: "i",
    ValueType.FLOAT32: "f",
    ValueType.BOOL: "?",
    ValueType.UINT64: "Q",
    ValueType.INT64: "q",
    ValueType.FLOAT64: "d",
}


@dataclass(frozen=True, slots=True)
class SkippedArray:
    """An array that was walked over: its length, and its items if few and whole numbers."""

    count: int
    integers: tuple[int, ...] = ()


Value = int | float | bool | str | SkippedArray


class HeaderReader:
    """A cursor over the front of a file.

    Args:
        file: Open for reading bytes, at its start.
        file_name: For messages.
        size_bytes: Length of the whole file.
    """

    def __init__(self, file: BinaryIO, file_name: str, size_bytes: int) -> None:
        self.file_name = file_name
        self.size_bytes = size_bytes
        self._file = file
        self._window = b""
        self._at = 0  # index in the window
        self._window_start = 0  # of the window in the file
        self._num_strings = 0

    @property
    def position(self) -> int:
        """Bytes taken so far."""
        return self._window_start + self._at

    def damaged(self, what: str) -> LoadFailed:
        """Return the error for something that cannot be."""
        return LoadFailed(
            f"{self.file_name} is damaged or made up: {what}", "Download the file again."
        )

    def peek(self, num: int) -> bytes:
        """Return up to `num` bytes without taking them."""
        self._fill(num)
        return self._window[self._at : self._at + num]

    def incomplete(self) -> LoadFailed:
        """Return the error for a file that ends before its header does."""
        return LoadFailed(
            f"{self.file_name} is incomplete: it ends within its header, "
            f"after {self.size_bytes:,} bytes",
            "Download the file again.",
        )

    def take(self, num: int) -> bytes:
        """Return exactly `num` bytes.

        Raises:
            LoadFailed: The file ends before.
        """
        self._need(num)
        start = self._at
        self._at += num
        return self._window[start : self._at]

    def skip(self, num: int) -> None:
        """Walk over exactly `num` bytes, a window at a time.

        Raises:
            LoadFailed: The file ends before.
        """
        while num:
            step = min(num, WINDOW_BYTES)
            self._need(step)
            self._at += step
            num -= step

    def number(self, code: str) -> int:
        """Return one little-endian whole number of a `struct` code."""
        value: int = struct.unpack("<" + code, self.take(struct.calcsize("<" + code)))[0]
        return value

    def text(self, max_bytes: int) -> str:
        """Return a text; bytes that are not UTF-8 become replacement characters."""
        return self.take(self._text_bytes(max_bytes)).decode("utf-8", "replace")

    def value(self, *, is_kept: bool) -> Value:
        """Return one metadata value.

        Args:
            is_kept: False returns the empty text for a text, and no items of an array. Of a text
                that is kept the first `MAX_KEPT_BYTES` are.
        """
        kind = self._type()
        if kind is ValueType.STRING:
            num = self._text_bytes(MAX_STRING_BYTES)
            kept = self.take(min(num, MAX_KEPT_BYTES)) if is_kept else b""
            self.skip(num - len(kept))
            return kept.decode("utf-8", "replace")
        if kind is ValueType.ARRAY:
            return self._array(is_kept=is_kept)
        code = "<" + CODES[kind]
        value: int | float | bool = struct.unpack(code, self.take(struct.calcsize(code)))[0]
        return value

    def _text_bytes(self, max_bytes: int) -> int:
        num = self.number("Q")
        if num > max_bytes:
            raise self.damaged(f"it has a text of {num:,} bytes; at most {max_bytes:,} are allowed")
        return num

    def _type(self) -> ValueType:
        number = self.number("I")
        try:
            return ValueType(number)
        except ValueError as error:
            raise self.damaged(f"it has a value of the unknown type {number}") from error

    def _array(self, *, is_kept: bool) -> SkippedArray:
        kind, count = self._type(), self.number("Q")
        if count > MAX_ARRAY_ITEMS:
            raise self.damaged(f"it has an array of {count:,} items")
        if kind is ValueType.ARRAY:
            raise self.damaged("it has an array in an array")
        if kind is ValueType.STRING:
            self._skip_strings(count)
            return SkippedArray(count)
        code = CODES[kind]
        if code in "fd":
            self._check_floats(code, count)
            return SkippedArray(count)
        num_bytes = count * struct.calcsize("<" + code)
        if not is_kept or code == "?" or count > MAX_KEPT_ITEMS:
            self.skip(num_bytes)
            return SkippedArray(count)
        return SkippedArray(count, struct.unpack(f"<{count}{code}", self.take(num_bytes)))

    def _check_floats(self, code: str, count: int) -> None:
        left = count * struct.calcsize("<" + code)
        while left:
            floats = array.array(code, self.take(min(left, WINDOW_BYTES)))
            left -= len(floats) * floats.itemsize
            if sys.byteorder == "big":
                floats.byteswap()
            if any(map(math.isnan, floats)):
                raise self.damaged("an array has items that are not a number")

    def _skip_strings(self, count: int) -> None:
        """Walk over texts; 300,000 of them take some 50 ms."""
        self._num_strings += count
        if self._num_strings > MAX_STRINGS:
            raise self.damaged(f"it has {self._num_strings:,} texts in arrays")
        unpack = struct.Struct("<Q").unpack_from
        window, at, end = self._window, self._at, len(self._window)
        for _ in range(count):
            if at + 8 > end:
                self._at = at
                self._need(8)
                window, at, end = self._window, self._at, len(self._window)
            num = unpack(window, at)[0]
            if num > MAX_STRING_BYTES:
                raise self.damaged(f"it has a text of {num:,} bytes in an array")
            at += 8 + num
            if at > end:
                self._at = at - num
                self._need(num)
                window, at, end = self._window, self._at + num, len(self._window)
        self._at = at

    def _need(self, num: int) -> None:
        if len(self._window) - self._at >= num:
            return
        self._fill(num)
        if len(self._window) - self._at < num:
            raise self.incomplete()

    def _fill(self, num: int) -> None:
        """Have at least `num` bytes in the window, if the file has them."""
        missing = num - (len(self._window) - self._at)
        if missing <= 0:
            return
        self._window_start += self._at
        if self._window_start + num > MAX_HEADER_BYTES:
            raise self.damaged(f"its header is longer than {MAX_HEADER_BYTES:,} bytes")
        # Never more than the file has: a claimed length must not reserve memory.
        left = max(0, self.size_bytes - self._window_start)
        rest = self._window[self._at :]
        self._window = rest + self._file.read(min(left, max(missing, WINDOW_BYTES)))
        self._at = 0
