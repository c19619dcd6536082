"""`webui doctor` tells the truth and changes nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

import webui
from tests.serving import Server
from tests.tiny_gguf import write_tiny_gguf

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]


def doctor(data_dir: Path, *flags: str) -> str:
    command = [sys.executable, "-m", "webui", "doctor", "--data-dir", str(data_dir), *flags]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=90)
    return done.stdout


def report(data_dir: Path) -> dict[str, dict[str, Any]]:
    parsed: dict[str, dict[str, Any]] = json.loads(doctor(data_dir, "--json"))
    return parsed


def test_doctor_without_a_data_folder_reports_and_makes_none(tmp_path: Path) -> None:
    found = report(tmp_path / "data")
    assert found["hearthside"]["version"] == webui.__version__
    assert found["hearthside"]["gradio"] == "6.31.0"
    assert found["llama.cpp"]["version"] == "0.3.36"
    assert "built_with" in found["llama.cpp"]
    assert found["memory"]["total_bytes"] > 0
    assert 1 <= found["memory"]["usable_cores"] <= found["memory"]["threads"]
    assert found["disk"]["data_free_bytes"] > 0
    assert found["database"]["exists"] is False
    assert not (tmp_path / "data").exists()


def test_doctor_beside_a_running_server_says_so_and_does_not_disturb_it(tmp_path: Path) -> None:
    server = Server(tmp_path / "data", "--no-ui", "--fake-engine", "50").start()
    try:
        conversation = server.new_conversation()
        database = report(tmp_path / "data")["database"]
        assert (database["in_use"], "error" in database) == (True, False)
        assert database["schema"] == database["newest_schema"]
        server.send(conversation, "still there?")
        assert server.wait_for_reply(conversation)["status"] == "complete"
    finally:
        server.close()
    assert report(tmp_path / "data")["database"]["in_use"] is False


def test_doctor_names_a_broken_database(tmp_path: Path) -> None:
    (tmp_path / "hearthside.db").write_bytes(b"x" * 5000)
    assert "hearthside.db" in report(tmp_path)["database"]["error"]


def test_doctor_for_people_is_a_table(tmp_path: Path) -> None:
    words = doctor(tmp_path, "--models-dir", str(tmp_path / "models"))
    assert "\nllama.cpp\n" in words
    assert " GB\n" in words
    assert "_" not in words.partition("\nmemory\n")[2].replace(str(tmp_path), "")


def test_doctor_lists_the_model_files_and_which_cannot_be_read(tmp_path: Path) -> None:
    models = tmp_path / "models"
    models.mkdir()
    write_tiny_gguf(models / "tiny.gguf")
    (models / "broken.gguf").write_bytes(b"GGUF and nothing more")
    found = json.loads(doctor(tmp_path, "--models-dir", str(models), "--json"))["models"]
    assert {name: bool(file["error"]) for name, file in found.items()} == {
        "broken.gguf": True,
        "tiny.gguf": False,
    }
    assert found["tiny.gguf"]["size_bytes"] == (models / "tiny.gguf").stat().st_size
    assert found["tiny.gguf"]["name"] == "tiny"
