"""What is guessed, when, and what becomes of guesses that did not hold."""

from __future__ import annotations

import itertools

import pytest

from tests.unit.engine.contract import make_request
from tests.unit.engine.drafter_contract import DrafterContract
from tests.unit.engine.fake_drafter import FakeDrafter
from tests.unit.engine.fake_runner import FakeOptions, FakeRunner
from webui.engine.drafting import MAX_STEP_TOKENS, Drafting
from webui.engine.generation_loop import GenerationLoop
from webui.engine.interface import Finish, Priority, Text
from webui.engine.ipc import Outputs, RequestError
from webui.engine.mail import Announced, Prepared, Purged
from webui.engine.model_draft import ModelDraft
from webui.engine.prefill_budget import PrefillBudget
from webui.engine.speculation import Choice, SpeculationControl
from webui.errors import EngineError
from webui.sampling_params import SamplingParams

COPY = b"user: say " + b"one two three; " * 12 + b"\nassistant: "


class Eager(SpeculationControl):
    def choose(self, guesses):
        return Choice(62, is_modelled=any(guess.is_modelled for guess in guesses))

    def readable(self, num_rows, num_missing, *, is_shared):
        return 16

    def note(self, *step):
        pass

    note_reading = note_guessing = note


class Watched(FakeRunner):
    """Keeps the rows; fails the steps whose numbers it is told."""

    def __init__(self, failing=(), **options):
        super().__init__(FakeOptions(**{"max_batch_tokens": 128, **options}))
        self.rows = []
        self.failing = failing
        self.closed = []

    def forward(self, rows):
        self.rows.append(rows)
        results = super().forward(rows)
        if len(self.rows) in self.failing:
            raise EngineError("out of luck")
        return results


def write(runner, requests, drafting=None, prompt=tuple(COPY), clock=None):
    """Return texts and ends by name."""
    ticks = itertools.count()
    clock = clock or (lambda: next(ticks) / 100)
    loop = GenerationLoop(runner, PrefillBudget(64, 0.01), clock, drafting=drafting)
    for request in requests:
        loop.take(Announced(request.request_id))
        loop.take(Prepared(request, list(prompt), 0.0))
    texts, ends = {request.request_id: "" for request in requests}, {}
    while loop.has_work:
        for message in loop.step():
            assert isinstance(message, Outputs)
            for output in message.items:
                if isinstance(output.delta, Text):
                    texts[output.request_id] += output.delta.text
                if isinstance(output.delta, Finish):
                    ends[output.request_id] = output.delta
    assert runner._samplers == {}
    return texts, ends


def request(name="a", **fields):
    return make_request("", request_id=name, **{"max_tokens": 150, **fields})


def both(make, *requests):
    """Return what guessing changes: runner, text and end with it; the text is as without."""
    plain = make()
    expected, expected_ends = write(plain, requests)
    runner = make()
    texts, ends = write(runner, requests, Drafting(runner, 31, Eager()))
    assert texts == expected
    for name, end in ends.items():
        assert end.reason is expected_ends[name].reason
        assert end.usage.completion_tokens == expected_ends[name].usage.completion_tokens
        assert end.usage.accepted_tokens <= end.usage.completion_tokens
    return plain, runner, ends


def test_copy_takes_few_steps_and_is_told_in_the_usage():
    plain, runner, ends = both(Watched, request())
    assert runner.num_steps < plain.num_steps / 5
    usage = ends["a"].usage
    assert 100 < usage.accepted_tokens <= usage.drafted_tokens


def test_least_and_most_length_stop_strings_and_bans_are_kept():
    for fields in (
        {"max_tokens": 77},
        {"stop": ("ree; one t",)},
        {"stop": ("ree;",), "min_tokens": 60},
        {"banned_strings": ("three; one two three; one",)},
        {"logprobs": True, "top_logprobs": 2},
    ):
        both(Watched, request(**fields))


