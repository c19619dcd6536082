"""The header reader: right figures from good files, one clear refusal from all others."""

from __future__ import annotations

import io
import os
import pickle
import struct
import time
import tracemalloc
import zipfile
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.unit.hub.gguf_bytes import (
    ARRAY,
    BOOL,
    STRING,
    Gguf,
    Tensor,
    f32,
    floats,
    integers,
    string,
    strings,
    text,
    u32,
)
from webui.errors import LoadFailed
from webui.hub.gguf import MAX_METADATA, GGUFHeader, read_header, read_parts
from webui.hub.gguf_format import BLOCK_SIZES, TENSOR_TYPES
from webui.hub.gguf_values import MAX_STRING_BYTES, WINDOW_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Read = Callable[[bytes], GGUFHeader]

GOOD = Gguf().encode()
NAN, INFINITE = float("nan"), float("inf")


@pytest.fixture
def read(tmp_path: Path) -> Read:
    def read(data: bytes) -> GGUFHeader:
        path = tmp_path / "model.gguf"
        path.write_bytes(data)
        return read_header(path)

    return read


def test_good_header_gives_its_figures(read: Read) -> None:
    data = Gguf().encode()
    assert read(data) == GGUFHeader(
        architecture="llama",
        name="Test",
        quantization="Q4_K_M",
        num_parameters=256,
        context_length=2048,
        block_count=2,
        size_bytes=len(data),
        has_chat_template=True,
        num_heads=4,
        kv_heads=(4, 4),
        key_size=8,
        value_size=8,
    )


@pytest.mark.parametrize(
    ("metadata", "kv_heads", "key_size"),
    [
        ({"head_count_kv": u32(2)}, (2, 2), 8),
        ({"head_count_kv": integers(0, 3)}, (0, 3), 8),
        ({"head_count_kv": integers(3)}, (3, 3), 8),
        ({"head_count_kv": integers(1, 2, 3)}, (1, 2), 8),
        ({"head_count_kv": string("many")}, (4, 4), 8),
        ({"key_length": u32(96)}, (4, 4), 96),
        ({"key_length": f32(96)}, (4, 4), 8),
    ],
)
def test_size_of_the_cache_is_read_for_each_layer(
    read: Read, metadata: dict[str, bytes], kv_heads: tuple[int, ...], key_size: int
) -> None:
    given = {f"llama__attention__{name}": value for name, value in metadata.items()}
    header = read(Gguf().with_metadata(**given).encode())
    assert (header.kv_heads, header.key_size, header.value_size) == (kv_heads, key_size, 8)


