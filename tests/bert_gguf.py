"""A BERT model as a GGUF file, and the same network in numpy to compare with.

Writes what llama.cpp's `convert_hf_to_gguf.py` (class `BertModel`) writes: WordPiece vocabulary,
kind of pooling, weights in F16 and the small ones in F32. `random_bert` makes a tiny one on the
spot; `read_bert` takes a real one out of a folder with safetensors.
"""

from __future__ import annotations

import json
import unicodedata
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from gguf import GGUFWriter, PoolingType, TokenType

if TYPE_CHECKING:
    from pathlib import Path

PAD, UNKNOWN, CLS, SEP, MASK = "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"
SPECIAL = (PAD, UNKNOWN, CLS, SEP, MASK)
SPACE = "\u2581"  # llama.cpp marks the begin of a word, BERT its continuation
MAX_WORD_CHARS = 100
EPSILON = 1e-12
NAMES = {
    "embeddings.word_embeddings": "token_embd",
    "embeddings.position_embeddings": "position_embd",
    "embeddings.token_type_embeddings": "token_types",
    "embeddings.LayerNorm": "token_embd_norm",
    "attention.self.query": "attn_q",
    "attention.self.key": "attn_k",
    "attention.self.value": "attn_v",
    "attention.output.dense": "attn_output",
    "attention.output.LayerNorm": "attn_output_norm",
    "intermediate.dense": "ffn_up",
    "output.dense": "ffn_down",
    "output.LayerNorm": "layer_output_norm",
    "pooler.dense": "cls",
    "classifier": "cls.output",
}


@dataclass(frozen=True)
class Bert:
    """Weights under the names that transformers gives them, and a vocabulary.

    Attributes:
        weights: F32, matrices as (outputs, inputs).
        vocab: Tokens by id, continuations marked with `##`.
        num_heads: Of each layer.
    """

    weights: dict[str, np.ndarray]
    vocab: list[str]
    num_heads: int
    ids: dict[str, int] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "ids", {token: i for i, token in enumerate(self.vocab)})

    @property
    def num_layers(self) -> int:
        return 1 + max(int(name.split(".")[2]) for name in self.weights if "layer." in name)

    def tokenize(self, text: str) -> list[int]:
        """Return the ids of an uncased text, without those around it.

        Source: transformers, models/bert/tokenization_bert.py.
        """
        return [token for word in _words(text) for token in self._pieces(word)]

    def _pieces(self, word: str) -> list[int]:
        found: list[int] = []
        start = 0
        while start < len(word):
            mark = "##" if start else ""
            ends = range(len(word), start, -1)
            end = next((end for end in ends if mark + word[start:end] in self.ids), None)
            if end is None or len(word) > MAX_WORD_CHARS:
                return [self.ids[UNKNOWN]]
            found.append(self.ids[mark + word[start:end]])
            start = end
        return found

    def embed(self, text: str, pooling: str = "mean") -> np.ndarray:
        """Return the vector of a text, not normalised; shape (width,), or (tokens, width)."""
        hidden = self.forward([self.ids[CLS], *self.tokenize(text), self.ids[SEP]])
        pools = {"none": hidden, "mean": hidden.mean(axis=0), "cls": hidden[0], "last": hidden[-1]}
        return pools[pooling]

    def rank(self, query: str, document: str) -> float:
        """Return the score of a document by the head of a cross-encoder.

        The segment ids stay 0, as in llama.cpp.
        """
        sep = self.ids[SEP]
        pair = [self.ids[CLS], *self.tokenize(query), sep, *self.tokenize(document), sep]
        pooled = np.tanh(self._dense("pooler.dense", self.forward(pair)[0]))
        return float(self._dense("classifier", pooled)[0])

    def forward(self, tokens: list[int]) -> np.ndarray:
        """Return the last hidden state, shape (tokens, width).

        Source: transformers, models/bert/modeling_bert.py.
        """
        weights = self.weights
        hidden = weights["embeddings.word_embeddings.weight"][tokens]
        hidden = hidden + weights["embeddings.position_embeddings.weight"][: len(tokens)]
        hidden = hidden + weights["embeddings.token_type_embeddings.weight"][0]
        hidden = self._norm("embeddings.LayerNorm", hidden)
        for i in range(self.num_layers):
            prefix = f"encoder.layer.{i}"
            mixed = self._dense(f"{prefix}.attention.output.dense", self._attend(prefix, hidden))
            hidden = self._norm(f"{prefix}.attention.output.LayerNorm", hidden + mixed)
            inner = _gelu(self._dense(f"{prefix}.intermediate.dense", hidden))
            outer = self._dense(f"{prefix}.output.dense", inner)
            hidden = self._norm(f"{prefix}.output.LayerNorm", hidden + outer)
        return hidden

    def _attend(self, prefix: str, hidden: np.ndarray) -> np.ndarray:
        def heads(name: str) -> np.ndarray:
            flat = self._dense(f"{prefix}.attention.self.{name}", hidden)
            return flat.reshape(len(hidden), self.num_heads, -1).swapaxes(0, 1)

        queries, keys, values = heads("query"), heads("key"), heads("value")
        scores = queries @ keys.swapaxes(1, 2) / np.sqrt(queries.shape[-1])
        scores = np.exp(scores - scores.max(axis=-1, keepdims=True))
        mixed = scores / scores.sum(axis=-1, keepdims=True) @ values
        return mixed.swapaxes(0, 1).reshape(hidden.shape)

    def _dense(self, name: str, given: np.ndarray) -> np.ndarray:
        return given @ self.weights[f"{name}.weight"].T + self.weights[f"{name}.bias"]

    def _norm(self, name: str, given: np.ndarray) -> np.ndarray:
        centred = given - given.mean(axis=-1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + EPSILON)
        return scaled * self.weights[f"{name}.weight"] + self.weights[f"{name}.bias"]


