"""The tree: what may follow what, who may see it, and who hears of it."""

import asyncio

import pytest

from webui.actor import Actor
from webui.chat.events import ConversationChanged, Reasoning
from webui.chat.events import Text as TextEvent
from webui.engine.interface import Text
from webui.errors import Conflict, InvalidRequest, NotFound, PermissionDenied
from webui.sampling_params import SamplingParams

pytestmark = pytest.mark.integration


async def answered(house, engine, finish, text="Hello", answer="Hi"):
    """Make a conversation with one answered question; returns id, question, reply."""
    conversation_id, turn = await house.begin(text)
    engine.put(Text(answer, 1), finish)
    await house.ended(turn)
    return conversation_id, turn.messages[0], turn.messages[1]


def said(request):
    return [(m.role.value, m.text) for m in request.messages]


async def test_send_returns_both_rows_and_names_the_conversation(house):
    conversation_id, turn = await house.begin("  First\nwords " + "and more " * 20)
    question, reply = turn.messages
    assert (question.role, question.status, question.parent_id) == ("user", "complete", None)
    assert (reply.role, reply.status, reply.parent_id) == ("assistant", "pending", question.id)
    assert turn.generation.message_id == reply.id
    assert turn.conversation.title.startswith("First words and more")
    assert len(turn.conversation.title) <= 60
    assert turn.conversation.active_leaf_id == reply.id
    assert turn.conversation.running
    transcript = await house.conversations.get(house.me, conversation_id)
    assert transcript.generation == turn.generation
    assert [m.id for m in transcript.messages] == [m.id for m in turn.messages]
    assert transcript.conversation == turn.conversation


async def test_second_message_has_the_history_and_keeps_the_title(house, engine, finish):
    await house.parameters.save(house.me, {"system_prompt": "Be kind", "seed": 5})
    conversation_id, _, reply = await answered(house, engine, finish)
    turn = await house.conversations.send(house.me, conversation_id, reply.id, "And now?")
    engine.put(finish)
    await house.ended(turn)
    assert turn.conversation.title == "Hello"
    request = engine.requests[-1]
    assert said(request) == [
        ("system", "Be kind"),
        ("user", "Hello"),
        ("assistant", "Hi"),
        ("user", "And now?"),
    ]
    assert request.params == SamplingParams(seed=5)
    assert (request.owner, request.conversation_id) == ("local", conversation_id)
    assert not request.continue_last


async def test_own_title_is_kept(house):
    view = await house.conversations.create(house.me, "Mine")
    turn = await house.conversations.send(house.me, view.id, None, "Hello")
    assert turn.conversation.title == "Mine"


@pytest.mark.parametrize("text", ["", " \n", "\0", "a\ud800", "x" * 1_000_001])
async def test_send_refuses_what_is_no_message_and_saves_nothing(house, text):
    view = await house.conversations.create(house.me)
    with pytest.raises(InvalidRequest) as caught:
        await house.conversations.send(house.me, view.id, None, text)
    assert caught.value.field == "text"
    assert (await house.conversations.get(house.me, view.id)).messages == []


async def test_send_below_a_question_or_a_stranger_is_refused(house, engine, finish):
    conversation_id, question, _ = await answered(house, engine, finish)
    _, _, foreign = await answered(house, engine, finish)
    with pytest.raises(InvalidRequest) as caught:
        await house.conversations.send(house.me, conversation_id, question.id, "x")
    assert caught.value.field == "parent_id"
    with pytest.raises(NotFound):
        await house.conversations.send(house.me, conversation_id, foreign.id, "x")
    assert len((await house.conversations.get(house.me, conversation_id)).messages) == 2


async def test_second_run_in_a_conversation_is_a_conflict(house, engine, finish):
    conversation_id, turn = await house.begin()
    reply = turn.messages[1]
    for call in (
        house.conversations.send(house.me, conversation_id, None, "x"),
        house.conversations.retry(house.me, conversation_id, reply.id),
        house.conversations.continue_reply(house.me, conversation_id, reply.id),
    ):
        with pytest.raises(Conflict):
            await call
    both = await asyncio.gather(
        house.begin(),
        house.begin(),
    )
    assert len({conversation_id for conversation_id, _ in both}) == 2


async def test_double_click_on_send_makes_one_turn(house):
    view = await house.conversations.create(house.me)
    sends = [house.conversations.send(house.me, view.id, None, "x") for _ in range(3)]
    outcomes = await asyncio.gather(*sends, return_exceptions=True)
    assert sum(isinstance(outcome, Conflict) for outcome in outcomes) == 2
    assert len((await house.conversations.get(house.me, view.id)).messages) == 2


async def test_retry_makes_a_sibling_that_reads_the_same_history(house, engine, finish):
    conversation_id, question, reply = await answered(house, engine, finish)
    turn = await house.conversations.retry(house.me, conversation_id, reply.id)
    (other,) = turn.messages
    assert (other.parent_id, other.id != reply.id) == (question.id, True)
    assert turn.conversation.active_leaf_id == other.id
    engine.put(Text("Other", 1), finish)
    await house.ended(turn)
    assert said(engine.requests[-1]) == [("user", "Hello")]
    transcript = await house.conversations.get(house.me, conversation_id)
    assert [m.text for m in transcript.messages] == ["Hello", "Hi", "Other"]


