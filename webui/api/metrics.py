"""Figures of the loaded model in the text form that Prometheus reads.

Knows names, kinds and help texts of the figures; they hold no person, no text and no path. The
form is version 0.0.4, https://prometheus.io/docs/instrumenting/exposition_formats/.
"""

from collections.abc import Mapping
from typing import NamedTuple

from fastapi import APIRouter
from starlette.responses import Response

from webui import __version__
from webui.api.deps import ActorDep, RuntimeDep
from webui.engine.interface import Priority
from webui.engine.stats import STEP_BOUNDS_S, EngineStats

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"

router = APIRouter(prefix="/metrics")


class _Metric(NamedTuple):
    """One family; `values` are its samples, by what stands behind the name."""

    name: str
    kind: str
    help: str
    values: Mapping[str, float]


@router.get("")
async def get_metrics(runtime: RuntimeDep, actor: ActorDep) -> Response:
    """Return the figures of the loaded model for Prometheus."""
    stats = runtime.models.stats(actor)
    metrics = [
        _Metric("info", "gauge", "Version of the server.", {f'{{version="{__version__}"}}': 1}),
        _gauge("model_loaded", "Whether a model answers.", float(stats is not None)),
        _gauge(
            "requests_waiting_for_model",
            "Requests that wait for a model on its way, and run nowhere yet.",
            runtime.pool.num_waiting,
        ),
    ]
    engine = runtime.pool.current
    if stats is not None and engine is not None:
        num_slots = engine.info.num_slots if engine.info.can_generate else 0
        metrics += [*_counters(stats), *_gauges(stats, num_slots), _step_times(stats)]
    return Response("".join(map(_text, metrics)), media_type=MEDIA_TYPE)


def _counters(stats: EngineStats) -> list[_Metric]:
    return [
        _counter("steps", "Forward passes for replies.", stats.num_steps),
        _counter("step_rows", "Sequences in them.", stats.num_rows),
        _counter("step_tokens", "Tokens in them.", stats.num_step_tokens),
        _counter("prompt_tokens", "Tokens of prompts that were read.", stats.num_prompt_tokens),
        _counter("reply_tokens", "Tokens of replies.", stats.num_reply_tokens),
        _counter("embedded_tokens", "Tokens of embedded texts.", stats.num_embedded_tokens),
        _counters_by(
            "reused_tokens",
            "Prompt tokens that were not read anew.",
            "tier",
            {
                "slot": stats.num_slot_tokens,
                "ram": stats.num_ram_tokens,
                "disk": stats.num_disk_tokens,
            },
        ),
        _counter(
            "shared_tokens",
            "Of the reused ones in memory or on disk, those read for everybody.",
            stats.num_shared_tokens,
        ),
        _counter("drafted_tokens", "Guessed tokens.", stats.num_drafted_tokens),
        _counter("accepted_tokens", "Guessed tokens that held.", stats.num_accepted_tokens),
        _counters_by(
            "requests",
            "Requests that ended.",
            "outcome",
            {
                "stop": stats.num_stopped,
                "length": stats.num_full,
                "abort": stats.num_aborted,
                "error": stats.num_failed,
            },
        ),
        _counters_by(
            "seconds",
            "Seconds spent reading prompts, writing, and without work.",
            "activity",
            {"prefill": stats.prefill_s, "decode": stats.decode_s, "idle": stats.idle_s},
        ),
        _counter("worker_deaths", "Workers that died.", stats.num_deaths),
        _counter("worker_restarts", "Workers that replaced a dead one.", stats.num_restarts),
    ]


def _gauges(stats: EngineStats, num_slots: int) -> list[_Metric]:
    waiting = {p.name.lower(): num for p, num in zip(Priority, stats.waiting, strict=True)}
    threads = {"decode": stats.decode_threads, "prompt": stats.prompt_threads}
    cached = {"ram": stats.cached_ram_bytes, "disk": stats.cached_disk_bytes}
    return [
        _gauge("slots", "Replies that can be written at once.", num_slots),
        _gauge("requests_running", "Requests that have a slot.", stats.num_running),
        _gauges_by("requests_waiting", "Requests that wait for one.", "priority", waiting),
        _gauge("requests_waiting_peak", "The most that waited at once.", stats.max_waiting),
        _gauges_by("threads", "Compute threads of the next steps.", "step", threads),
        _gauges_by("cached_bytes", "Bytes of kept states.", "tier", cached),
    ]


def _step_times(stats: EngineStats) -> _Metric:
    values: dict[str, float] = {}
    num = 0
    for bound_s, more in zip(STEP_BOUNDS_S, stats.writing_steps, strict=False):
        num += more
        values[f'_bucket{{le="{bound_s}"}}'] = float(num)
    num += stats.writing_steps[-1]
    values['_bucket{le="+Inf"}'] = float(num)
    values["_sum"] = stats.writing_s
    values["_count"] = float(num)
    return _Metric("writing_step_seconds", "histogram", "Steps in which replies went on.", values)


def _counter(name: str, text: str, value: float) -> _Metric:
    return _Metric(f"{name}_total", "counter", text, {"": value})


def _counters_by(name: str, text: str, label: str, values: Mapping[str, float]) -> _Metric:
    return _gauges_by(f"{name}_total", text, label, values)._replace(kind="counter")


def _gauge(name: str, text: str, value: float) -> _Metric:
    return _Metric(name, "gauge", text, {"": value})


def _gauges_by(name: str, text: str, label: str, values: Mapping[str, float]) -> _Metric:
    labelled = {f'{{{label}="{key}"}}': value for key, value in values.items()}
    return _Metric(name, "gauge", text, labelled)


def _text(metric: _Metric) -> str:
    name = f"hearthside_{metric.name}"
    samples = [f"{name}{rest} {float(value):.15g}\n" for rest, value in metric.values.items()]
    head = f"# HELP {name} {metric.help}\n# TYPE {name} {metric.kind}\n"
    return head + "".join(samples)