def read_bert(folder: Path) -> Bert:
    """Read a model as transformers saves it: `model.safetensors`, `config.json`, `vocab.txt`."""
    data = (folder / "model.safetensors").read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    weights = {}
    for name, about in json.loads(data[8:start]).items():
        if name != "__metadata__" and about["dtype"] == "F32":
            first, end = about["data_offsets"]
            flat = np.frombuffer(data[start + first : start + end], dtype=np.float32)
            weights[name] = flat.reshape(about["shape"])
    config = json.loads((folder / "config.json").read_text("utf-8"))
    vocab = (folder / "vocab.txt").read_text("utf-8").split("\n")
    return Bert(weights, [token for token in vocab if token], config["num_attention_heads"])


def random_bert(
    *, seed: int = 0, width: int = 64, num_layers: int = 2, max_tokens: int = 64
) -> Bert:
    """Make a small one: every printable ASCII letter is a token, and the head of a cross-encoder."""
    letters = [chr(code) for code in range(0x21, 0x7F) if not chr(code).isupper()]
    vocab = [*SPECIAL, *letters, *(f"##{letter}" for letter in letters)]
    random = np.random.default_rng(seed)
    weights: dict[str, np.ndarray] = {}

    def table(name: str, rows: int, columns: int, scale: float = 1.0) -> None:
        values = random.standard_normal((rows, columns)) * scale
        weights[f"{name}.weight"] = values.astype(np.float16).astype(np.float32)

    def dense(name: str, rows: int, columns: int) -> None:
        table(name, rows, columns, columns**-0.5)
        weights[f"{name}.bias"] = random.standard_normal(rows).astype(np.float32) * 0.1

    def norm(name: str) -> None:
        weights[f"{name}.weight"] = np.ones(width, np.float32)
        weights[f"{name}.bias"] = np.zeros(width, np.float32)

    table("embeddings.word_embeddings", len(vocab), width)
    table("embeddings.position_embeddings", max_tokens, width)
    table("embeddings.token_type_embeddings", 2, width)
    norm("embeddings.LayerNorm")
    for i in range(num_layers):
        prefix = f"encoder.layer.{i}"
        for name in ("self.query", "self.key", "self.value", "output.dense"):
            dense(f"{prefix}.attention.{name}", width, width)
        norm(f"{prefix}.attention.output.LayerNorm")
        dense(f"{prefix}.intermediate.dense", 2 * width, width)
        dense(f"{prefix}.output.dense", width, 2 * width)
        norm(f"{prefix}.output.LayerNorm")
    dense("pooler.dense", width, width)
    dense("classifier", 1, width)
    return Bert(weights, vocab, num_heads=4)


