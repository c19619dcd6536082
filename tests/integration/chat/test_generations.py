"""Running replies: saved before they are told, kept whatever happens."""

import asyncio
import logging
from contextlib import aclosing

import msgspec
import pytest

from webui.actor import Actor
from webui.chat.events import Done, Failed, Hello, LeftOut, Loading, Notice, Prefill, Queued
from webui.chat.events import Text as TextEvent
from webui.chat.views import LeftOutView
from webui.engine import interface as engine_interface
from webui.engine.interface import EngineState, FinishReason, Priority, Reseeded, Text
from webui.engine.pool import EnginePool
from webui.errors import (
    Busy,
    Conflict,
    ContextLengthExceeded,
    EngineDied,
    EngineError,
    ModelNotLoaded,
    NotFound,
    PermissionDenied,
    StorageBusy,
    StorageFull,
)
from webui.messages import Message, Role
from webui.sampling_params import SamplingParams

pytestmark = pytest.mark.integration


async def test_rows_are_committed_before_the_engine_is_asked(house, engine, finish):
    found = []

    async def look():
        async with asyncio.timeout(30):
            transcript = await house.conversations.get(house.me, conversation_id)
        found.extend((m.role, m.text, m.status) for m in transcript.messages)

    view = await house.conversations.create(house.me)
    conversation_id = view.id
    engine.on_request = look
    engine.put(finish)
    turn = await house.conversations.send(house.me, view.id, None, "Hi")
    await house.ended(turn)
    assert found == [("user", "Hi", "complete"), ("assistant", "", "pending")]


async def test_reply_is_saved_when_done_is_told(house, engine, finish):
    conversation_id, turn = await house.begin()
    engine.put(
        engine_interface.Queued(1),
        engine_interface.Prefill(3, 7, 1),
        Text("Hello", 1),
        Text(" world", 1),
        finish,
    )
    event = await house.ended(turn)
    row = await house.row(conversation_id, turn.generation.message_id)
    assert row == event.message
    assert (row.status, row.text, row.finish_reason, row.model) == (
        "complete",
        "Hello world",
        "stop",
        "scripted",
    )
    assert row.usage.prompt_tokens == 7
    assert row.timings.decode_s == 0.2
    kinds = [type(e.event) async for e in take_until_done(house, turn)]
    assert kinds == [Queued, Prefill, TextEvent, Done]


async def test_time_of_thinking_is_saved(house, engine, finish):
    conversation_id, turn = await house.begin()
    engine.put(Text("<think>so", 1), Text(" far", 1), Text("</think>Hello", 1), finish)
    event = await house.ended(turn)
    row = await house.row(conversation_id, turn.generation.message_id)
    assert row == event.message
    assert row.reasoning_s > 0


async def take_until_done(house, turn):
    async for entry in house.follow("local", turn.cursor):
        if isinstance(entry.event, Queued | Prefill | TextEvent | LeftOut | Done):
            yield entry
        if isinstance(entry.event, Done):
            return


async def test_progress_is_saved_while_it_runs(house, engine):
    conversation_id, turn = await house.begin()
    engine.put(Text("half", 1))

    async def saved():
        return (await house.row(conversation_id, turn.generation.message_id)).text == "half"

    await house.until(saved)
    row = await house.row(conversation_id, turn.generation.message_id)
    assert (row.status, row.model) == ("streaming", "scripted")


async def test_progress_of_all_replies_goes_in_one_transaction(house, engine):
    turns = [await house.begin() for _ in range(3)]

    async def asked():
        return len(engine.mailboxes) == 3

    await house.until(asked)
    house.database.writes.clear()
    for index, mailbox in enumerate(engine.mailboxes):
        mailbox.put_nowait(Text(f"t{index}", 1))

    async def saved():
        rows = [await house.row(name, turn.generation.message_id) for name, turn in turns]
        return all(row.text for row in rows)

    await house.until(saved)
    assert house.database.writes == ["save_progress"]