def test_tensors_are_told_with_their_places(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(GOOD)
    _, (first, second) = read_parts(path)
    assert (first.name, first.shape, first.kind, first.num_bytes) == (
        "token_embd.weight",
        (32, 4),
        0,
        512,
    )
    assert second.num_bytes == 4 * 18
    assert (second.extents, second.num_elements) == ((32, 4, 1, 1), 128)
    assert second.start - first.start == 512
    assert second.start + second.num_bytes == len(GOOD)


def test_every_type_of_weights_that_has_a_name_has_a_size() -> None:
    assert set(TENSOR_TYPES) <= set(BLOCK_SIZES)


def test_header_without_template_and_file_type_is_read(read: Read) -> None:
    gguf = Gguf().with_metadata(tokenizer__chat_template=None, general__file_type=None)
    header = read(gguf.encode())
    assert not header.has_chat_template
    assert header.quantization == "F32"


def test_version_2_is_read(read: Read) -> None:
    assert read(Gguf(version=2).encode()).block_count == 2


def test_heads_may_differ_by_layer(read: Read) -> None:
    gguf = Gguf().with_metadata(llama__attention__head_count=integers(4, 0))
    assert read(gguf.encode()).block_count == 2


def test_network_without_attention_may_have_no_heads(read: Read) -> None:
    gguf = Gguf().with_metadata(llama__attention__head_count=u32(0), llama__ssm__state_size=u32(16))
    assert read(gguf.encode()).block_count == 2


def test_later_part_of_a_split_model_needs_no_figures(read: Read) -> None:
    gguf = Gguf(
        metadata={
            "general.architecture": string("llama"),
            "split.no": u32(1),
            "split.count": u32(2),
        }
    )
    header = read(gguf.encode())
    assert (header.split_index, header.num_splits) == (1, 2)


def zipped() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("data.pkl", b"x")
    return buffer.getvalue()


SAFETENSORS = struct.pack("<Q", 20) + b'{"a":{"dtype":"F32"}' + b"\0" * 50
OTHER_FORMATS = {
    "empty": (b"", "is empty"),
    "text": (b"Hello, this is a text", "not a GGUF file"),
    "short": (b"GG", "not a GGUF file"),
    "GGML": (b"lmgg" + b"\0" * 40, "dead format GGML"),
    "GGMF": (b"fmgg" + b"\0" * 40, "dead format GGMF"),
    "GGJT": (b"tjgg" + b"\0" * 40, "dead format GGJT"),
    "pickle": (pickle.dumps({"a": 1}), "Python pickle"),
    "zip": (zipped(), "zip archive"),
    "safetensors": (SAFETENSORS, "safetensors"),
    "Git LFS": (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
    "reversed magic": (b"FUGG" + b"\0" * 40, "big-endian"),
    "big-endian": (b"GGUF\0\0\0\3" + b"\0" * 40, "big-endian"),
    "version 1": (Gguf(version=1).encode(), "version 1"),
    "version 4": (Gguf(version=4).encode(), "version 4"),
    "magic only": (b"GGUF", "incomplete"),
}


@pytest.mark.parametrize(("data", "said"), OTHER_FORMATS.values(), ids=OTHER_FORMATS.keys())
def test_other_format_is_named(read: Read, data: bytes, said: str) -> None:
    with pytest.raises(LoadFailed, match=said) as caught:
        read(data)
    assert "model.gguf" in caught.value.message
    assert caught.value.hint


def changed(**changes: bytes | None) -> bytes:
    return Gguf().with_metadata(**changes).encode()


def with_tensor(**changes: object) -> bytes:
    return Gguf(tensors=[Tensor(**changes)]).encode()


HOSTILE = {
    "more tensors than bytes": (
        Gguf(num_tensors=2**40).encode(),
        "claims 1,099,511,627,776 tensors",
    ),
    "one tensor too many": (Gguf(num_tensors=3).encode(), "model.gguf"),
    "more metadata than bytes": (Gguf(num_metadata=2**60).encode(), "metadata entries"),
    "one entry too many": (Gguf(num_metadata=12).encode(), "model.gguf"),
    "long text": (
        changed(general__name=struct.pack("<IQ", STRING, 2**50)),
        "text of 1,125,899,906,842,624 bytes",
    ),
    "text over the bound": (
        changed(general__name=string("a" * (MAX_STRING_BYTES + 1))),
        "1,048,577 bytes",
    ),
    "long text in an array": (
        changed(x=struct.pack("<IIQQ", ARRAY, STRING, 1, 2**40)),
        "text of 1,099,511,627,776 bytes",
    ),
    "long array": (changed(x=struct.pack("<IIQ", ARRAY, 0, 2**40)), "array of"),
    "array beyond the file": (changed(x=struct.pack("<IIQ", ARRAY, 10, 3_000_000)), "incomplete"),
    "strings beyond the file": (
        changed(x=struct.pack("<IIQ", ARRAY, STRING, 3_000_000)),
        "model.gguf",
    ),
    "array in an array": (changed(x=struct.pack("<IIQ", ARRAY, ARRAY, 1)), "array in an array"),
    "unknown type": (changed(x=struct.pack("<I", 99)), "unknown type 99"),
    "unknown type in an array": (changed(x=struct.pack("<IIQ", ARRAY, 77, 1)), "unknown type 77"),
    "NaN": (changed(llama__attention__layer_norm_rms_epsilon=f32(NAN)), "epsilon.* is nan"),
    "infinite": (changed(llama__rope__freq_base=f32(INFINITE)), "freq_base.* is inf"),
    "NaN in an array": (changed(tokenizer__ggml__scores=floats(0, NAN)), "not a number"),
    "600 layers": (changed(llama__block_count=u32(600)), "block_count.* = 600"),
    "no layer": (changed(llama__block_count=u32(0)), "block_count.* = 0"),
    "layers as text": (changed(llama__block_count=string("2")), "block_count"),
    "layers as truth": (changed(llama__block_count=struct.pack("<I?", BOOL, True)), "block_count"),
    "layers missing": (changed(llama__block_count=None), "block_count"),
    "no heads": (changed(llama__attention__head_count=u32(0)), "head_count.* = 0"),
    "no heads in any layer": (changed(llama__attention__head_count=integers(0, 0)), "no heads"),
    "no context": (changed(llama__context_length=u32(0)), "context_length.* = 0"),
    "absurd context": (changed(llama__context_length=u32(2**31)), "context_length.* = 2147483648"),
    "no width": (changed(llama__embedding_length=u32(0)), "embedding_length.* = 0"),
    "no architecture": (changed(general__architecture=None), "no architecture"),
    "architecture as number": (changed(general__architecture=u32(1)), "general.architecture"),
    "alignment 0": (changed(general__alignment=u32(0)), "alignment.* = 0"),
    "alignment 24": (changed(general__alignment=u32(24)), "alignment of 24"),
    "adapter": (changed(general__type=string("adapter")), "adapter"),
    "vision part": (changed(general__architecture=string("clip")), "vision part"),
    "empty key": (Gguf(metadata={"": u32(1)}).encode(), "twice or empty"),
    "no dimensions": (with_tensor(shape=()), "0 dimensions"),
    "five dimensions": (with_tensor(shape=(1, 1, 1, 1, 1)), "5 dimensions"),
    "empty dimension": (with_tensor(shape=(32, 0)), "shape"),
    "product overflows": (with_tensor(shape=(2**32, 2**32, 2**32)), "shape"),
    "tensor beyond the file": (with_tensor(shape=(32, 1000)), "is incomplete: it has"),
    "offset beyond the file": (with_tensor(offset=2**40), "is incomplete: it has"),
    "offset overflows": (with_tensor(offset=2**64 - 32), "is incomplete: it has"),
    "askew": (with_tensor(offset=7), "askew"),
    "part of a block": (with_tensor(shape=(33, 4), kind=2), "whole blocks"),
    "removed type": (with_tensor(kind=4), "Q4_2"),
    "unknown type beyond the file": (with_tensor(kind=99, offset=2**40), "is incomplete"),
    "long name": (with_tensor(name="a" * 65), "text of 65 bytes"),
    "same name": (Gguf(tensors=[Tensor(), Tensor()]).encode(), "twice"),
}


@pytest.mark.parametrize(("data", "said"), HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_header_is_refused_with_what_is_wrong(read: Read, data: bytes, said: str) -> None:
    with pytest.raises(LoadFailed, match=said):
        read(data)


def test_key_that_is_there_twice_is_refused(read: Read) -> None:
    once = text("general.name") + string("Test")
    data = Gguf(num_metadata=12).encode().replace(once, once + once)
    with pytest.raises(LoadFailed, match="twice"):
        read(data)


def test_incomplete_file_is_told_by_how_much(read: Read) -> None:
    data = Gguf().encode()
    with pytest.raises(LoadFailed, match=rf"has {len(data) - 1:,} of at least {len(data):,} bytes"):
        read(data[:-1])


def test_every_shorter_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(GOOD)
    for size in reversed(range(len(GOOD))):
        os.truncate(path, size)
        with pytest.raises(LoadFailed):
            read_header(path)


@pytest.mark.parametrize("size", [40, 100, 200])
def test_header_cut_short_is_incomplete_and_not_damaged(read: Read, size: int) -> None:
    with pytest.raises(LoadFailed, match=f"incomplete: .*after {size:,} bytes"):
        read(GOOD[:size])


@pytest.mark.parametrize("changes", [{"num_metadata": 65_537}, {"num_tensors": 65_537}])
def test_count_that_no_file_has_is_damaged_and_not_incomplete(
    read: Read, changes: dict[str, int]
) -> None:
    with pytest.raises(LoadFailed, match="damaged or made up: it claims 65,537"):
        read(Gguf(**changes).encode())


LONG = "x" * MAX_STRING_BYTES
HEAVY = {
    "texts": {f"x{i}": string(LONG) for i in range(32)},
    "kept texts": {f"a{i}.block_count": string(LONG) for i in range(32)},
    "arrays of texts": {f"x{i}": strings(LONG) for i in range(32)},
    "arrays of numbers": {"x": integers(*[7] * 3_000_000), "y": floats(*[1.0] * 3_000_000)},
}


@pytest.mark.parametrize("metadata", HEAVY.values(), ids=HEAVY.keys())
def test_long_header_is_read_without_being_held(tmp_path: Path, metadata: dict[str, bytes]) -> None:
    gguf = Gguf()
    gguf.metadata |= metadata
    path = tmp_path / "model.gguf"
    path.write_bytes(gguf.encode())
    assert path.stat().st_size > 20 * WINDOW_BYTES
    tracemalloc.start()
    try:
        assert read_header(path).block_count == 2
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak_bytes < 8 * WINDOW_BYTES


def test_keys_that_would_be_kept_are_bounded(read: Read) -> None:
    gguf = Gguf()
    gguf.metadata |= {f"a{i}.block_count": integers(*[1] * 1000) for i in range(65)}
    assert len(gguf.metadata) < MAX_METADATA
    with pytest.raises(LoadFailed, match="figures of more than 64"):
        read(gguf.encode())


def test_long_key_is_refused(read: Read) -> None:
    with pytest.raises(LoadFailed, match="text of 257 bytes"):
        read(changed(**{"k" * 257: u32(1)}))


def test_missing_and_unreadable_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LoadFailed, match="is not there"):
        read_header(tmp_path / "gone.gguf")
    with pytest.raises(LoadFailed, match="cannot be read"):
        read_header(tmp_path)


def test_texts_across_the_window_are_read(read: Read) -> None:
    words = ["w" * (i % 700) for i in range(6000)]
    assert sum(map(len, words)) > 1.5 * WINDOW_BYTES
    gguf = Gguf().with_metadata(
        tokenizer__ggml__tokens=strings(*words), zz=u32(1), split__count=u32(5)
    )
    assert read(gguf.encode()).num_splits == 5


def test_vocabulary_of_a_large_model_is_walked_over_soon(read: Read) -> None:
    data = Gguf().with_metadata(tokenizer__ggml__tokens=strings(*["token"] * 256_000)).encode()
    begun_s = time.process_time()
    read(data)
    assert time.process_time() - begun_s < 2


@settings(
    max_examples=400, deadline=1000, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    changes=st.lists(
        st.tuples(st.integers(0, len(GOOD) - 1), st.binary(min_size=1, max_size=9)), max_size=6
    ),
    cut=st.integers(0, len(GOOD)),
)
@example(changes=[(8, b"\xff" * 8)], cut=len(GOOD))
@example(changes=[(16, b"\xff" * 8)], cut=len(GOOD))
def test_damage_ends_in_a_header_or_a_refusal(
    read: Read, changes: list[tuple[int, bytes]], cut: int
) -> None:
    data = bytearray(GOOD)
    for at, new in changes:
        data[at : at + len(new)] = new
    try:
        header = read(bytes(data[:cut]))
    except LoadFailed:
        return
    assert 1 <= header.block_count <= 512 or header.split_index


@pytest.mark.parametrize(
    ("number", "pooling", "is_embedding"),
    [(0, "none", False), (1, "mean", True), (2, "cls", True), (3, "last", True), (4, "rank", True)],
)
def test_pooling_makes_an_embedding_model(
    read: Read, number: int, pooling: str, is_embedding: bool
) -> None:
    header = read(Gguf().with_metadata(**{"llama.pooling_type": u32(number)}).encode())
    assert (header.pooling, header.is_embedding, header.is_encoder) == (
        pooling,
        is_embedding,
        False,
    )


def test_unknown_pooling_is_refused(read: Read) -> None:
    with pytest.raises(LoadFailed, match="pooling_type"):
        read(Gguf().with_metadata(**{"llama.pooling_type": u32(5)}).encode())


def test_chat_model_is_no_embedding_model(read: Read) -> None:
    header = read(GOOD)
    assert (header.pooling, header.is_embedding) == ("", False)
