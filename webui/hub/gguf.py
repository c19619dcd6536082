"""Reads the header of a GGUF file with bounds on everything, before any native code sees it.

Knows bytes only: it maps nothing, trusts no count, and keeps no vocabulary. Whatever is wrong
with a file ends in one `LoadFailed` that says what, and what to do.

Source: ggml, docs/gguf.md and src/gguf.cpp.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from webui.errors import LoadFailed
from webui.hub.gguf_format import (
    ENCODERS,
    FILE_TYPES,
    MAGIC,
    PEEK_BYTES,
    POOLINGS,
    TENSOR_TYPES,
    refuse_magic,
)
from webui.hub.gguf_tensors import MAX_NAME_BYTES, MIN_TENSOR_BYTES, read_tensors
from webui.hub.gguf_values import (
    HeaderReader,
    SkippedArray,
    Value,
    ValueType,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from webui.hub.gguf_tensors import Tensor

VERSIONS = (2, 3)
MAX_METADATA = 65_536
MAX_TENSORS = 65_536
MAX_KEY_BYTES = 256
MAX_KEPT_VALUES = 64
MAX_TITLE_CHARS = 200
MAX_LAYERS = 512
MAX_CONTEXT_LENGTH = 2**30
MAX_WIDTH = 2**24
DEFAULT_ALIGNMENT = 32
MIN_METADATA_BYTES = 8 + 1 + 4 + 1  # length, one letter, type, one byte
ALPHA = "adapter.lora.alpha"
FLOAT32 = ValueType.FLOAT32.to_bytes(4, "little")  # llama.cpp ends the process over any other
# What is read of the metadata; the figures stand behind the architecture and a dot.
KEPT_KEYS = frozenset(
    {
        "general.architecture",
        "general.type",
        "general.name",
        "general.file_type",
        "general.alignment",
        "adapter.type",
        "split.no",
        "split.count",
    }
)
KEPT_FIGURES = (
    ".block_count",
    ".context_length",
    ".embedding_length",
    ".attention.head_count",
    ".attention.head_count_kv",
    ".attention.key_length",
    ".attention.value_length",
    ".pooling_type",
)
AGAIN = "Download the file again."
ELSEWHERE_ADAPTER = "Get this adapter as a LoRA in a GGUF file."
ELSEWHERE = "Get this model as a GGUF file from another source."


@dataclass(frozen=True, slots=True)
class GGUFHeader:
    """What the header says of a model.

    Attributes:
        architecture: llama.cpp's name for the kind of network.
        name: As its makers call it; may be empty.
        quantization: Name of the file type, such as Q4_K_M.
        num_parameters: Weights in this file.
        context_length: Tokens it was trained for.
        block_count: Layers.
        size_bytes: Length of the file.
        has_chat_template: Whether it says how a conversation is written.
        split_index: Which part of a model in several files this is, from 0.
        num_splits: How many files there are; 1 for a whole model.
        pooling: How it makes one vector of a text: none, mean, cls, last or rank; empty when it
            does not say.
        is_adapter: Whether it only changes a model (LoRA); such a file has no layers of its own.
        num_heads: Of attention, in the layer with most; 0 without.
        kv_heads: Heads of keys and values, of each layer.
        key_size: Numbers of one head's key.
        value_size: Numbers of one head's value.
    """

    architecture: str
    name: str
    quantization: str
    num_parameters: int
    context_length: int
    block_count: int
    size_bytes: int
    has_chat_template: bool
    split_index: int = 0
    num_splits: int = 1
    pooling: str = ""
    is_adapter: bool = False
    num_heads: int = 0
    kv_heads: tuple[int, ...] = ()
    key_size: int = 0
    value_size: int = 0

    @property
    def is_encoder(self) -> bool:
        """Whether the network reads a whole text at once and writes none."""
        return self.architecture in ENCODERS

    @property
    def is_embedding(self) -> bool:
        """Whether it is made for vectors or ranking, not for chatting."""
        return self.is_encoder or self.pooling not in ("", "none")


def read_header(path: Path, *, adapters: bool = False) -> GGUFHeader:
    """Read and check the header of a file.

    Blocks on the disk for some ten milliseconds.

    Args:
        path: The file.
        adapters: Whether a LoRA adapter is taken too.

    Raises:
        LoadFailed: It is not a GGUF model, or damaged, incomplete or hostile.
    """
    return read_parts(path, adapters=adapters)[0]


def read_parts(path: Path, *, adapters: bool = False) -> tuple[GGUFHeader, tuple[Tensor, ...]]:
    """Read and check the header of a file as `read_header` does; return its tensors too."""
    try:
        size_bytes = path.stat().st_size
        with path.open("rb") as file:
            reader = HeaderReader(file, path.name, size_bytes)
            return _read(reader, adapters=adapters)
    except FileNotFoundError as error:
        raise LoadFailed(f"{path.name} is not there", "Choose another model.") from error
    except OSError as error:
        raise LoadFailed(
            f"{path.name} cannot be read: {error.strerror or error}",
            "Check the file and its permissions.",
        ) from error


def _read(reader: HeaderReader, *, adapters: bool) -> tuple[GGUFHeader, tuple[Tensor, ...]]:
    start = reader.peek(PEEK_BYTES)
    if start[:4] != MAGIC:
        refuse_magic(start, reader.file_name, reader.size_bytes)
    reader.take(4)
    _check_version(reader)
    num_tensors, num_metadata = reader.number("Q"), reader.number("Q")
    _check_count(reader, "tensors", num_tensors, MAX_TENSORS, MIN_TENSOR_BYTES)
    _check_count(reader, "metadata entries", num_metadata, MAX_METADATA, MIN_METADATA_BYTES)
    facts = _Facts(reader.file_name, *_read_metadata(reader, num_metadata))
    facts.check_kind(adapters=adapters)
    alignment = facts.integer("general.alignment", DEFAULT_ALIGNMENT, 1, 2**20)
    if alignment & (alignment - 1):
        raise facts.bad(f"an alignment of {alignment}")
    tensors = read_tensors(reader, num_tensors, alignment)
    return facts.header(reader.size_bytes, tensors), tensors


def _check_version(reader: HeaderReader) -> None:
    version = reader.number("I")
    if version in VERSIONS:
        return
    name = reader.file_name
    if not version & 0xFFFF:
        raise LoadFailed(f"{name} is made for a big-endian machine", ELSEWHERE)
    if version < min(VERSIONS):
        raise LoadFailed(f"{name} is of GGUF version {version}, which is no longer read", ELSEWHERE)
    raise LoadFailed(
        f"{name} is of GGUF version {version}; {max(VERSIONS)} is the newest known here",
        "The file is damaged, or newer than this Hearthside.",
    )


def _check_count(reader: HeaderReader, what: str, count: int, most: int, each_bytes: int) -> None:
    if count > most:
        raise reader.damaged(f"it claims {count:,} {what}; at most {most:,} are allowed")
    if count * each_bytes > reader.size_bytes - reader.position:
        raise reader.incomplete()


def _read_metadata(reader: HeaderReader, count: int) -> tuple[dict[str, Value], set[str]]:
    """Return the values that are read here, few and short, and the names of all."""
    kept: dict[str, Value] = {}
    keys: set[str] = set()
    for _ in range(count):
        key = reader.text(MAX_KEY_BYTES)
        if not key or key in keys:
            raise reader.damaged(f"it has the metadata key {key[:60]!r} twice or empty")
        keys.add(key)
        if key == ALPHA and reader.peek(4) != FLOAT32:
            raise reader.damaged(f"it has no number of 32 bits as {ALPHA}")
        is_kept = key in KEPT_KEYS or key.endswith(KEPT_FIGURES)
        value = reader.value(is_kept=is_kept)
        if isinstance(value, float) and not math.isfinite(value):
            raise reader.damaged(f"{key[:60]!r} is {value}")
        if not is_kept:
            continue
        if len(kept) == MAX_KEPT_VALUES:
            raise reader.damaged(f"it has the figures of more than {MAX_KEPT_VALUES:,} models")
        kept[key] = value
    return kept, keys


class _Facts:
    """The few metadata values that matter here, checked.

    Args:
        file_name: For messages.
        metadata: The values that are kept.
        keys: Of all metadata.
    """

    def __init__(self, file_name: str, metadata: dict[str, Value], keys: set[str]) -> None:
        self._file_name = file_name
        self._metadata = metadata
        self._keys = keys
        self.architecture = self.text("general.architecture")
        self.is_adapter = self.text("general.type") == "adapter"

    def bad(self, what: str) -> LoadFailed:
        """Return the error for a value that cannot be."""
        return LoadFailed(f"{self._file_name} is damaged or made up: it has {what}", AGAIN)

    def check_kind(self, *, adapters: bool) -> None:
        """Refuse what is a GGUF file but no model that can write.

        Source: llama.cpp, tools/gguf-split/gguf-split.cpp: only the first part says what it is.
        """
        if not self.architecture and self.integer("split.no", 0, 0, 65_535):
            return
        kind = self.text("general.type") or "model"
        if not self.architecture or len(self.architecture) > MAX_NAME_BYTES:
            raise self.bad("no architecture, or one with a long name")
        if self.is_adapter and not adapters:
            raise LoadFailed(f"{self._file_name} is an adapter (LoRA), not a whole model")
        if kind in ("mmproj", "projector") or self.architecture == "clip":
            raise LoadFailed(f"{self._file_name} is the vision part of a model, not a whole one")
        if kind == "imatrix" or self.architecture == "imatrix":
            raise LoadFailed(f"{self._file_name} is an importance matrix, not a model")

    def header(self, size_bytes: int, tensors: Sequence[Tensor]) -> GGUFHeader:
        """Check what is left and put it together."""
        type_bytes: dict[int, int] = {}
        for tensor in tensors:
            type_bytes[tensor.kind] = type_bytes.get(tensor.kind, 0) + tensor.num_bytes
        if self.is_adapter:
            self._check_adapter(type_bytes)
        num_splits = self.integer("split.count", 1, 0, 65_535)
        split_index = self.integer("split.no", 0, 0, 65_535)
        architecture = self.architecture
        block_count = context_length = num_heads = key_size = value_size = 0
        kv_heads: tuple[int, ...] = ()
        pooling = ""
        if split_index == 0 and not self.is_adapter:  # other parts hold tensors only
            block_count = self.integer(f"{architecture}.block_count", 0, 1, MAX_LAYERS)
            context_length = self.integer(
                f"{architecture}.context_length", 0, 1, MAX_CONTEXT_LENGTH
            )
            width = self.integer(f"{architecture}.embedding_length", 0, 1, MAX_WIDTH)
            self._check_heads()
            num_heads = max(self._each_layer("head_count", 0, block_count))
            kv_heads = self._each_layer("head_count_kv", num_heads, block_count)
            head_size = width // max(1, num_heads)
            key_size = self._each_layer("key_length", head_size, 1)[0]
            value_size = self._each_layer("value_length", head_size, 1)[0]
            pooling = self._pooling()
        return GGUFHeader(
            architecture=architecture,
            name=self.text("general.name")[:MAX_TITLE_CHARS],
            quantization=self._quantization(type_bytes),
            num_parameters=sum(tensor.num_elements for tensor in tensors),
            context_length=context_length,
            block_count=block_count,
            size_bytes=size_bytes,
            has_chat_template="tokenizer.chat_template" in self._keys,
            split_index=split_index,
            num_splits=max(1, num_splits),
            pooling=pooling,
            is_adapter=self.is_adapter,
            num_heads=num_heads,
            kv_heads=kv_heads,
            key_size=key_size,
            value_size=value_size,
        )

    def text(self, key: str) -> str:
        """Return a text; empty when it is not there."""
        value = self._metadata.get(key, "")
        if not isinstance(value, str):
            raise self.bad(f"no text as {key}")
        return value

    def integer(self, key: str, default: int, least: int, most: int) -> int:
        """Return a whole number, or the default; 0 as default means that it must be there."""
        value = self._metadata.get(key)
        if value is None and (default or least == 0):
            return default
        if isinstance(value, SkippedArray):  # one for each layer
            value = value.integers[0] if value.integers else None
        if isinstance(value, bool) or not isinstance(value, int):
            raise self.bad(f"no whole number as {key[:80]!r}")
        if not least <= value <= most:
            raise self.bad(f"{key[:80]!r} = {value} (allowed: {least} to {most})")
        return value

    def _each_layer(self, figure: str, default: int, num_layers: int) -> tuple[int, ...]:
        """Return a figure of attention for each layer; what is no such number is the default."""
        value = self._metadata.get(f"{self.architecture}.attention.{figure}", default)
        given = value.integers if isinstance(value, SkippedArray) else (value,)
        found = [
            one if isinstance(one, int) and 0 <= one <= MAX_WIDTH else default for one in given
        ]
        return tuple((*found, *([found[-1] if found else default] * num_layers))[:num_layers])

    def _check_adapter(self, type_bytes: dict[int, int]) -> None:
        """Refuse what llama.cpp would not take as an adapter, in part by ending the process."""
        kind = self.text("adapter.type")
        if kind != "lora":
            said = f"of the type {kind[:40]!r}" if kind else "of no type"
            raise LoadFailed(
                f"{self._file_name} is an adapter {said}; only lora is known", ELSEWHERE_ADAPTER
            )
        if not type_bytes:
            raise self.bad("no weights")
        if unknown := sorted(type_bytes.keys() - TENSOR_TYPES.keys()):
            raise self.bad(f"weights of the type {unknown[0]}, which no adapter has")

    def _check_heads(self) -> None:
        # Networks without attention write 0 heads.
        prefix = self.architecture
        if any(key.startswith((f"{prefix}.ssm.", f"{prefix}.wkv")) for key in self._keys):
            return
        key = f"{prefix}.attention.head_count"
        given = self._metadata.get(key)
        if isinstance(given, SkippedArray):
            if not any(given.integers) or min(given.integers) < 0:
                raise self.bad(f"no heads in any layer ({key})")
        elif given is not None:
            self.integer(key, 0, 1, MAX_WIDTH)

    def _pooling(self) -> str:
        key = f"{self.architecture}.pooling_type"
        if key not in self._metadata:
            return ""
        return POOLINGS[self.integer(key, 0, 0, len(POOLINGS) - 1)]

    def _quantization(self, type_bytes: dict[int, int]) -> str:
        file_type = self._metadata.get("general.file_type")
        if isinstance(file_type, int) and file_type in FILE_TYPES:
            return FILE_TYPES[file_type]
        if not type_bytes:
            return "unknown"
        most = max(type_bytes, key=lambda kind: type_bytes[kind])
        return TENSOR_TYPES.get(most, "unknown")
