import pytest

from tests.unit.engine.contract import make_request
from tests.unit.engine.fake_runner import BOS, FakeOptions, FakeRunner
from webui.engine.interface import Priority
from webui.engine.prompt import PromptMaker
from webui.engine.text_length import COUNTED_CHARS, CUT_TOKENS
from webui.errors import ContextLengthExceeded, InvalidRequest
from webui.messages import Message, Role


class CountingTokenizer(FakeRunner):
    """Takes a run of spaces by its powers of two up to 128, as vocabularies do."""

    num_chars = 0

    def tokenize(self, text, *, special):
        self.num_chars += len(text)
        for power in range(7, 0, -1):
            text = text.replace(" " * 2**power, chr(power))
        return list(text.encode())


def make_runner(context_length=100, kind=FakeRunner):
    return kind(FakeOptions(context_length=context_length))


def test_prompt_begins_with_bos_and_holds_the_template():
    _, prompt = PromptMaker(make_runner()).make(make_request("hi"))
    assert prompt == [BOS, *b"user: hi\nassistant: "]


def test_continued_reply_is_left_open():
    said = (Message(Role.USER, "hi"), Message(Role.ASSISTANT, "well"))
    request = make_request("", messages=said, continue_last=True)
    _, prompt = PromptMaker(make_runner()).make(request)
    assert prompt == [BOS, *b"user: hi\nassistant: well"]


def test_plain_text_is_taken_as_it_stands():
    request = make_request("", messages=(), plain_text="user: x\n")
    taken, prompt = PromptMaker(make_runner()).make(request)
    assert (taken, prompt) == (request, [BOS, *b"user: x\n"])


def test_plain_text_that_begins_with_bos_gets_no_second_one():
    class Spelled(FakeRunner):
        def tokenize(self, text, *, special):
            assert special
            return [BOS, *text.removeprefix("<s>").encode()]

    request = make_request("", messages=(), plain_text="<s>hi")
    assert PromptMaker(make_runner(kind=Spelled)).make(request)[1] == [BOS, *b"hi"]


def test_plain_text_is_bounded_by_the_context():
    maker = PromptMaker(make_runner())
    assert len(maker.make(make_request("", messages=(), plain_text="x" * 99))[1]) == 100
    for size in (100, 100_000):
        with pytest.raises(ContextLengthExceeded):
            maker.make(make_request("", messages=(), plain_text="x" * size))


def test_empty_text_is_its_bos_alone():
    assert PromptMaker(make_runner()).make(make_request("", messages=(), plain_text=""))[1] == [BOS]


def test_prompt_of_exactly_the_context_fits_and_one_more_does_not():
    maker = PromptMaker(make_runner())
    room = 100 - len(b"user: \nassistant: ") - 1
    assert len(maker.make(make_request("x" * room))[1]) == 100
    with pytest.raises(ContextLengthExceeded) as caught:
        maker.make(make_request("x" * (room + 1)))
    assert "101 tokens" in caught.value.message
    assert "holds 100" in caught.value.message
    assert caught.value.field == "messages"


ANSWERED = (Message(Role.USER, "hi"), Message(Role.ASSISTANT, "well"))
LONG = Message(Role.USER, "x" * 200)


@pytest.mark.parametrize(
    ("fields", "begins", "has", "has_not"),
    [
        (
            {"messages": (*ANSWERED, LONG)},
            "The conversation has",
            ("Shorten the message", "new conversation", "When the context is full"),
            ("context_overflow",),
        ),
        (
            {"messages": (LONG,)},
            "The conversation has",
            ("Shorten the message", "new conversation", "longer context"),
            ("older turns",),
        ),
        (
            {"messages": (*ANSWERED, LONG), "priority": Priority.API},
            "The conversation has",
            ("Shorten the message", "(context_overflow)"),
            ("Parameters", "new conversation"),
        ),
        (
            {"messages": (), "plain_text": LONG.text, "priority": Priority.API},
            "The prompt has",
            ("Shorten the prompt or load the model with a longer context.",),
            ("turns", "conversation", "context_overflow"),
        ),
    ],
    ids=["chat", "one turn", "api", "text"],
)
def test_refusal_speaks_of_what_its_reader_can_change(fields, begins, has, has_not):
    with pytest.raises(ContextLengthExceeded) as refusal:
        PromptMaker(make_runner()).make(make_request("", **fields))
    assert refusal.value.message.startswith(begins)
    assert refusal.value.field == ("prompt" if fields.get("plain_text") else "messages")
    for words in has:
        assert words in refusal.value.hint
    for words in has_not:
        assert words not in refusal.value.message + refusal.value.hint