def test_step_stays_small_and_row_within_the_runner():
    for slots, batch in ((1, 128), (3, 128), (3, 17)):
        _, runner, _ = both(
            lambda slots=slots, batch=batch: Watched(slots=slots, max_batch_tokens=batch),
            *(request(f"r{i}", owner=f"o{i}") for i in range(slots)),
        )
        drafted = [rows for rows in runner.rows if any(row.num_draft for row in rows)]
        assert drafted
        most = max(sum(len(row.tokens) for row in rows) for rows in drafted)
        assert most <= min(MAX_STEP_TOKENS, batch)


def test_guesses_take_no_cell_from_others():
    _, runner, _ = both(
        lambda: Watched(slots=2, kv_cells=700, context_length=400),
        request("a"),
        request("b", owner="bob"),
    )
    assert any(row.num_draft for rows in runner.rows for row in rows)


def test_background_is_guessed_only_when_alone():
    background = {"priority": Priority.BACKGROUND}
    _, runner, _ = both(Watched, request(**background))
    assert any(row.num_draft for rows in runner.rows for row in rows)
    _, runner, _ = both(Watched, request(**background), request("b", **background))
    beside = [rows for rows in runner.rows if len(rows) > 1]
    assert beside
    assert not any(row.num_draft for rows in beside for row in rows)


def test_failed_step_with_guesses_is_done_again_without():
    runner = Watched()
    texts, _ = write(runner, [request()], Drafting(runner, 31, Eager()))
    first = next(i for i, rows in enumerate(runner.rows, 1) if rows[0].num_draft)
    unlucky = Watched(failing={first})
    again, _ = write(unlucky, [request()], Drafting(unlucky, 31, Eager()))
    assert again == texts
    assert unlucky.rows[first][0].num_draft == 0
    assert any(rows[0].num_draft for rows in unlucky.rows[first + 1 :])


def test_memory_that_drops_no_tail_ends_guessing(caplog):
    _, runner, _ = both(
        lambda: Watched(can_cut=False), request(max_tokens=400), request("b", max_tokens=400)
    )
    numbers = [i for i, rows in enumerate(runner.rows) if any(row.num_draft for row in rows)]
    assert len(numbers) < 40
    assert sum("Speculation is off" in record.message for record in caplog.records) == 1


def test_row_without_a_choice_fails_at_the_same_place():
    prompt = list(b"user: say " + b"one two NaN! " * 4 + b"\nassistant: ")

    def told(max_draft):
        runner = Watched(slots=1)
        drafting = Drafting(runner, max_draft, Eager())
        loop = GenerationLoop(runner, PrefillBudget(64, 0.01), lambda: 0.0, drafting=drafting)
        loop.take(Announced("a"))
        loop.take(Prepared(request(), prompt, 0.0))
        messages = []
        while loop.has_work:
            messages += loop.step()
        assert runner._samplers == {}
        return (
            runner,
            "".join(
                output.delta.text
                for message in messages
                if isinstance(message, Outputs)
                for output in message.items
                if isinstance(output.delta, Text)
            ),
            [message for message in messages if isinstance(message, RequestError)],
        )

    plain, text, failures = told(0)
    runner, again, failures_again = told(31)
    assert again == text
    assert failures_again == failures
    assert len(failures) == 1
    assert runner.num_steps < plain.num_steps


def test_guesses_are_charged_to_the_owner():
    runner = Watched(slots=1)
    drafting = Drafting(runner, 31, Eager())
    loop = GenerationLoop(runner, PrefillBudget(64, 0.01), lambda: 0.0, drafting=drafting)
    loop.take(Announced("a"))
    loop.take(Prepared(request(), list(COPY), 0.0))
    while loop.has_work:
        loop.step()
    drafted = sum(row.num_draft for rows in runner.rows for row in rows)
    num_writing = sum(row.sample for rows in runner.rows for row in rows)
    num_read = len(COPY)
    assert loop._scheduler._served.of("ann") == num_read + num_writing + drafted


PROSE = list(b"user: Tell me about the sea.\nassistant: ")
# Says something else at every place, and goes on.
PLAIN = {"temperature": 0.5, "seed": 1, "ignore_eos": True}


