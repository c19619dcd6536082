"""A tiny llama-architecture GGUF, written on the spot: two layers, every byte a token.

Two kinds. Without `says` the weights are random: the text is noise, but it depends on every
earlier token and its position, which is what tests of batching need. With `says` the layers add
nothing and each token leads to exactly one next one: after the newline that opens a reply the
model says the given pieces in order, then `<|im_end|>`.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from gguf import GGMLQuantizationType, GGUFWriter, RopeScalingType, TokenType, quants

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

IM_START = "<|im_start|>"
IM_END = "<|im_end|>"
CONTROL_TOKENS = ("<|endoftext|>", IM_START, IM_END)
CHATML = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
NUM_LAYERS = 2
NUM_HEADS = 4
NUM_KV_HEADS = 2
EMBEDDING = 64
FEED_FORWARD = 96
ROPE_FACTORS = EMBEDDING // NUM_HEADS // 2
LORA_RANK = 2
NOISE_TOKENS = 256 + len(CONTROL_TOKENS) + 2


def byte_to_char() -> dict[int, str]:
    """Return the printable stand-in of each byte in a byte-level BPE vocabulary.

    Source: gpt-2, encoder.py, bytes_to_unicode.
    """
    kept = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    moved = [byte for byte in range(256) if byte not in kept]
    return {byte: chr(byte) for byte in kept} | {byte: chr(256 + i) for i, byte in enumerate(moved)}


def write_tiny_gguf(  # noqa: PLR0913 - each is a thing in which models differ
    path: Path,
    *,
    says: Sequence[bytes] = (),
    ends: bool = True,
    seed: int = 0,
    context_length: int = 2048,
    chat_template: str | None = CHATML,
    metadata: Mapping[str, int | float] | None = None,
    broken_token: int | None = None,
    is_quantized: bool = False,
    num_words: int = 0,
    add_bos: bool = False,
    is_tied: bool = False,
    has_long_rope: bool = False,
) -> Path:
    """Write the file and return its path.

    Args:
        path: Where to write it.
        says: Pieces of the reply, each one token; all different, no newline. Empty for noise.
        ends: False says the pieces over and over again.
        seed: Of the random weights.
        context_length: As named in the header.
        chat_template: Template text; None leaves it out.
        metadata: Keys to write differently: an int as uint32, a float as float32, a bool as that.
        is_quantized: Q4_1 in place of float32: logits are then bit-equal in batches of any size.
        add_bos: Whether texts begin with the token for that.
        num_words: Tokens more, words of six to nine letters, to make the vocabulary large.
        is_tied: No output of its own: words are written with the weights that read them.
        has_long_rope: Positions are turned by other factors in long slots than in short ones.
        broken_token: Whoever reads this one computes with NaN from there on.
    """
    writer = GGUFWriter(str(path), "llama")
    given = metadata or {}
    numbers: dict[str, int | float] = {
        "general.file_type": 0,
        "llama.block_count": NUM_LAYERS,
        "llama.context_length": context_length,
        "llama.embedding_length": EMBEDDING,
        "llama.feed_forward_length": FEED_FORWARD,
        "llama.attention.head_count": NUM_HEADS,
        "llama.attention.head_count_kv": NUM_KV_HEADS,
        "llama.attention.layer_norm_rms_epsilon": 1e-5,
        "llama.rope.freq_base": 10000.0,
        **given,
    }
    for key, value in numbers.items():
        _add(writer, key, value)
    writer.add_name("Tiny")
    tokens = add_vocabulary(writer, says, num_words)
    writer.add_add_bos_token(add_bos)
    if chat_template is not None:
        writer.add_chat_template(chat_template)
    tensors = _random_weights(len(tokens), seed)
    tensors |= _rope_factors(writer) if has_long_rope else {}
    if says:
        _teach(tensors, tokens, _spelled(says), ends=ends)
    if is_tied:
        del tensors["output.weight"]
    if broken_token is not None:
        tensors["token_embd.weight"][broken_token] = np.nan
    for name, data in tensors.items():
        if is_quantized and data.ndim > 1:
            kind = GGMLQuantizationType.Q4_1
            writer.add_tensor(name, quants.quantize(data, kind), raw_dtype=kind)
        else:
            writer.add_tensor(name, data)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _add(writer: GGUFWriter, key: str, value: float) -> None:
    if isinstance(value, bool):
        writer.add_bool(key, value)
    elif isinstance(value, float):
        writer.add_float32(key, value)
    else:
        writer.add_uint32(key, value)


def write_tiny_lora(  # noqa: PLR0913 - each is a thing in which adapters differ
    path: Path,
    *,
    seed: int = 7,
    tensor: str = "output.weight",
    shape: tuple[int, int] = (NOISE_TOKENS, EMBEDDING),
    architecture: str = "llama",
    alpha: float = 2.0,
    kind: str = "lora",
    alpha_bits: int = 32,
    weights: Mapping[str, np.ndarray] | None = None,
) -> Path:
    """Write a LoRA adapter of rank 2 for one tensor of the tiny model and return its path.

    Args:
        path: Where to write it.
        seed: Of its random weights.
        tensor: Which one it changes; empty writes an adapter without weights.
        shape: (rows, columns) of that tensor.
        architecture: For which kind of model it says to be.
        alpha: Its own factor; the change is `alpha / rank` times the product.
        kind: As named in `adapter.type`.
        alpha_bits: 32 or 64.
        weights: In place of random ones, by whole names.
    """
    writer = GGUFWriter(str(path), architecture)
    writer.add_type("adapter")
    writer.add_string("adapter.type", kind)
    add_alpha = writer.add_float32 if alpha_bits == 32 else writer.add_float64
    add_alpha("adapter.lora.alpha", alpha)
    if weights is None:
        weights = lora_pair(tensor, shape, seed=seed) if tensor else {}
    for name, data in weights.items():
        writer.add_tensor(name, data)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def lora_pair(
    tensor: str, shape: tuple[int, int], *, rank: int = LORA_RANK, seed: int = 7
) -> dict[str, np.ndarray]:
    """Return random weights of an adapter for one tensor of so many rows and columns."""
    random = np.random.default_rng(seed)
    rows, columns = shape
    return {
        f"{tensor}.lora_a": random.standard_normal((rank, columns)).astype(np.float32),
        f"{tensor}.lora_b": random.standard_normal((rows, rank)).astype(np.float32),
    }


def add_vocabulary(writer: GGUFWriter, says: Sequence[bytes] = (), num_words: int = 0) -> list[str]:
    """Write the vocabulary into the metadata; return its tokens."""
    chars = byte_to_char()
    pieces = _spelled(says)
    tokens = [*(chars[byte] for byte in range(256)), *CONTROL_TOKENS, "he", "ll"]
    tokens += [piece for piece in pieces if len(piece) > 1]
    tokens += [_word(number) for number in range(num_words)]
    assert len(set(pieces)) == len(pieces), "a piece is there twice"
    assert len(set(tokens)) == len(tokens), "a piece is a token already"
    control = range(256, 256 + len(CONTROL_TOKENS))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types(
        [TokenType.CONTROL if i in control else TokenType.NORMAL for i in range(len(tokens))]
    )
    writer.add_token_merges(["h e", "l l"])
    writer.add_bos_token_id(tokens.index(CONTROL_TOKENS[0]))
    writer.add_eos_token_id(tokens.index(IM_END))
    return tokens


def _word(number: int) -> str:
    return (
        "".join(chr(ord("a") + int(digit)) for digit in f"{number:06}"[::-1]) + "xyz"[: number % 4]
    )


def _spelled(says: Sequence[bytes]) -> list[str]:
    chars = byte_to_char()
    return ["".join(chars[byte] for byte in piece) for piece in says]


def _random_weights(vocab_size: int, seed: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)

    def matrix(rows: int, columns: int, scale: float) -> np.ndarray:
        return (random.standard_normal((rows, columns)) * scale).astype(np.float32)

    ones = np.ones(EMBEDDING, dtype=np.float32)
    kv_size = EMBEDDING // NUM_HEADS * NUM_KV_HEADS
    scale = EMBEDDING**-0.5
    tensors = {"token_embd.weight": matrix(vocab_size, EMBEDDING, 1.0)}
    for i in range(NUM_LAYERS):
        tensors |= {
            f"blk.{i}.attn_norm.weight": ones,
            f"blk.{i}.attn_q.weight": matrix(EMBEDDING, EMBEDDING, 2 * scale),
            f"blk.{i}.attn_k.weight": matrix(kv_size, EMBEDDING, 2 * scale),
            f"blk.{i}.attn_v.weight": matrix(kv_size, EMBEDDING, 2 * scale),
            f"blk.{i}.attn_output.weight": matrix(EMBEDDING, EMBEDDING, 2 * scale),
            f"blk.{i}.ffn_norm.weight": ones,
            f"blk.{i}.ffn_gate.weight": matrix(FEED_FORWARD, EMBEDDING, 2 * scale),
            f"blk.{i}.ffn_up.weight": matrix(FEED_FORWARD, EMBEDDING, 2 * scale),
            f"blk.{i}.ffn_down.weight": matrix(EMBEDDING, FEED_FORWARD, 2 * scale),
        }
    tensors["output_norm.weight"] = ones
    tensors["output.weight"] = matrix(vocab_size, EMBEDDING, 3 * scale)
    return tensors


def _rope_factors(writer: GGUFWriter) -> dict[str, np.ndarray]:
    """Say that there are two sets of factors; return them."""
    writer.add_rope_scaling_type(RopeScalingType.LONGROPE)
    return {
        "rope_factors_short.weight": np.ones(ROPE_FACTORS, np.float32),
        "rope_factors_long.weight": np.linspace(1, 4, ROPE_FACTORS, dtype=np.float32),
    }


def _teach(
    tensors: dict[str, np.ndarray], tokens: list[str], pieces: list[str], *, ends: bool
) -> None:
    """Silence the layers and make each token point at the next one."""
    for name, data in tensors.items():
        if "attn_output" in name or "ffn_down" in name:
            data[:] = 0
    embedding, output = tensors["token_embd.weight"], tensors["output.weight"]
    embedding /= np.linalg.norm(embedding, axis=1, keepdims=True) / np.sqrt(EMBEDDING)
    output[:] = 0
    chain = [tokens.index(token) for token in (byte_to_char()[0x0A], *pieces)]
    chain.append(tokens.index(IM_END) if ends else chain[1])
    for token, following in pairwise(chain):
        output[following] += embedding[token]