async def test_stop_keeps_the_text_and_estimates_figures(house, engine):
    conversation_id, turn = await house.begin()
    engine.put(engine_interface.Prefill(7, 7), Text("half a", 2))
    await house.told(turn, TextEvent)
    await house.stop(turn)
    row = await house.row(conversation_id, turn.generation.message_id)
    assert (row.status, row.text, row.finish_reason, row.error) == (
        "stopped",
        "half a",
        "abort",
        None,
    )
    assert (row.usage.prompt_tokens, row.usage.completion_tokens) == (7, 2)
    assert engine.num_ended == 1
    assert house.generations.running(conversation_id) is None
    assert isinstance(await house.ended(turn), Done)
    await house.generations.stop(house.me, turn.generation.id)  # it has just ended: fine


async def test_stop_before_the_first_token(house, engine):
    conversation_id, turn = await house.begin()
    await house.stop(turn)
    row = await house.row(conversation_id, turn.generation.message_id)
    assert (row.status, row.text) == ("stopped", "")


async def test_stop_of_somebody_else_is_not_found(house):
    _, turn = await house.begin()
    for actor, name in ((house.other, turn.generation.id), (house.me, "nothing")):
        with pytest.raises(NotFound):
            await house.generations.stop(actor, name)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (EngineDied("The engine stopped", "Send it again"), "interrupted"),
        (ContextLengthExceeded("9000 tokens > 8192"), "error"),
        (Busy("Full"), "error"),
    ],
)
async def test_engine_error_keeps_the_text_and_says_why(house, engine, error, status):
    conversation_id, turn = await house.begin()
    engine.put(Text("half", 1), error)
    event = await house.ended(turn)
    assert isinstance(event, Failed)
    hint = f"What was written so far is kept. {error.hint}" if error.hint else error.hint
    assert (event.code, event.message, event.hint) == (error.code, error.message, hint)
    row = await house.row(conversation_id, turn.generation.message_id)
    assert row == event.message_view
    assert (row.status, row.text, row.error.code) == (status, "half", error.code)


async def test_death_before_the_first_token_does_not_speak_of_text(house, engine):
    _, turn = await house.begin()
    engine.put(EngineDied("The engine stopped", "Send it again"))
    assert (await house.ended(turn)).hint == "Send it again"


async def test_bug_in_the_engine_ends_the_reply_as_internal_error(house, engine, caplog):
    conversation_id, turn = await house.begin()
    engine.put(Text("half", 1), ZeroDivisionError("bug"))
    with caplog.at_level(logging.ERROR):
        event = await house.ended(turn)
    assert (event.code, event.message_view.text) == ("internal_error", "half")
    assert "bug" not in event.message + event.hint
    assert "ZeroDivisionError" in caplog.text
    assert (await house.row(conversation_id, turn.generation.message_id)).status == "error"


async def test_no_model_ends_the_reply_with_what_to_do(open_house):
    async with open_house() as house:
        _, turn = await house.begin()
        event = await house.ended(turn)
        assert (event.code, event.message_view.status) == ("model_not_loaded", "error")
        assert "Model" in event.hint
        assert event.message_view.usage is None


async def test_reply_waits_for_a_loading_model_and_shows_progress(open_house, engine, finish):
    loaded = asyncio.Event()
    tell = []

    async def open_engine(spec, on_progress, on_state):
        tell.append(on_progress)
        await loaded.wait()
        return engine

    class Spec:
        model_id = name = "slow"

    async with open_house(pool=EnginePool(open_engine)) as house:
        load = asyncio.ensure_future(house.pool.load(Spec()))
        await asyncio.sleep(0)
        conversation_id, turn = await house.begin()
        assert (await house.told(turn, Loading)).fraction == 0
        tell[0](0.5)
        _, other = await house.begin()
        assert (await house.told(other, Loading)).fraction == 0.5
        await house.stop(other)
        assert (await house.ended(other)).message.status == "stopped"
        assert house.generations.running(conversation_id) is not None
        loaded.set()
        await load
        engine.put(finish)
        assert (await house.ended(turn)).message.model == "scripted"


