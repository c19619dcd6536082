"""The catalogue: what counts as a model, what it is called, and what it never touches."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import msgspec
import pytest

from tests.unit.hub.gguf_bytes import Gguf, f64, string, u32
from webui.chat.views import model_card
from webui.errors import LoadFailed, NotFound
from webui.hub import catalog as catalog_module
from webui.hub.catalog import Catalog

if TYPE_CHECKING:
    from pathlib import Path

GOOD = Gguf().encode()


def part(index: int, count: int) -> bytes:
    gguf = Gguf().with_metadata(split__no=u32(index), split__count=u32(count))
    if index:
        gguf.metadata = {
            "split.no": u32(index),
            "split.count": u32(count),
        }
    return gguf.encode()


def put(folder: Path, name: str, data: bytes = GOOD) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def names(catalog: Catalog) -> list[str]:
    return [file.name for file in catalog.list()]


def test_missing_and_empty_folder_has_no_models(tmp_path: Path) -> None:
    assert Catalog(tmp_path / "gone").list() == []
    assert Catalog(tmp_path).list() == []


def test_model_is_listed_with_its_figures(tmp_path: Path) -> None:
    path = put(tmp_path, "deep/er/Model.Q4.gguf")
    (file,) = Catalog(tmp_path).list()
    assert (file.id, file.name, file.path) == ("deep/er/Model.Q4.gguf", "Model.Q4", path)
    assert (file.size_bytes, file.quantization, file.num_parameters) == (len(GOOD), "Q4_K_M", 256)
    assert (file.context_length, file.architecture, file.error) == (2048, "llama", None)


def test_models_are_in_order_and_other_files_left_out(tmp_path: Path) -> None:
    for name in ("b.gguf", "A.GGUF", "c.txt", ".hidden.gguf", ".starter-x/d.gguf", "README.md"):
        put(tmp_path, name)
    assert names(Catalog(tmp_path)) == ["A", "b"]


def test_models_of_the_same_name_are_told_apart(tmp_path: Path) -> None:
    put(tmp_path, "one/m.gguf")
    put(tmp_path, "two/m.gguf")
    assert names(Catalog(tmp_path)) == ["one/m", "two/m"]


def test_damaged_file_is_listed_with_the_reason(tmp_path: Path) -> None:
    put(tmp_path, "bad.gguf", b"tjgg" + b"\0" * 99)
    (file,) = Catalog(tmp_path).list()
    assert file.error is not None
    assert "GGJT" in file.error
    assert file.num_parameters is None


@pytest.mark.parametrize("magic", [b"lmgg", b"fmgg", b"tjgg"])
def test_old_bin_is_listed_as_refused_and_other_bins_are_not(tmp_path: Path, magic: bytes) -> None:
    put(tmp_path, "old.q4_0.bin", magic + b"\0" * 99)
    put(tmp_path, "pytorch_model.bin", b"PK\x03\x04")
    put(tmp_path, "empty.bin", b"")
    put(tmp_path, "sham.bin")
    (file,) = Catalog(tmp_path).list()
    assert file.id == "old.q4_0.bin"
    assert "dead format" in (file.error or "")


def test_model_in_parts_is_one_model(tmp_path: Path) -> None:
    for i in range(3):
        put(tmp_path, f"big-{i + 1:05}-of-00003.gguf", part(i, 3))
    (file,) = Catalog(tmp_path).list()
    assert (file.name, file.error) == ("big", None)
    assert file.size_bytes == sum(len(part(i, 3)) for i in range(3))
    assert file.num_parameters == 3 * 256


def test_missing_part_is_named(tmp_path: Path) -> None:
    put(tmp_path, "big-00001-of-00003.gguf", part(0, 3))
    put(tmp_path, "big-00003-of-00003.gguf", part(2, 3))
    (file,) = Catalog(tmp_path).list()
    assert file.error is not None
    assert "part 2 of 3 is missing" in file.error


def test_damaged_part_damages_the_model(tmp_path: Path) -> None:
    put(tmp_path, "big-00001-of-00002.gguf", part(0, 2))
    put(tmp_path, "big-00002-of-00002.gguf", b"junk")
    (file,) = Catalog(tmp_path).list()
    assert file.error is not None
    assert "00002-of-00002" in file.error


def test_part_that_was_renamed_is_refused(tmp_path: Path) -> None:
    put(tmp_path, "big.gguf", part(0, 2))
    (file,) = Catalog(tmp_path).list()
    assert file.error is not None
    assert "a part of 2" in file.error


def test_header_is_read_once_until_the_file_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = put(tmp_path, "m.gguf")
    read: list[Path] = []
    real = catalog_module.read_header
    monkeypatch.setattr(
        catalog_module, "read_header", lambda p, **taken: read.append(p) or real(p, **taken)
    )
    catalog = Catalog(tmp_path)
    catalog.list()
    catalog.list()
    assert read == [path]
    put(tmp_path, "m.gguf", b"junk")
    os.utime(path, ns=(1, 1))
    (file,) = catalog.list()
    assert file.error
    path.unlink()
    assert catalog.list() == []


def test_link_out_of_the_folder_is_not_followed(tmp_path: Path) -> None:
    outside = put(tmp_path, "outside/secret.gguf")
    models = tmp_path / "models"
    put(models, "m.gguf")
    (models / "link.gguf").symlink_to(outside)
    (models / "folder").symlink_to(outside.parent)
    (models / "loop").symlink_to(models)
    (models / "inside.gguf").symlink_to(models / "m.gguf")
    (models / "dangling.gguf").symlink_to(models / "gone.gguf")
    assert names(Catalog(models)) == ["inside", "m"]


@pytest.mark.skipif(sys.platform != "linux", reason="only there a name can be any bytes")
def test_file_whose_name_is_no_text_is_listed_under_a_name_that_can_be_sent(tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path)
    put(tmp_path, "good.gguf")
    for name in (b"bad\xff.gguf", b"bad\xfe.gguf", b"sub\xff/inside.gguf"):
        put(tmp_path, os.fsdecode(name))
    catalog = Catalog(tmp_path)
    files = {file.id: file for file in catalog.list()}
    bad = {"bad\\xff.gguf", "bad\\xfe.gguf", "sub\\xff/inside.gguf"}
    assert files.keys() == {"good.gguf", *bad}
    assert files["good.gguf"].error is None
    for name in bad:
        assert "not UTF-8" in (files[name].error or "")
        assert files[name].size_bytes == len(GOOD)
        msgspec.json.encode(model_card(files[name]))
        assert catalog.get(name).path == files[name].path
    outside = catalog.get_at(os.fsdecode(folder + b"/bad\xff.gguf"))
    assert outside.id == "bad\\xff.gguf"
    inside = Catalog(tmp_path / os.fsdecode(b"sub\xff"))
    assert [(file.id, file.error is None) for file in inside.list()] == [("inside.gguf", False)]
    with pytest.raises(NotFound) as caught:
        inside.get("none")
    caught.value.message.encode()


def test_number_and_depth_of_files_are_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalog_module, "MAX_FILES", 3)
    put(tmp_path, "a/b/c/d/reached.gguf")
    put(tmp_path, "a/b/c/d/e/too_deep.gguf")
    assert names(Catalog(tmp_path)) == ["reached"]
    for i in range(9):
        put(tmp_path, f"{i}.gguf")
    assert len(Catalog(tmp_path).list()) == 3


def test_pipe_with_the_name_of_a_model_is_left_alone(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.gguf")
    assert Catalog(tmp_path).list() == []


@pytest.mark.parametrize("wanted", ["sub/m.Q4.gguf", "m.Q4", "m.Q4.gguf"])
def test_model_is_found_by_id_name_and_file_name(tmp_path: Path, wanted: str) -> None:
    put(tmp_path, "sub/m.Q4.gguf")
    put(tmp_path, "other.gguf")
    assert Catalog(tmp_path).get(wanted).id == "sub/m.Q4.gguf"


def test_model_is_found_by_path_inside_and_outside(tmp_path: Path) -> None:
    inside = put(tmp_path / "models", "m.gguf")
    outside = put(tmp_path / "else", "x.gguf")
    catalog = Catalog(tmp_path / "models")
    assert catalog.get_at(str(inside)).id == "m.gguf"
    found = catalog.get_at(str(outside))
    assert (found.id, found.name, found.error) == (str(outside), "x", None)
    assert names(catalog) == ["m"]


def test_unknown_model_is_refused_with_those_there(tmp_path: Path) -> None:
    put(tmp_path, "m.gguf")
    with pytest.raises(NotFound, match="'nope'") as caught:
        Catalog(tmp_path).get("nope")
    assert "m" in caught.value.hint


def test_model_of_the_folder_goes_before_a_file_of_that_name_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models, elsewhere = tmp_path / "models", tmp_path / "elsewhere"
    for folder in (models, elsewhere):
        folder.mkdir()
        (folder / "m.gguf").write_bytes(b"GGUF")
    monkeypatch.chdir(elsewhere)
    assert Catalog(models).get_at("m.gguf").path == models / "m.gguf"


def adapter(**metadata: bytes) -> bytes:
    gguf = Gguf()
    gguf.metadata = {
        "general.architecture": string("llama"),
        "general.type": string("adapter"),
        "adapter.type": string("lora"),
        **{name.replace("__", "."): value for name, value in metadata.items()},
    }
    return gguf.encode()


def test_adapter_is_listed_as_such_and_found_by_any_name(tmp_path: Path) -> None:
    put(tmp_path, "model.gguf")
    path = put(tmp_path, "lora/poet.gguf", adapter())
    catalog = Catalog(tmp_path)
    found = {file.name: file for file in catalog.list()}
    assert [name for name, file in found.items() if file.is_adapter] == ["poet"]
    assert "is an adapter" in (found["poet"].error or "")
    for wanted in ("lora/poet.gguf", "poet", "poet.gguf", str(path)):
        assert catalog.get_adapter(wanted) == found["poet"]


@pytest.mark.parametrize("wanted", ["gone", "../poet.gguf", "/etc/passwd", "lora/../poet.gguf"])
def test_adapter_outside_the_folder_is_not_there(tmp_path: Path, wanted: str) -> None:
    put(tmp_path, "poet.gguf", adapter())
    inside = tmp_path / "models"
    put(inside, "tune.gguf", adapter())
    (inside / "link.gguf").symlink_to(tmp_path / "poet.gguf")
    for name in (wanted, str(tmp_path / "poet.gguf"), "link.gguf"):
        with pytest.raises(NotFound, match="no adapter") as refused:
            Catalog(inside).get_adapter(name)
        assert refused.value.hint == "Adapters there: tune.gguf."


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (GOOD, "is a whole model"),
        (b"GGUF", "incomplete"),
        (adapter(adapter__type=string("ia3")), "of the type 'ia3'"),
        (adapter(adapter__type=u32(1)), "no text as adapter.type"),
        (adapter(adapter__lora__alpha=u32(1)), "no number of 32 bits as adapter.lora.alpha"),
        (adapter(adapter__lora__alpha=f64(1)), "no number of 32 bits as adapter.lora.alpha"),
    ],
)
def test_file_that_is_no_usable_adapter_is_refused(tmp_path: Path, data: bytes, said: str) -> None:
    put(tmp_path, "odd.gguf", data)
    with pytest.raises(LoadFailed, match=said):
        Catalog(tmp_path).get_adapter("odd.gguf")
