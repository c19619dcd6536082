"""The figures come as Prometheus and as JSON, and hold nothing of people."""

from __future__ import annotations

import re

from tests.unit.api.fakes import STATS
from webui.engine.stats import STEP_BOUNDS_S, EngineStats

NAME = r"hearthside_[a-z][a-z0-9_]*"
SAMPLE = re.compile(rf'({NAME})((?:\{{[a-z]+="[^"\\\n]*"\}})?) ([0-9.e+-]+)')


def parse(text: str) -> tuple[dict[str, str], dict[str, float]]:
    """Return the kinds of all families and the values of all samples; refuses what is not so."""
    kinds: dict[str, str] = {}
    samples: dict[str, float] = {}
    assert text.endswith("\n")
    lines = iter(text.splitlines())
    family = ""
    for line in lines:
        if head := re.fullmatch(rf"# HELP ({NAME}) (\S.*)", line):
            family = head[1]
            kind = re.fullmatch(rf"# TYPE {family} (counter|gauge|histogram)", next(lines))
            assert kind, line
            assert family not in kinds
            assert (kind[1] == "counter") == family.endswith("_total")
            kinds[family] = kind[1]
            continue
        sample = SAMPLE.fullmatch(line)
        assert sample, line
        ends = ("_bucket", "_sum", "_count") if kinds[family] == "histogram" else ("",)
        assert sample[1] in {family + end for end in ends}, line
        assert sample[1] + sample[2] not in samples
        samples[sample[1] + sample[2]] = float(sample[3])
    return kinds, samples


async def test_metrics_are_what_the_engine_counted(client) -> None:
    answer = await client.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    kinds, samples = parse(answer.text)
    assert kinds["hearthside_steps_total"] == "counter"
    assert samples["hearthside_model_loaded"] == 1
    assert samples["hearthside_steps_total"] == STATS.num_steps
    assert samples["hearthside_reply_tokens_total"] == STATS.num_reply_tokens
    assert samples['hearthside_reused_tokens_total{tier="ram"}'] == STATS.num_ram_tokens
    assert samples['hearthside_requests_total{outcome="error"}'] == STATS.num_failed
    assert samples['hearthside_seconds_total{activity="prefill"}'] == STATS.prefill_s
    assert samples['hearthside_requests_waiting{priority="background"}'] == 4
    assert samples["hearthside_requests_running"] == STATS.num_running
    assert samples["hearthside_shared_tokens_total"] == STATS.num_shared_tokens
    assert samples["hearthside_slots"] == 4


async def test_requests_that_wait_for_a_model_are_told_where_none_is_loaded(
    client, runtime
) -> None:
    runtime.models.latest = None
    runtime.pool.num_waiting = 3
    _, samples = parse((await client.get("/metrics")).text)
    assert samples["hearthside_model_loaded"] == 0
    assert samples["hearthside_requests_waiting_for_model"] == 3
    assert "hearthside_requests_running" not in samples


async def test_model_that_writes_nothing_has_no_slots(client, runtime) -> None:
    runtime.pool.current.info.can_generate = False
    _, samples = parse((await client.get("/metrics")).text)
    assert samples["hearthside_slots"] == 0


async def test_histogram_grows_to_its_count(client) -> None:
    kinds, samples = parse((await client.get("/metrics")).text)
    name = "hearthside_writing_step_seconds"
    assert kinds[name] == "histogram"
    bounds = [*map(str, STEP_BOUNDS_S), "+Inf"]
    values = [samples[f'{name}_bucket{{le="{bound}"}}'] for bound in bounds]
    assert values == sorted(values)
    assert values[1:3] == [1, 3]
    assert samples[f"{name}_sum"] == STATS.writing_s
    assert values[-1] == samples[f"{name}_count"] == sum(STATS.writing_steps)


async def test_every_figure_is_told(client, runtime) -> None:
    """A figure that is added to the engine must find its way out."""
    quiet = (await client.get("/metrics")).text
    for field in EngineStats.__struct_fields__:
        now = getattr(STATS, field)
        more = tuple(n + 1 for n in now) if isinstance(now, tuple) else now + 1
        values = {name: getattr(STATS, name) for name in EngineStats.__struct_fields__}
        runtime.models.latest = EngineStats(**values | {field: more})
        assert (await client.get("/metrics")).text != quiet, field


async def test_large_counts_stay_exact(client, runtime) -> None:
    runtime.models.latest = EngineStats(num_reply_tokens=123_456_789_012)
    _, samples = parse((await client.get("/metrics")).text)
    assert samples["hearthside_reply_tokens_total"] == 123_456_789_012


async def test_without_a_model_there_is_only_that(client, runtime) -> None:
    runtime.models.latest = None
    kinds, samples = parse((await client.get("/metrics")).text)
    kept = {"info", "model_loaded", "requests_waiting_for_model"}
    assert set(kinds) == {f"hearthside_{name}" for name in kept}
    assert samples["hearthside_model_loaded"] == 0
    assert (await client.get("/api/models/stats")).json() == {"stats": None, "figures": None}


async def test_stats_have_a_name_for_each_number(client) -> None:
    stats = (await client.get("/api/models/stats")).json()["stats"]
    assert set(stats) == set(EngineStats.__struct_fields__)
    assert stats["waiting"] == {"chat": 1, "api": 0, "background": 4}
    assert stats["writing_steps"] == {
        "bounds_s": list(STEP_BOUNDS_S),
        "counts": list(STATS.writing_steps),
    }
    assert stats["num_steps"] == 7