async def test_who_waits_in_a_queue_hears_that_the_model_is_started_again(
    open_house, engine, finish
):
    tell = []

    async def open_engine(spec, on_progress, on_state):
        tell.append(on_state)
        return engine

    class Spec:
        model_id = name = "frail"

    async with open_house(pool=EnginePool(open_engine)) as house:
        await house.pool.load(Spec())
        _, waiting = await house.begin()
        engine.put(engine_interface.Queued(1))
        await house.told(waiting, Queued)
        _, running = await house.begin()

        async def both_asked():
            return len(engine.mailboxes) == 2

        await house.until(both_asked)
        engine.put(Text("a", 1))
        await house.told(running, TextEvent)
        engine.state = EngineState.RESTARTING
        tell[0](EngineState.RESTARTING, EngineDied("The engine stopped"))
        assert (await house.told(waiting, Loading)).fraction == 0
        engine.put(finish)
        await house.ended(running)
        assert await count(house, running, Loading) == 1  # told to the one that waits


async def test_storage_full_while_it_runs_loses_nothing(house, engine, finish):
    conversation_id, turn = await house.begin()
    house.database.refusals = [StorageFull("No room"), StorageBusy("Held"), StorageFull("No room")]
    engine.put(Text("a", 1))
    notice = await house.told(turn, Notice)
    assert (notice.code, "No room" in notice.message) == ("storage_full", True)
    assert (await house.conversations.get(house.me, conversation_id)).messages[1].text == "a"

    async def tried():
        return not house.database.refusals

    await house.until(tried)
    engine.put(Text("b", 1), finish)
    assert (await house.ended(turn)).message.text == "ab"
    assert (await house.row(conversation_id, turn.generation.message_id)).text == "ab"
    assert await count(house, turn, Notice) == 1


async def count(house, turn, kind):
    found = 0
    async for entry in house.follow("local", turn.cursor):
        found += isinstance(entry.event, kind)
        if isinstance(entry.event, Done):
            return found
    return found


async def test_storage_full_at_the_end_is_tried_again_before_done(house, engine, finish):
    conversation_id, turn = await house.begin()
    engine.put(Text("all", 1))
    await house.told(turn, TextEvent)
    house.database.refusals = [StorageFull("No room")] * 4
    engine.put(finish)
    await house.told(turn, Notice)
    if house.database.refusals:
        snapshot = await house.conversations.get(house.me, conversation_id)
        assert (snapshot.messages[1].text, snapshot.messages[1].status) == ("all", "streaming")
    assert (await house.ended(turn)).message.status == "complete"
    assert (await house.row(conversation_id, turn.generation.message_id)).text == "all"


async def test_ended_reply_stays_a_minute_for_snapshots(house, engine, finish):
    now = [0.0]
    house.generations._clock = lambda: now[0]
    conversation_id, turn = await house.begin()
    engine.put(finish)
    event = await house.ended(turn)
    assert house.generations.live(conversation_id) == {event.message.id: event.message}
    now[0] = 61
    assert house.generations.live(conversation_id) == {}


async def test_close_keeps_the_text_as_interrupted(house, engine):
    conversation_id, turn = await house.begin()
    engine.put(Text("half", 1))
    await house.told(turn, TextEvent)
    await house.generations.close()
    await house.generations.close()
    row = await house.row(conversation_id, turn.generation.message_id)
    assert (row.status, row.text) == ("interrupted", "half")
    with pytest.raises(Conflict, match="stopped"):
        await house.begin()


async def test_too_many_replies_of_one_person_are_refused(house, engine, finish, monkeypatch):
    monkeypatch.setattr("webui.chat.generations.MAX_RUNNING_PER_OWNER", 2)
    _, turn = await house.begin()
    engine.put(Text("x", 1), finish)
    await house.ended(turn)
    for _ in range(2):
        await house.begin()
    with pytest.raises(Busy) as caught:
        await house.begin()
    assert caught.value.hint == "Wait until one of them has ended, in about 1 s."
    await house.begin(actor=house.other)


async def test_message_for_a_full_queue_is_refused_before_anything_is_saved(house, engine, finish):
    view = await house.conversations.create(house.me)
    engine.is_full = True
    house.database.writes.clear()
    with pytest.raises(Busy, match="full") as caught:
        await house.conversations.send(house.me, view.id, None, "Hello")
    assert caught.value.retry_after_s == 3
    engine.is_full = False
    turn = await house.conversations.send(house.me, view.id, None, "Hello")
    engine.put(Text("Hi", 1), finish)
    await house.ended(turn)
    engine.is_full = True
    with pytest.raises(Busy):
        await house.conversations.retry(house.me, view.id, turn.generation.message_id)
    assert house.database.writes.count("ask") == len(engine.requests) == 1