async def test_retry_and_continue_are_for_replies(house, engine, finish):
    conversation_id, question, _ = await answered(house, engine, finish)
    for call in (
        house.conversations.retry(house.me, conversation_id, question.id),
        house.conversations.continue_reply(house.me, conversation_id, question.id),
    ):
        with pytest.raises(InvalidRequest):
            await call


async def test_continue_appends_to_the_same_row(house, engine, finish):
    conversation_id, turn = await house.begin()
    engine.put(Text("Once upon \n", 2))
    await house.told(turn, TextEvent)
    await house.stop(turn)
    reply = turn.messages[1]
    turn = await house.conversations.continue_reply(house.me, conversation_id, reply.id)
    (view,) = turn.messages
    assert (view.id, view.status, view.text) == (reply.id, "streaming", "Once upon \n")
    assert (view.error, view.finish_reason) == (None, None)
    engine.put(Text(" \na time", 2), finish)
    event = await house.ended(turn)
    request = engine.requests[-1]
    assert request.continue_last
    assert said(request) == [("user", "Hello"), ("assistant", "Once upon")]
    assert event.message.text == "Once upon \na time"
    assert event.message.usage.completion_tokens == 4
    row = await house.row(conversation_id, reply.id)
    assert row == event.message


async def test_continue_goes_on_with_reasoning(house, engine, finish):
    conversation_id, turn = await house.begin()
    engine.put(Text("<think>\nWell, ", 2))
    await house.told(turn, Reasoning)
    await house.stop(turn)
    turn = await house.conversations.continue_reply(house.me, conversation_id, turn.messages[1].id)
    engine.put(Text(" then</think>\n\nYes", 2), finish)
    event = await house.ended(turn)
    assert said(engine.requests[-1])[-1] == ("assistant", "<think>\nWell,")
    assert (event.message.reasoning, event.message.text) == ("Well, then", "Yes")


async def test_continue_of_an_empty_reply_begins_anew_in_the_same_row(house, engine, finish):
    conversation_id, turn = await house.begin()
    await house.stop(turn)
    reply = turn.messages[1]
    turn = await house.conversations.continue_reply(house.me, conversation_id, reply.id)
    engine.put(Text("<think>a</think>b", 2), finish)
    event = await house.ended(turn)
    assert not engine.requests[-1].continue_last
    assert said(engine.requests[-1]) == [("user", "Hello")]
    assert (event.message.id, event.message.text) == (reply.id, "b")


async def test_continue_only_at_the_end_of_a_branch(house, engine, finish):
    conversation_id, _, reply = await answered(house, engine, finish)
    turn = await house.conversations.send(house.me, conversation_id, reply.id, "More")
    engine.put(finish)
    await house.ended(turn)
    with pytest.raises(InvalidRequest) as caught:
        await house.conversations.continue_reply(house.me, conversation_id, reply.id)
    assert caught.value.field == "message_id"


async def test_edit_makes_a_sibling_and_runs_nothing(house, engine, finish):
    conversation_id, question, reply = await answered(house, engine, finish)
    turn = await house.conversations.edit(house.me, conversation_id, reply.id, "Mine")
    (other,) = turn.messages
    assert (other.parent_id, other.role, other.text, other.status) == (
        question.id,
        "assistant",
        "Mine",
        "complete",
    )
    assert turn.generation is None
    assert turn.conversation.active_leaf_id == other.id
    transcript = await house.conversations.get(house.me, conversation_id)
    assert [m.text for m in transcript.messages] == ["Hello", "Hi", "Mine"]
    with pytest.raises(InvalidRequest):
        await house.conversations.edit(house.me, conversation_id, reply.id, " ")


async def test_edited_question_is_sent_beside_the_old_one(house, engine, finish):
    conversation_id, _, _ = await answered(house, engine, finish)
    turn = await house.conversations.send(house.me, conversation_id, None, "Better")
    engine.put(finish)
    await house.ended(turn)
    assert said(engine.requests[-1]) == [("user", "Better")]
    assert turn.conversation.title == "Hello"


async def test_active_leaf_is_any_message_of_the_conversation(house, engine, finish):
    conversation_id, question, _ = await answered(house, engine, finish)
    view = await house.conversations.set_active_leaf(house.me, conversation_id, question.id)
    assert view.active_leaf_id == question.id
    _, foreign, _ = await answered(house, engine, finish)
    for wrong in (foreign.id, "nothing"):
        with pytest.raises(NotFound):
            await house.conversations.set_active_leaf(house.me, conversation_id, wrong)


