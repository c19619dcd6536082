"""GGUF headers written by hand, so that anything in them can be wrong."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

UINT32, FLOAT32, BOOL, STRING, ARRAY, UINT64, FLOAT64 = 4, 6, 7, 8, 9, 10, 12
F32, Q4_0 = 0, 2
ALIGNMENT = 32


def text(value: str | bytes) -> bytes:
    data = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(data)) + data


def u32(value: int) -> bytes:
    return struct.pack("<II", UINT32, value)


def f32(value: float) -> bytes:
    return struct.pack("<If", FLOAT32, value)


def f64(value: float) -> bytes:
    return struct.pack("<Id", FLOAT64, value)


def string(value: str) -> bytes:
    return struct.pack("<I", STRING) + text(value)


def strings(*values: str) -> bytes:
    head = struct.pack("<IIQ", ARRAY, STRING, len(values))
    return head + b"".join(text(value) for value in values)


def floats(*values: float) -> bytes:
    return struct.pack(f"<IIQ{len(values)}f", ARRAY, FLOAT32, len(values), *values)


def integers(*values: int) -> bytes:
    return struct.pack(f"<IIQ{len(values)}I", ARRAY, UINT32, len(values), *values)


@dataclass
class Tensor:
    name: str = "token_embd.weight"
    shape: tuple[int, ...] = (32, 4)
    kind: int = F32
    offset: int = 0


@dataclass
class Gguf:
    """A header and the room for its tensors; every part can be set to something wrong."""

    magic: bytes = b"GGUF"
    version: int = 3
    metadata: dict[str, bytes] = field(
        default_factory=lambda: {
            "general.architecture": string("llama"),
            "general.name": string("Test"),
            "general.file_type": u32(15),
            "llama.block_count": u32(2),
            "llama.context_length": u32(2048),
            "llama.embedding_length": u32(32),
            "llama.attention.head_count": u32(4),
            "llama.attention.layer_norm_rms_epsilon": f32(1e-5),
            "tokenizer.ggml.tokens": strings("a", "b", "c"),
            "tokenizer.ggml.scores": floats(0.0, -1.0, -2.0),
            "tokenizer.chat_template": string("{{ messages }}"),
        }
    )
    tensors: list[Tensor] = field(
        default_factory=lambda: [Tensor(), Tensor("output.weight", (32, 4), Q4_0, 512)]
    )
    num_metadata: int | None = None
    num_tensors: int | None = None
    data_bytes: int = 512 + 72

    def with_metadata(self, **changes: bytes | None) -> Gguf:
        """Set or, by None, drop keys; `__` stands for a dot."""
        for key, value in changes.items():
            name = key.replace("__", ".")
            if value is None:
                self.metadata.pop(name)
            else:
                self.metadata[name] = value
        return self

    def encode(self) -> bytes:
        num_tensors = len(self.tensors) if self.num_tensors is None else self.num_tensors
        num_metadata = len(self.metadata) if self.num_metadata is None else self.num_metadata
        out = self.magic + struct.pack("<IQQ", self.version, num_tensors, num_metadata)
        for key, value in self.metadata.items():
            out += text(key) + value
        for tensor in self.tensors:
            out += text(tensor.name) + struct.pack("<I", len(tensor.shape))
            out += struct.pack(f"<{len(tensor.shape)}Q", *tensor.shape)
            out += struct.pack("<IQ", tensor.kind, tensor.offset)
        out += b"\0" * (-len(out) % ALIGNMENT)
        return out + b"\0" * self.data_bytes
