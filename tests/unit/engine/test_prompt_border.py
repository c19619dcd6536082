"""What of a prompt depends on the administrator's words alone, where those end within a message."""

import pytest

from tests.unit.engine.contract import make_request
from tests.unit.engine.fake_runner import FakeOptions, FakeRunner
from webui.engine.prompt import PromptMaker
from webui.messages import Message, Role

SERVER = "Be kind."


class PairsRunner(FakeRunner):
    """Makes one token of two characters each, so that words may be torn and joined anywhere."""

    def tokenize(self, text, *, special):
        pairs = [text[at : at + 2].encode() for at in range(0, len(text), 2)]
        return [int.from_bytes(pair) for pair in pairs]


def within(own, said="hi", server=SERVER, *, template=None, runner=None, maker=None, **fields):
    """Return the tokens that serve everybody; the system message is the server's and one's own."""
    if maker is None:
        maker = maker_of(runner or FakeRunner(FakeOptions(context_length=4000)), template)
    system = Message(Role.SYSTEM, f"{server}\n\n{own}")
    messages = (system, Message(Role.USER, said))
    asked = {"messages": messages, "num_shared_chars": len(server)} | fields
    request, prompt = maker.make(make_request("", **asked))
    return prompt[1 : maker.num_shared(request, prompt)]


def maker_of(runner, template=None):
    if template is not None:
        runner.chat_template = template
    return PromptMaker(runner)


OWN = ["A word", "A word more", "7 numbers", "\n\nhi", SERVER, "assistant: ", "x", "é"]


@pytest.mark.parametrize("own", OWN)
def test_what_serves_everybody_ends_where_ones_own_words_begin(own):
    assert bytes(within(own)) == b"system: Be kind."


@pytest.mark.parametrize("own", OWN)
@pytest.mark.parametrize("server", [SERVER, "Be kin"])
def test_token_that_holds_a_part_of_ones_own_words_serves_nobody(own, server):
    tokens = within(own, server=server, runner=PairsRunner(FakeOptions(context_length=4000)))
    text = b"".join(token.to_bytes(2).lstrip(b"\0") for token in tokens).decode()
    assert f"system: {server}".startswith(text)
    assert len(text) >= len(f"system: {server}") - 2


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        (
            "{% for m in messages %}{{ m.role }}: {{ m.content | replace('kind', 'nice') }}"
            "\n{% endfor %}",
            b"system: Be nice.",
        ),
        (
            "{% for m in messages %}{{ m.role }}: {{ m.content | trim }}\n{% endfor %}",
            b"system: Be kind.",
        ),
        (
            "{% for m in messages %}"
            "{% if m.role == 'system' %}{{ raise_exception('no') }}{% endif %}"
            "{{ m.role }}: {{ m.content }}\n{% endfor %}",
            b"user: Be kind.",
        ),
        (
            "{% for m in messages | reverse %}{{ m.role }}: {{ m.content }}\n{% endfor %}",
            b"user: ",
        ),
        (
            "{{ 'long' if messages[0].content | length > 18 else 'short' }}"
            "{% for m in messages %}{{ m.content }}\n{% endfor %}",
            b"",
        ),
        (
            "{% if '7 num' in messages[0].content %}{{ raise_exception('no') }}{% endif %}"
            "{% for m in messages %}{{ m.content }}{% endfor %}",
            b"",
        ),
    ],
    ids=["changes", "trims", "takes no system", "turns round", "counts", "refuses the probe"],
)
def test_template_that_does_more_shares_nothing_of_ones_own(template, expected):
    assert bytes(within("Own words", template=template)) == expected


def test_words_of_another_administrator_are_not_taken_for_the_latest():
    maker = maker_of(FakeRunner(FakeOptions(context_length=4000)))
    for server in (SERVER, "Be brief.", SERVER):
        for own in ("x", "y"):
            assert bytes(within(own, server=server, maker=maker)) == f"system: {server}".encode()
        whole = {"num_shared_chars": 0, "num_shared_messages": 1}
        shared = within("x", server=server, maker=maker, **whole)
        assert bytes(shared) == f"system: {server}\n\nx\nuser: ".encode()


def test_nothing_serves_everybody_unless_it_is_said_so():
    assert within("Own words", num_shared_chars=0) == []
    assert within("Own words", messages=(), plain_text="Be kind.\n\nOwn words") == []


def test_message_behind_shared_ones_may_begin_with_more():
    messages = (
        Message(Role.SYSTEM, SERVER),
        Message(Role.USER, "Shared question: own"),
        Message(Role.ASSISTANT, "ok"),
        Message(Role.USER, "hi"),
    )
    fields = {"messages": messages, "num_shared_messages": 1, "num_shared_chars": 16}
    assert bytes(within("", **fields)) == b"system: Be kind.\nuser: Shared question:"
