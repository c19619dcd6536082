"""How long who waits is told to wait, on a machine whose speed the test sets."""

import pytest

from tests.unit.engine.contract import make_request
from webui.engine.interface import Queued
from webui.engine.runner import Sampled
from webui.engine.sequence import Sequence
from webui.engine.waiting_times import MIN_TOKENS, WaitingTimes


class Words:
    def token_bytes(self, token):
        return b"a"

    def is_eog(self, token):
        return False


class Machine:
    """Writes one token of each sequence in a step."""

    def __init__(self):
        self.times = WaitingTimes()
        self.now_s = 0.0

    def sequence(self, name, max_tokens, num_prompt=4):
        request = make_request("", request_id=name, max_tokens=max_tokens)
        return Sequence(request, [7] * num_prompt, context_length=9000, arrived_s=self.now_s)

    def begin(self, name, max_tokens, num_prompt=4, read_s=0.0):
        sequence = self.sequence(name, max_tokens, num_prompt)
        sequence.place(0, 0, self.now_s)
        self.now_s += read_s
        sequence.read(num_prompt - 1)
        self.write([sequence], 1, 0.0)
        return sequence

    def write(self, sequences, num_tokens, step_s):
        for _ in range(num_tokens):
            self.now_s += step_s
            for sequence in sequences:
                sequence.read(1)
                sequence.take(Sampled(1), Words(), self.now_s)
                self.times.note(sequence, self.now_s)
                if sequence.finish_reason is not None:
                    self.times.leave(sequence)
                    self.times.end(sequence)

    def outlook(self, running, *waiting):
        return list(self.times.outlook(running, waiting).values())


def test_nothing_is_guessed_before_anything_was_measured():
    machine = Machine()
    running = [machine.begin("a", 100)]
    for _ in range(MIN_TOKENS):
        assert machine.times.next_s(running) is None
        assert machine.outlook(running, machine.sequence("b", 5)) == [Queued(1)]
        machine.write(running, 1, 1.0)
    assert machine.outlook(running, machine.sequence("b", 5)) == [Queued(1, 91.0)]


def test_estimate_is_what_runs_and_what_waits_before():
    machine = Machine()
    running = [machine.begin("a", 101), machine.begin("b", 51)]
    machine.write(running, 10, 0.5)
    waiting = [machine.sequence(name, 20) for name in "cde"]
    # Both write on at half a second a token: 40 and 90 more.
    assert machine.outlook(running, *waiting) == [
        Queued(1, 20.0),
        Queued(2, 30.0),
        Queued(3, 40.0),
    ]
    assert machine.times.next_s(running) == 20.0


def test_estimate_sinks_while_a_reply_is_written_and_follows_the_machine():
    machine = Machine()
    running = [machine.begin("a", 1001)]
    machine.write(running, 100, 0.1)
    waiting = machine.sequence("b", 20)
    assert machine.outlook(running, waiting) == [Queued(1, 90.0)]
    machine.write(running, 100, 0.1)
    assert machine.outlook(running, waiting) == [Queued(1, 80.0)]
    machine.write(running, 200, 1.0)  # slower now: others came
    assert machine.outlook(running, waiting)[0].eta_s == pytest.approx(600, rel=0.03)


def test_estimate_does_not_jump_with_single_slow_tokens():
    machine = Machine()
    running, told = [machine.begin("a", 1001)], []
    waiting = machine.sequence("b", 20)
    machine.write(running, 100, 0.1)
    for _ in range(5):
        machine.write(running, 1, 0.4)
        told.append(machine.outlook(running, waiting)[0].eta_s)
        machine.write(running, 19, 0.1)
        told.append(machine.outlook(running, waiting)[0].eta_s)
    assert max(told) < 1.15 * 90
    assert min(told) > 0.95 * 80


def test_replies_are_guessed_to_be_as_long_as_those_before_and_never_above_their_limit():
    machine = Machine()
    for name in "abcdefgh":
        machine.write([machine.begin(name, 11)], 10, 1.0)
    running = [machine.begin("long", 2000)]
    machine.write(running, 1, 1.0)
    assert machine.outlook(running, machine.sequence("i", 5)) == [Queued(1, 9.0)]
    machine.write(running, 18, 1.0)  # longer than usual: it may go on as long again
    assert machine.outlook(running, machine.sequence("i", 5)) == [Queued(1, 10.0)]
    short = [machine.begin("short", 3)]
    assert machine.outlook(short, machine.sequence("i", 5)) == [Queued(1, 2.0)]


def test_prompts_that_are_still_to_be_read_take_their_time():
    machine = Machine()
    machine.write([machine.begin("a", 10, num_prompt=100, read_s=10.0)], 9, 1.0)
    running = [machine.sequence("b", 2, num_prompt=300)]
    assert machine.outlook(running, machine.sequence("c", 2)) == [Queued(1, 32.0)]


def test_time_without_a_slot_is_no_time_of_a_token():
    machine = Machine()
    sequence = machine.begin("a", 1001)
    machine.write([sequence], 10, 1.0)
    machine.times.leave(sequence)
    machine.now_s += 500
    machine.write([sequence], 1, 1.0)
    assert machine.times.next_s([sequence]) == pytest.approx(989)