async def test_who_waits_for_a_model_fills_the_queue_too(open_house, monkeypatch):
    monkeypatch.setattr("webui.chat.generations.MAX_WAITING", 1)
    async with open_house(pool=EnginePool()) as house:
        with house.pool.expecting():
            await house.begin()

            async def waits():
                return house.pool.num_waiting == 1

            await house.until(waits)
            with pytest.raises(Busy, match="1 replies wait for the model"):
                await house.begin(actor=house.other)


async def test_complete_streams_and_ends_with_its_client(house, engine, finish):
    messages = [Message(Role.USER, "a")]
    params = SamplingParams(system_prompt="s", seed=3)
    engine.put(Text("x", 1), Text("y", 1))
    async with aclosing(house.generations.complete(house.me, messages, params)) as deltas:
        assert await anext(deltas) == Text("x", 1)
        assert engine.num_ended == 0
    assert engine.num_ended == 1
    (request,) = engine.requests
    assert request.messages == (Message(Role.SYSTEM, "s"), Message(Role.USER, "a"))
    assert (request.owner, request.conversation_id, request.priority) == (
        "local",
        None,
        Priority.API,
    )
    assert request.params == SamplingParams(seed=3)


async def test_background_completion_says_so_to_the_engine(house, engine, finish):
    engine.put(finish)
    messages = [Message(Role.USER, "a")]
    complete = house.generations.complete
    async with aclosing(
        complete(house.me, messages, SamplingParams(), is_background=True)
    ) as deltas:
        assert [delta async for delta in deltas] == [finish]
    assert engine.requests[-1].priority is Priority.BACKGROUND


async def test_complete_needs_a_model_and_the_permission(open_house):
    async with open_house() as house:
        nobody = Actor("local", "Guest", frozenset())
        for actor, error in ((house.me, ModelNotLoaded), (nobody, PermissionDenied)):
            with pytest.raises(error):
                await anext(house.generations.complete(actor, [], SamplingParams()))


async def test_engine_that_aborts_itself_gives_a_stopped_reply(house, engine, finish):
    _, turn = await house.begin()
    aborted = engine_interface.Finish(FinishReason.ABORT, finish.usage, finish.timings)
    engine.put(aborted)
    assert (await house.ended(turn)).message.status == "stopped"


async def test_what_was_left_out_is_saved_and_told(house, engine, finish):
    conversation_id, turn = await house.begin("one")
    engine.put(Text("two", 1), finish)
    await house.ended(turn)
    first = turn.messages[0]
    turn = await house.conversations.send(
        house.me, conversation_id, turn.generation.message_id, "three"
    )
    engine.put(engine_interface.Trimmed(2, 0), Text("four", 1), engine_interface.Shifted(9), finish)
    event = await house.ended(turn)
    assert event.message.left_out == LeftOutView(2, turn.messages[0].id, 9)
    assert await house.row(conversation_id, turn.generation.message_id) == event.message
    told = [e.event async for e in take_until_done(house, turn)]
    assert [event.left_out.tokens for event in told if isinstance(event, LeftOut)] == [0, 9]
    assert first.id != turn.messages[0].id


async def test_conversation_has_its_own_way_when_the_context_is_full(house, engine, finish):
    view = await house.conversations.create(house.me)
    view = await house.conversations.set_context_overflow(house.me, view.id, "cut_middle")
    assert view.context_overflow == "cut_middle"
    engine.put(Text("two", 1), finish)
    await house.ended(await house.conversations.send(house.me, view.id, None, "one"))
    assert engine.requests[-1].params.context_overflow == "cut_middle"
    await house.conversations.set_context_overflow(house.me, view.id, None)
    transcript = await house.conversations.get(house.me, view.id)
    assert transcript.conversation.context_overflow is None
    engine.put(Text("two", 1), finish)
    await house.ended(
        await house.conversations.retry(house.me, view.id, transcript.messages[-1].id)
    )
    assert engine.requests[-1].params.context_overflow == "stop"
    with pytest.raises(NotFound):
        await house.conversations.set_context_overflow(house.other, view.id, "shift")