def with_model(drafter, *, control=None, looks_up=True, clock=lambda: 0.0):
    model = ModelDraft(drafter, clock)
    return Drafting(drafter.runner, 31, control or Eager(), model, looks_up=looks_up)


def test_draft_model_saves_steps_where_nothing_was_said_before():
    plain = Watched(slots=1)
    expected, _ = write(plain, [request(**PLAIN)], prompt=PROSE)
    runner = Watched(slots=1)
    drafter = FakeDrafter(runner)
    texts, ends = write(runner, [request(**PLAIN)], with_model(drafter), prompt=PROSE)
    assert texts == expected
    assert runner.num_steps < plain.num_steps / 3
    usage = ends["a"].usage
    assert usage.accepted_tokens > usage.completion_tokens / 2
    assert usage.accepted_tokens <= usage.drafted_tokens


def test_draft_model_is_not_asked_where_the_text_repeats_itself():
    runner = Watched(slots=1)
    drafter = FakeDrafter(runner)
    both_ways, _ = write(runner, [request()], with_model(drafter))
    asked = sum(drafter.num_rows)
    alone = Watched(slots=1)
    only_model = FakeDrafter(alone)
    texts, _ = write(alone, [request()], with_model(only_model, looks_up=False))
    assert texts == both_ways
    assert asked < sum(only_model.num_rows)


def test_rows_are_asked_about_together():
    runner = Watched(slots=3)
    drafter = FakeDrafter(runner)
    requests = [request(f"r{i}", owner=f"o{i}", **PLAIN) for i in range(3)]
    write(runner, requests, with_model(drafter), prompt=PROSE)
    assert max(drafter.num_rows) == 3


def test_long_prompt_is_caught_up_with_piece_by_piece_while_replies_go_on():
    runner = Watched(slots=1)
    drafter = FakeDrafter(runner)
    write(runner, [request(**PLAIN)], with_model(drafter), prompt=list(b"x" * 200) + PROSE)
    assert max(drafter.reads) <= 16
    assert sum(drafter.reads[:10]) > 100
    first = next(i for i, rows in enumerate(runner.rows) if rows[0].num_draft)
    waited = [rows for rows in runner.rows[:first] if rows[0].sample]
    assert len(waited) >= 200 // 16  # nobody's reply stood still meanwhile


@pytest.mark.parametrize("error", [EngineError("no room"), IndexError("a bug")])
@pytest.mark.parametrize("fails_at", [1, 3, 9])
def test_draft_model_that_fails_is_told_once_and_replies_go_on(caplog, error, fails_at):
    expected, _ = write(Watched(slots=1), [request(**PLAIN)], prompt=PROSE)
    runner = Watched(slots=1)
    drafter = FakeDrafter(runner, fails_at=fails_at, error=error)
    texts, _ = write(runner, [request(**PLAIN)], with_model(drafter), prompt=PROSE)
    assert texts == expected
    assert drafter.num_calls == fails_at
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == 1
    assert ("no room" if fails_at and isinstance(error, EngineError) else "IndexError") in told[0]
    assert "a bug" not in told[0]  # nobody knows what it quotes


def test_guess_that_would_end_the_reply_is_not_checked():
    runner = Watched(slots=1)
    drafter = FakeDrafter(runner)
    # It ends by itself, and the draft model knows.
    write(runner, [request()], with_model(drafter, looks_up=False), prompt=list(COPY))
    assert not any(runner.is_eog(token) for rows in runner.rows for token in rows[0].tokens)


def test_guesses_stay_within_the_context_of_the_draft_model():
    expected, _ = write(Watched(slots=1), [request(**PLAIN)], prompt=PROSE)
    runner = Watched(slots=1)
    drafter = FakeDrafter(runner, context_length=len(PROSE) + 30)
    drafting = with_model(drafter, looks_up=False)
    assert write(runner, [request(**PLAIN)], drafting, prompt=PROSE)[0] == expected
    assert drafting._model._is_on
    assert 0 < drafter.num_guessed <= 60


