"""Names and sizes of the GGUF format, and how other formats begin.

Source: ggml, include/ggml.h (types), src/ggml-common.h (block sizes); llama.cpp, include/llama.h.
"""

from __future__ import annotations

from typing import NoReturn

from webui.errors import LoadFailed

MAGIC = b"GGUF"
PEEK_BYTES = 9  # enough to tell the formats apart
AS_GGUF = "Get this model as a GGUF file."

# Tensor type: weights in a block, bytes of a block.
BLOCK_SIZES: dict[int, tuple[int, int]] = {
    0: (1, 4),
    1: (1, 2),
    2: (32, 18),
    3: (32, 20),
    6: (32, 22),
    7: (32, 24),
    8: (32, 34),
    9: (32, 40),
    10: (256, 84),
    11: (256, 110),
    12: (256, 144),
    13: (256, 176),
    14: (256, 210),
    15: (256, 292),
    16: (256, 66),
    17: (256, 74),
    18: (256, 98),
    19: (256, 50),
    20: (32, 18),
    21: (256, 110),
    22: (256, 82),
    23: (256, 136),
    24: (1, 1),
    25: (1, 2),
    26: (1, 4),
    27: (1, 8),
    28: (1, 8),
    29: (256, 56),
    30: (1, 2),
    34: (256, 54),
    35: (256, 66),
    39: (32, 17),
    40: (64, 36),
    41: (128, 18),
    42: (64, 18),
}
TENSOR_TYPES: dict[int, str] = {
    0: "F32",
    1: "F16",
    2: "Q4_0",
    3: "Q4_1",
    6: "Q5_0",
    7: "Q5_1",
    8: "Q8_0",
    10: "Q2_K",
    11: "Q3_K",
    12: "Q4_K",
    13: "Q5_K",
    14: "Q6_K",
    16: "IQ2_XXS",
    17: "IQ2_XS",
    18: "IQ3_XXS",
    19: "IQ1_S",
    20: "IQ4_NL",
    21: "IQ3_S",
    22: "IQ2_S",
    23: "IQ4_XS",
    29: "IQ1_M",
    30: "BF16",
    34: "TQ1_0",
    35: "TQ2_0",
    39: "MXFP4",
    40: "NVFP4",
    41: "Q1_0",
    42: "Q2_0",
}
# Networks that read a text in both directions and write none.
# Source: llama.cpp, src/llama-model.cpp, create_memory, and src/llama-arch.cpp.
ENCODERS = frozenset(
    {
        "bert",
        "eurobert",
        "gemma-embedding",
        "jina-bert-v2",
        "jina-bert-v3",
        "llama-embed",
        "modern-bert",
        "neo-bert",
        "nomic-bert",
        "nomic-bert-moe",
        "t5encoder",
    }
)
POOLINGS = ("none", "mean", "cls", "last", "rank")  # in the order of llama.cpp's numbers
REMOVED_TENSOR_TYPES: dict[int, str] = {
    4: "Q4_2",
    5: "Q4_3",
    31: "Q4_0_4_4",
    32: "Q4_0_4_8",
    33: "Q4_0_8_8",
    36: "IQ4_NL_4_4",
    37: "IQ4_NL_4_8",
    38: "IQ4_NL_8_8",
}
FILE_TYPES: dict[int, str] = {
    0: "F32",
    1: "F16",
    2: "Q4_0",
    3: "Q4_1",
    7: "Q8_0",
    8: "Q5_0",
    9: "Q5_1",
    10: "Q2_K",
    11: "Q3_K_S",
    12: "Q3_K_M",
    13: "Q3_K_L",
    14: "Q4_K_S",
    15: "Q4_K_M",
    16: "Q5_K_S",
    17: "Q5_K_M",
    18: "Q6_K",
    19: "IQ2_XXS",
    20: "IQ2_XS",
    21: "Q2_K_S",
    22: "IQ3_XS",
    23: "IQ3_XXS",
    24: "IQ1_S",
    25: "IQ4_NL",
    26: "IQ3_S",
    27: "IQ3_M",
    28: "IQ2_S",
    29: "IQ2_M",
    30: "IQ4_XS",
    31: "IQ1_M",
    32: "BF16",
    36: "TQ1_0",
    37: "TQ2_0",
    38: "MXFP4",
    39: "NVFP4",
    40: "Q1_0",
    41: "Q2_0",
}
# The first formats of llama.cpp, until August 2023. The magic is a little-endian number.
DEAD_FORMATS = {b"lmgg": "GGML", b"fmgg": "GGMF", b"tjgg": "GGJT", b"algg": "GGLA"}


def refuse_magic(start: bytes, file_name: str, size_bytes: int) -> NoReturn:
    """Say what a file is that does not begin like a GGUF.

    Args:
        start: Its first `PEEK_BYTES` bytes, or fewer.
        file_name: For the message.
        size_bytes: Length of the file.

    Raises:
        LoadFailed: Always.
    """
    magic = start[:4]
    if not size_bytes:
        raise LoadFailed(f"{file_name} is empty", "Download the file again.")
    if magic in DEAD_FORMATS:
        raise LoadFailed(
            f"{file_name} is in the dead format {DEAD_FORMATS[magic]} that llama.cpp used "
            "before August 2023",
            f"{AS_GGUF} Nearly every old model is there in the new format.",
        )
    if magic == b"FUGG":
        raise LoadFailed(f"{file_name} is made for a big-endian machine", AS_GGUF)
    if magic in (b"PK\x03\x04", b"PK\x05\x06"):
        raise LoadFailed(
            f"{file_name} is a zip archive, as PyTorch files are, not a GGUF",
            f"{AS_GGUF} Files with code in them are never opened here.",
        )
    if magic[:1] == b"\x80" and magic[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        raise LoadFailed(
            f"{file_name} is a Python pickle, not a GGUF",
            f"{AS_GGUF} A pickle can run any code and is never opened here.",
        )
    if start.startswith(b"version "):
        raise LoadFailed(
            f"{file_name} is a Git LFS pointer, not the model itself",
            "Download the file itself, or run “git lfs pull” where it came from.",
        )
    if start[8:] == b"{" and int.from_bytes(start[:8], "little") + 8 <= size_bytes:
        raise LoadFailed(f"{file_name} is a safetensors file, not a GGUF", AS_GGUF)
    raise LoadFailed(
        f"{file_name} is not a GGUF file", f"{AS_GGUF} Or the download went wrong: try it again."
    )
