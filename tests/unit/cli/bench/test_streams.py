"""What a client makes of a stream: events however they are cut, and figures of a reply."""

from __future__ import annotations

import json

import pytest

from webui.cli.bench.streams import Reply, aggregate_tokens_per_s, events

OBJECTS = [
    {"choices": [{"delta": {"role": "assistant", "content": None}}]},
    {"choices": [{"delta": {"content": "é\n"}}]},
    {"choices": [], "usage": {"prompt_tokens": 3}},
]
STREAM = b": ping\n\n" + b"".join(
    b"data: " + json.dumps(one, ensure_ascii=False).encode() + b"\n\n" for one in OBJECTS
)
STREAM += b"data: [DONE]\n\n"


def test_events_whole() -> None:
    assert list(events(iter([STREAM]))) == OBJECTS


def test_events_split_everywhere() -> None:
    for cut in range(len(STREAM) + 1):
        assert list(events(iter([STREAM[:cut], STREAM[cut:]]))) == OBJECTS


def test_events_one_byte_at_a_time() -> None:
    assert list(events(bytes([byte]) for byte in STREAM)) == OBJECTS


def test_events_with_carriage_returns() -> None:
    assert list(events(iter([STREAM.replace(b"\n", b"\r\n")]))) == OBJECTS


def test_figures_of_a_reply() -> None:
    reply = Reply(10.0, (12.0, 12.5, 13.5, 14.0), completion_tokens=5)
    assert reply.first_token_s == 2.0
    assert reply.tokens_per_s == 2.0
    assert reply.gaps_s == (0.5, 1.0, 0.5)


@pytest.mark.parametrize(
    ("begin_s", "end_s", "gap_s"),
    [(0, 9, 4.0), (5.5, 6, 4.0), (3.5, 4.5, 1.0), (1.5, 2.5, 2.0), (20, 30, 0.0)],
)
def test_longest_gap_counts_what_reaches_into_the_time(
    begin_s: float, end_s: float, gap_s: float
) -> None:
    reply = Reply(0.0, (1.0, 3.0, 4.0, 5.0, 9.0))
    assert reply.longest_gap_s(begin_s, end_s) == gap_s


def test_aggregate_runs_from_the_first_question_to_the_last_token() -> None:
    replies = [
        Reply(1.0, (2.0, 3.0), completion_tokens=10),
        Reply(0.0, (4.0, 5.0), completion_tokens=20),
    ]
    assert aggregate_tokens_per_s(replies) == 6.0


def test_reply_that_came_in_one_piece_has_a_rate_too() -> None:
    reply = Reply(1.0, (3.0,), completion_tokens=8)
    assert reply.tokens_per_s == 4.0