def test_time_of_the_draft_model_says_nothing_about_steps_of_the_other():
    seen = []

    class Listening(Eager):
        def note(self, num_rows, num_extra, num_made, step_s, guessing_s):
            seen.append((num_extra, step_s, guessing_s))

        def note_reading(self, num_rows, num_tokens, took_s):
            seen.append(("read", num_tokens, took_s))

    clock = itertools.count()
    runner = Watched(slots=1)
    drafter = FakeDrafter(runner)
    drafting = with_model(drafter, control=Listening(), clock=lambda: next(clock))
    write(runner, [request(**PLAIN)], drafting, prompt=PROSE, clock=lambda: next(clock))
    read = [entry for entry in seen if entry[0] == "read"]
    assert sum(num for _, num, _ in read) >= len(PROSE) - 1 - 4
    assert all(took_s == 1 for _, _, took_s in read)
    # A look at the clock takes a second. Without the draft model a step takes one, asking it
    # two more; reading is left out of the two that it takes.
    told = {(num > 0, step_s, guess_s) for num, step_s, guess_s in seen if num != "read"}
    assert told == {(False, 2, 0.0), (True, 3, 1), (True, 4, 1)}


def test_next_reply_begins_with_what_is_known_of_the_draft_model():
    chances = []

    class Listening(Eager):
        def choose(self, guesses):
            chances.append(guesses[0].acceptance.chance)
            return super().choose(guesses)

    runner = Watched(slots=1)
    drafting = with_model(FakeDrafter(runner, right_for=1), control=Listening(), looks_up=False)
    write(runner, [request("a", **PLAIN)], drafting, prompt=PROSE)
    first = len(chances)
    assert chances[0] > 0.5
    write(runner, [request("b", **PLAIN)], drafting, prompt=PROSE)
    assert chances[first] < 0.2


class TestFakeDrafter(DrafterContract):
    @pytest.fixture
    def drafter(self):
        runner = Watched(slots=2)
        for slot in range(2):
            runner.open_sampler(slot, SamplingParams(temperature=0), [0])
        return FakeDrafter(runner)


def drafted(*requests):
    """Write requests one after the other in one slot; return the loop and the draft model."""
    drafter = FakeDrafter(Watched(slots=1))
    loop = GenerationLoop(
        drafter.runner, PrefillBudget(64, 0.01), lambda: 0.0, drafting=with_model(drafter)
    )
    for one in requests:
        loop.take(Announced(one.request_id))
        loop.take(Prepared(one, PROSE, 0.0))
        while loop.has_work:
            loop.step()
    return loop, drafter


@pytest.mark.parametrize("is_kept", [True, False])
def test_draft_model_keeps_nothing_of_a_reply_that_must_leave_no_trace(is_kept):
    _, drafter = drafted(request(keep_state=is_kept, **PLAIN))
    assert drafter.num_guessed
    assert bool(drafter._cells.get(0)) is is_kept


@pytest.mark.parametrize(
    ("purged", "is_gone"),
    [(("ann", None), True), (("ann", "c1"), True), (("ann", "c2"), False), (("bob", None), False)],
)
def test_draft_model_forgets_what_is_purged(purged, is_gone):
    loop, drafter = drafted(request(conversation_id="c1", **PLAIN))
    loop.take(Purged(*purged))
    assert bool(drafter._cells.get(0)) is not is_gone


def test_draft_model_forgets_a_conversation_that_another_one_followed():
    few = {**PLAIN, "max_tokens": 1}
    loop, drafter = drafted(
        request("1", conversation_id="c1", **PLAIN), request("2", conversation_id="c2", **few)
    )
    assert drafter._cells.get(0)
    loop.take(Purged("ann", "c1"))
    assert not drafter._cells.get(0)


@pytest.mark.parametrize(("owner", "is_kept"), [("ann", True), ("bob", False)])
def test_draft_model_reads_for_each_owner_anew(owner, is_kept):
    """How long it reads would tell what another wrote."""
    few = {**PLAIN, "max_tokens": 1}
    _, drafter = drafted(request("1", **PLAIN), request("2", owner=owner, **few))
    assert bool(drafter._cells.get(0)) is is_kept