async def test_seed_that_was_drawn_is_asked_saved_and_told(house, engine, finish):
    await house.parameters.save(house.me, SamplingParams(top_k=7))
    conversation_id, turn = await house.begin()
    engine.put(Text("a", 1), finish)
    done = await house.ended(turn)
    request = engine.requests[0]
    assert request.is_seed_drawn
    assert turn.messages[1].seeds == done.message.seeds == (request.params.seed,)
    assert done.message.params == {"top_k": 7}
    saved = await house.row(conversation_id, turn.generation.message_id)
    assert (saved.params, saved.seeds) == ({"top_k": 7}, (request.params.seed,))


async def test_seed_that_was_asked_for_is_kept_and_each_part_has_its_own(house, engine, finish):
    await house.parameters.save(house.me, SamplingParams(seed=5))
    conversation_id, turn = await house.begin()
    engine.put(Text("a", 1), msgspec.structs.replace(finish, reason=FinishReason.LENGTH))
    await house.ended(turn)
    assert not engine.requests[0].is_seed_drawn
    await house.parameters.save(house.me, SamplingParams(seed=6))
    again = await house.conversations.continue_reply(
        house.me, conversation_id, turn.generation.message_id
    )
    engine.put(Text("b", 1), finish)
    assert (await house.ended(again)).message.seeds == (5, 6)
    saved = await house.row(conversation_id, turn.generation.message_id)
    assert saved.seeds == (5, 6)


async def test_part_that_wrote_nothing_has_no_seed(house, engine, finish):
    conversation_id, turn = await house.begin()
    message_id, told = turn.generation.message_id, []
    for deltas in ([EngineError("It failed")], [Text("a", 1), finish], [EngineError("It failed")]):
        if told:
            turn = await house.conversations.continue_reply(house.me, conversation_id, message_id)
        engine.put(*deltas)
        end = await house.ended(turn)
        message = end.message if isinstance(end, Done) else end.message_view
        saved = await house.row(conversation_id, turn.generation.message_id)
        assert saved.seeds == message.seeds
        told.append(message.seeds)
    seed = engine.requests[1].params.seed
    assert told == [(), (seed,), (seed,)]


async def test_seed_that_did_not_hold_is_not_told(house, engine, finish):
    conversation_id, turn = await house.begin()
    engine.put(Text("a", 1), Reseeded(), Text("b", 1), finish)
    assert (await house.ended(turn)).message.seeds == (-1,)
    saved = await house.row(conversation_id, turn.generation.message_id)
    assert saved.seeds == (-1,)


async def test_full_context_is_kept_with_the_reply(house, engine, finish):
    conversation_id, turn = await house.begin()
    engine.put(Text("a", 1), msgspec.structs.replace(finish, reason=FinishReason.CONTEXT))
    assert (await house.ended(turn)).message.finish_reason == "context"
    saved = await house.row(conversation_id, turn.generation.message_id)
    assert saved.finish_reason == "context"


async def test_who_comes_late_hears_at_once_what_replies_wait_for(house, engine, finish):
    conversation_id, turn = await house.begin()
    engine.put(engine_interface.Queued(3, 40.0))
    queued = await house.told(turn, Queued)
    snapshot = await house.conversations.get(house.me, conversation_id)
    assert snapshot.generation.phase == queued
    async with aclosing(house.generations.follow(house.me, None)) as batches:
        hello, late = await anext(batches)
        assert (late.event, late.n) == (queued, hello.n)
    async with aclosing(house.generations.follow(house.me, snapshot.cursor)) as batches:
        assert [type(entry.event) for entry in await anext(batches)] == [Hello], "it is known"
    async with aclosing(house.generations.follow(house.other, None)) as batches:
        assert len(await anext(batches)) == 1, "nobody else is told"
    engine.put(Text("a", 1))
    await house.told(turn, TextEvent)
    snapshot = await house.conversations.get(house.me, conversation_id)
    assert snapshot.generation.phase is None
    engine.put(finish)
    await house.ended(turn)