def write_bert_gguf(path: Path, bert: Bert, *, pooling: str = "mean") -> Path:
    """Write the file and return its path.

    Args:
        path: Where to write it.
        bert: What to write; its head only for pooling `rank`.
        pooling: none, mean, cls, last or rank.
    """
    weights = bert.weights
    positions, width = weights["embeddings.position_embeddings.weight"].shape
    writer = GGUFWriter(str(path), "bert")
    writer.add_name("Bert")
    writer.add_file_type(1)  # mostly F16
    writer.add_context_length(positions)
    writer.add_embedding_length(width)
    writer.add_feed_forward_length(len(weights["encoder.layer.0.intermediate.dense.weight"]))
    writer.add_block_count(bert.num_layers)
    writer.add_head_count(bert.num_heads)
    writer.add_layer_norm_eps(EPSILON)
    writer.add_causal_attention(False)
    writer.add_pooling_type(PoolingType[pooling.upper()])
    _add_vocabulary(writer, bert)
    for name, data in weights.items():
        theirs = _their_name(name)
        if theirs is None or (theirs.startswith("cls") and pooling != "rank"):
            continue
        is_large = data.ndim == 2 and "position" not in name and "token_type" not in name
        writer.add_tensor(theirs, data.astype(np.float16) if is_large else data)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _add_vocabulary(writer: GGUFWriter, bert: Bert) -> None:
    tokens, types = [], []
    for token in bert.vocab:
        is_control = token.startswith("[") and token.endswith("]") and len(token) > 2
        types.append(TokenType.CONTROL if is_control else TokenType.NORMAL)
        if is_control:
            tokens.append(token)
        else:
            tokens.append(token[2:] if token.startswith("##") else SPACE + token)
    writer.add_tokenizer_model("bert")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_type_count(2)
    writer.add_unk_token_id(bert.ids[UNKNOWN])
    writer.add_sep_token_id(bert.ids[SEP])
    writer.add_pad_token_id(bert.ids[PAD])
    writer.add_bos_token_id(bert.ids[CLS])
    writer.add_mask_token_id(bert.ids[MASK])


def _their_name(name: str) -> str | None:
    """Return llama.cpp's name of a tensor; None for those that it does not use."""
    stem, _, kind = name.rpartition(".")
    if stem.startswith("encoder.layer."):
        _, _, layer, inner = stem.split(".", 3)
        return f"blk.{layer}.{NAMES[inner]}.{kind}"
    theirs = NAMES.get(stem)
    return theirs and f"{theirs}.{kind}"


def _words(text: str) -> list[str]:
    """Split at spaces, around punctuation and around Chinese characters; lower, no accents."""
    spaced = "".join(f" {char} " if _is_chinese(char) else char for char in text)
    plain = unicodedata.normalize("NFD", spaced.lower())
    plain = "".join(char for char in plain if unicodedata.category(char) != "Mn")
    split = "".join(f" {char} " if _is_punctuation(char) else char for char in plain)
    return split.split()


def _is_chinese(char: str) -> bool:
    return 0x4E00 <= ord(char) <= 0x9FFF or 0x3400 <= ord(char) <= 0x4DBF


def _is_punctuation(char: str) -> bool:
    is_ascii_sign = char.isascii() and char.isprintable() and not char.isalnum() and char != " "
    return is_ascii_sign or unicodedata.category(char).startswith("P")


def _gelu(given: np.ndarray) -> np.ndarray:
    """Return x·Φ(x), with the error function by its series; off by less than 2e-7.

    Source: Abramowitz and Stegun, Handbook of Mathematical Functions, 7.1.26.
    """
    scaled = np.abs(given) / np.sqrt(2.0)
    t = 1 / (1 + 0.3275911 * scaled)
    series = 1.061405429
    for factor in (-1.453152027, 1.421413741, -0.284496736, 0.254829592):
        series = series * t + factor
    error = np.sign(given) * (1 - series * t * np.exp(-scaled * scaled))
    return 0.5 * given * (1 + error)