@pytest.mark.parametrize("num_messages", [1, 10])
def test_text_that_is_counted_quickly_is_counted_to_its_end(num_messages):
    said = [Message(Role.USER, "x" * (COUNTED_CHARS // num_messages))] * num_messages
    num_tokens = 1 + COUNTED_CHARS + num_messages * len("user: \n") + len("assistant: ")
    with pytest.raises(ContextLengthExceeded, match=rf"has {num_tokens} tokens; .* holds 100"):
        PromptMaker(make_runner()).make(make_request("", messages=said))


def test_huge_text_is_refused_by_its_beginning():
    runner = make_runner(kind=CountingTokenizer)
    least = COUNTED_CHARS - CUT_TOKENS
    with pytest.raises(ContextLengthExceeded, match=rf"at least {least} tokens; .* holds 100"):
        PromptMaker(runner).make(make_request("x" * 3_000_000))
    assert runner.num_chars == COUNTED_CHARS


def test_many_messages_are_counted_together():
    runner = make_runner(kind=CountingTokenizer)
    said = [Message(Role.USER, "x" * 60)] * 5000
    least = COUNTED_CHARS - CUT_TOKENS
    with pytest.raises(ContextLengthExceeded, match=rf"at least {least} tokens"):
        PromptMaker(runner).make(make_request("", messages=said))
    assert runner.num_chars <= COUNTED_CHARS


def test_long_text_of_few_tokens_is_not_refused():
    runner = make_runner(300, kind=CountingTokenizer)
    request = make_request("a" + " " * (COUNTED_CHARS // 10) + "b")
    assert len(PromptMaker(runner).make(request)[1]) < 300


def test_spaces_that_the_template_may_trim_are_not_counted():
    runner = make_runner()
    runner.chat_template = "{% for m in messages %}{{ m.content | trim }}{% endfor %}"
    _, prompt = PromptMaker(runner).make(make_request("hi" + " " * 5000))
    assert prompt == [BOS, *b"hi"]


def test_empty_conversation_is_refused():
    with pytest.raises(InvalidRequest, match="empty"):
        PromptMaker(make_runner()).make(make_request("", messages=()))


def test_model_without_a_template_stops_where_the_user_would_speak():
    runner = make_runner()
    runner.chat_template = ""
    request, _ = PromptMaker(runner).make(make_request("hi", stop=("x",)))
    assert request.params.stop[0] == "x"
    assert len(request.params.stop) > 1


def test_schema_reaches_the_loop_as_a_grammar():
    maker = PromptMaker(make_runner())
    taken, _ = maker.make(make_request("hi", json_schema='{"type": "boolean"}'))
    assert "root" in taken.grammar
    assert taken.json_schema == ""
    plain, _ = maker.make(make_request("", messages=(), plain_text="x", grammar='root ::= "a"'))
    assert plain.grammar == 'root ::= "a"'


def test_form_that_cannot_be_kept_is_refused_before_anything_is_tokenised():
    runner = make_runner(kind=CountingTokenizer)
    maker = PromptMaker(runner)
    with pytest.raises(InvalidRequest):
        maker.make(make_request("hi", grammar="root ::= root"))
    assert runner.num_chars == 0


class Shared:
    """Requests that begin with an administrator's message."""

    def __init__(self, template=None):
        runner = make_runner(context_length=4000)
        if template is not None:
            runner.chat_template = template
        self.maker = PromptMaker(runner)

    def prefix(self, said, system="Be kind.", num=1):
        """Return what of a prompt serves everybody."""
        messages = (Message(Role.SYSTEM, system), Message(Role.USER, said))
        request = make_request("", messages=messages, num_shared_messages=num)
        request, prompt = self.maker.make(request)
        return bytes(prompt[1 : self.maker.num_shared(request, prompt)])


@pytest.mark.parametrize("said", ["A word more", "7 numbers", "hi", "\n", "assistant: "])
def test_what_serves_everybody_ends_where_somebody_speaks(said):
    assert Shared().prefix(said) == b"system: Be kind.\nuser: "


def test_nothing_serves_everybody_unless_it_is_said_so():
    assert Shared().prefix("hi", num=0) == b""
    assert Shared().prefix("hi", num=2) == b"", "then nothing would be the asker's own"


def test_another_administrators_text_is_not_taken_for_the_latest():
    shared = Shared()
    assert shared.prefix("hi", system="Be kind.") == b"system: Be kind.\nuser: "
    assert shared.prefix("hi", system="Be brief.") == b"system: Be brief.\nuser: "


def test_template_that_puts_the_question_first_shares_nothing_of_it():
    template = "{% for m in messages | reverse %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
    assert Shared(template).prefix("A word more") == b"user: "


def test_template_that_refuses_the_probe_shares_nothing():
    template = (
        "{% if '7 num' in messages[1].content %}{{ raise_exception('no') }}{% endif %}"
        "{% for m in messages %}{{ m.content }}{% endfor %}"
    )
    assert Shared(template).prefix("hi") == b""