async def test_list_is_newest_first_by_pages_without_empty_ones(house, engine, finish):
    ids = [(await answered(house, engine, finish, text=f"c{i}"))[0] for i in range(3)]
    await house.conversations.create(house.me)
    page = await house.conversations.list(house.me, limit=2)
    assert [view.id for view in page.conversations] == [ids[2], ids[1]]
    rest = await house.conversations.list(house.me, limit=2, before=page.next)
    assert ([view.id for view in rest.conversations], rest.next) == ([ids[0]], None)
    with pytest.raises(InvalidRequest):
        await house.conversations.list(house.me, before="x")
    assert (await house.conversations.list(house.other)).conversations == []


async def test_list_says_which_are_running(house):
    _, turn = await house.begin()
    (view,) = (await house.conversations.list(house.me)).conversations
    assert view.running
    await house.stop(turn)
    (view,) = (await house.conversations.list(house.me)).conversations
    assert not view.running


async def test_delete_stops_the_reply_and_restore_brings_all_back(house, engine):
    conversation_id, turn = await house.begin()
    engine.put(Text("half", 1))
    await house.told(turn, TextEvent)
    await house.conversations.delete(house.me, conversation_id)
    await house.ended(turn)
    assert engine.num_ended == 1
    assert engine.purged == [("local", conversation_id)]
    assert house.generations.running(conversation_id) is None
    with pytest.raises(NotFound):
        await house.conversations.get(house.me, conversation_id)
    assert (await house.conversations.list(house.me)).conversations == []
    view = await house.conversations.restore(house.me, conversation_id)
    assert (view.title, view.running) == ("Hello", False)
    transcript = await house.conversations.get(house.me, conversation_id)
    assert [(m.text, m.status) for m in transcript.messages] == [
        ("Hello", "complete"),
        ("half", "stopped"),
    ]


async def test_changes_are_told_to_their_owner(house, engine, finish):
    cursor = house.events.cursor("local")
    others = house.events.cursor("other")
    conversation_id, _, _ = await answered(house, engine, finish)
    await house.conversations.rename(house.me, conversation_id, " New \n name ")
    await house.conversations.delete(house.me, conversation_id)
    await house.conversations.restore(house.me, conversation_id)
    told = []
    async for entry in house.follow("local", cursor):
        if isinstance(entry.event, ConversationChanged):
            told.append(entry.event)
        if len(told) == 5:
            break
    assert [e.conversation and (e.conversation.title, e.conversation.running) for e in told] == [
        ("Hello", True),
        ("Hello", False),
        ("New name", False),
        None,
        ("New name", False),
    ]
    assert told[3].deleted_id == conversation_id
    versions = [e.conversation.version for e in told if e.conversation]
    assert versions == sorted(set(versions))
    assert house.events.cursor("other") == others


async def test_somebody_elses_conversation_does_not_exist(house, engine, finish):
    conversation_id, question, reply = await answered(house, engine, finish)
    running_id, running = await house.begin()
    use_cases = house.conversations
    for name in (conversation_id, running_id, "nothing"):
        for call in (
            use_cases.get(house.other, name),
            use_cases.rename(house.other, name, "x"),
            use_cases.set_active_leaf(house.other, name, reply.id),
            use_cases.delete(house.other, name),
            use_cases.restore(house.other, name),
            use_cases.send(house.other, name, None, "x"),
            use_cases.send(house.other, name, reply.id, "x"),
            use_cases.retry(house.other, name, reply.id),
            use_cases.continue_reply(house.other, name, reply.id),
            use_cases.edit(house.other, name, question.id, "x"),
        ):
            with pytest.raises(NotFound):
                await call
    assert house.generations.running(running_id) == running.generation


async def test_without_the_permission_nothing_is_changed(house):
    guest = Actor("local", "Guest", frozenset())
    conversation_id, turn = await house.begin()
    for call in (
        house.conversations.create(guest),
        house.conversations.send(guest, conversation_id, None, "x"),
        house.conversations.delete(guest, conversation_id),
    ):
        with pytest.raises(PermissionDenied):
            await call
    assert house.generations.running(conversation_id) == turn.generation


async def test_asker_who_goes_away_leaves_a_running_reply(house, engine, finish):
    view = await house.conversations.create(house.me)
    cursor = house.events.cursor("local")
    asker = asyncio.ensure_future(house.conversations.send(house.me, view.id, None, "x"))
    await asyncio.sleep(0)
    asker.cancel()
    engine.put(Text("answer", 1), finish)
    async with asyncio.timeout(30):
        async for entry in house.follow("local", cursor):
            if getattr(entry.event, "message", None):
                break
    transcript = await house.conversations.get(house.me, view.id)
    assert [m.text for m in transcript.messages] == ["x", "answer"]


async def test_snapshot_that_a_change_overtook_is_read_again(house):
    view = await house.conversations.create(house.me)

    async def send_meanwhile():
        house.database.after_read = None
        await house.conversations.send(house.me, view.id, None, "x")

    house.database.after_read = send_meanwhile
    transcript = await house.conversations.get(house.me, view.id)
    assert transcript.generation is not None
    assert [m.role for m in transcript.messages] == ["user", "assistant"]
