"""The commands both sides are started with, and what is refused without a peer."""

from __future__ import annotations

from pathlib import Path

import pytest

from webui.cli.bench.peers import Shape, find_peer, peer_command, peer_system_info
from webui.cli.bench.scenarios import SCENARIOS, choose
from webui.errors import LoadFailed, NotFound
from webui.loaders.llama_cpp import LlamaCppOptions

BINARY, MODEL = Path("/opt/llama-server"), Path("/models/a b.gguf")


def value_of(command: list[str], flag: str) -> str:
    assert command.count(flag) == 1
    return command[command.index(flag) + 1]


def test_peer_gets_what_our_loader_gets() -> None:
    shape = Shape(threads=2, num_streams=8, context_length=1024)
    command = peer_command(BINARY, MODEL, shape, 4711)
    ours = LlamaCppOptions(**shape.load_options())
    assert command[:3] == [str(BINARY), "-m", str(MODEL)]
    assert int(value_of(command, "--port")) == 4711
    assert int(value_of(command, "-np")) == ours.slots == 8
    assert int(value_of(command, "-c")) == ours.slots * ours.context_length
    assert int(value_of(command, "-b")) == ours.batch_size
    assert int(value_of(command, "-ub")) == ours.ubatch_size
    assert int(value_of(command, "-t")) == ours.threads == 2
    assert int(value_of(command, "-tb")) == ours.threads_batch == 2
    assert [value_of(command, flag) for flag in ("-fa", "-ctk", "-ctv")] == ["off", "f16", "f16"]
    assert ours.flash_attn == "off"
    assert "--no-webui" in command


def test_peer_keeps_its_prompt_cache() -> None:
    command = peer_command(BINARY, MODEL, Shape(1, 4, 4096))
    assert not {"-cram", "--no-cache-prompt", "--cache-reuse", "-sps", "-nocb"} & set(command)


def test_without_threads_each_side_takes_its_default() -> None:
    shape = Shape(None, 1, 2048)
    command = peer_command(BINARY, MODEL, shape)
    assert "-t" not in command
    assert "-tb" not in command
    assert LlamaCppOptions(**shape.load_options()).threads == 0


def test_without_a_peer_there_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(LoadFailed, match="--llama-server") as caught:
        find_peer(None)
    assert "development.md" in caught.value.hint
    with pytest.raises(LoadFailed, match="is not a file"):
        find_peer(tmp_path / "nowhere")


def test_program_that_is_no_llama_server_is_refused(tmp_path: Path) -> None:
    script = tmp_path / "other"
    script.write_text("#!/bin/sh\necho hello\n")
    with pytest.raises(LoadFailed, match="does not run"):
        peer_system_info(script)
    script.chmod(0o755)
    with pytest.raises(LoadFailed, match="is not a llama-server"):
        peer_system_info(script)


def test_scenarios_are_chosen_by_name_or_by_the_name_of_several() -> None:
    assert choose([]) == list(SCENARIOS)
    assert [one.name for one in choose(["one_stream"])] == ["one_stream"]
    names = [one.name for one in choose(["several_streams_8", "several_streams"])]
    assert names == ["several_streams_8", "several_streams_4", "several_streams_16"]
    with pytest.raises(NotFound, match="there is no scenario two") as caught:
        choose(["two"])
    assert "one_stream" in caught.value.hint


def test_names_of_scenarios_and_of_their_metrics_are_unique() -> None:
    names = [one.name for one in SCENARIOS]
    assert len(set(names)) == len(names)
    for one in SCENARIOS:
        metrics = [bar.metric for bar in one.bars]
        assert len(set(metrics)) == len(metrics) > 0


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda one: one.name)
def test_every_scenario_loads_with_options_that_our_loader_takes(scenario: object) -> None:
    LlamaCppOptions(**scenario.shape(1).load_options())
    assert scenario.is_by_threads or "threads" not in scenario.shape(None).load_options()
