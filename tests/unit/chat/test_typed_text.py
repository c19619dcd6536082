import pytest

from webui.chat.typed_text import (
    MAX_TEXT_BYTES,
    clean_server_prompt,
    clean_text,
    clean_title,
    title_from,
)
from webui.errors import InvalidRequest
from webui.sampling_params import MAX_SYSTEM_PROMPT_CHARS


@pytest.mark.parametrize("text", ["", "  \n\t", "\0\x01", "\u3000"])
def test_text_empty_is_refused_naming_the_field(text):
    with pytest.raises(InvalidRequest) as caught:
        clean_text(text)
    assert caught.value.field == "text"


def test_text_lone_surrogate_is_refused():
    with pytest.raises(InvalidRequest, match="Character 2 ") as caught:
        clean_text("a\ud800")
    assert caught.value.field == "text"


def test_text_control_characters_are_stripped_others_stay():
    assert clean_text(" a\0\x1b[31m\tb\r\n\x07🙂\u202e") == " a[31m\tb\r\n🙂\u202e"


def test_text_size_is_counted_in_bytes():
    assert clean_text("é" * (MAX_TEXT_BYTES // 2))
    with pytest.raises(InvalidRequest, match="1,000,002 bytes"):
        clean_text("é" * (MAX_TEXT_BYTES // 2 + 1))


def test_title_is_one_bounded_line():
    assert clean_title(" a \n b\0 ") == "a b"
    for wrong in ("", " \n", "x" * 201, "\udfff"):
        with pytest.raises(InvalidRequest) as caught:
            clean_title(wrong)
        assert caught.value.field == "title"


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("Hello", "Hello"),
        ("  two\n\nlines\there ", "two lines here"),
        ("word " * 30, "word " * 11 + "word…"),
        ("x" * 200, "x" * 59 + "…"),
        ("a " + "字" * 100, "a " + "字" * 57 + "…"),
    ],
)
def test_title_from_first_words_ends_at_a_border(text, title):
    assert title_from(text) == title
    assert len(title) <= 60


def test_server_prompt_is_bounded_and_may_be_empty():
    assert clean_server_prompt(" \n a\0\n\n b\t\n") == "a\n\n b"
    assert clean_server_prompt(" \0\n") == ""
    assert clean_server_prompt(" " + "é" * MAX_SYSTEM_PROMPT_CHARS + "\n")
    for wrong, said in (("é" * (MAX_SYSTEM_PROMPT_CHARS + 1), "200,001"), ("a\ud800", "half")):
        with pytest.raises(InvalidRequest, match=said) as caught:
            clean_server_prompt(wrong)
        assert caught.value.field == "server_prompt"
