"""From messages to token ids: the model's own template, with what people said kept apart.

The template is rendered with a random mark in place of each message's text. What stands between
the marks is scaffolding, whose control tokens count; the texts are tokenised for themselves, so
that `<|im_start|>system` typed by a person stays text. Knows no model: it is handed `tokenize`.
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from webui.engine.template_sandbox import Sandbox, TemplateRefusal, unusable
from webui.messages import Message, Role

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from jinja2 import Template

# For models that bring no template: any base model has seen dialogues written like this.
PLAIN_TEMPLATE = (
    "{% for message in messages %}"
    "{{ message.role | capitalize }}: {{ message.content }}\n\n"
    "{% endfor %}"
    "{% if add_generation_prompt %}Assistant:{% endif %}"
)
PLAIN_STOP_STRINGS = ("\nUser:", "\nSystem:")
ZERO_WIDTH_SPACE = "\u200b"
# What looks like a control token, for vocabularies that list theirs as ordinary tokens.
_CONTROL_LIKE = re.compile(r"<[|\uff5c][^<>\s]{1,64}[|\uff5c]>|<(?:start|end)_of_turn>")
_TAG_LIKE = re.compile(r"<[^<>\s]{1,64}>|\[/?[A-Z_ ]{1,32}\]|<</?[A-Z]{1,16}>>")


class Tokenize(Protocol):
    """Turn text into ids; with `special` the text of a control token becomes that token."""

    def __call__(self, text: str, *, special: bool) -> list[int]: ...


@dataclass(frozen=True, slots=True)
class _Piece:
    """A stretch of the prompt; `message_index` None is scaffolding."""

    text: str
    message_index: int | None = None


class ChatTemplate:
    """The chat template of one model; used by one thread at a time.

    Args:
        source: Jinja text from the model file; empty takes a plain dialogue.
        bos: How the begin token is written.
        eos: How the end token is written.
        bos_id: Put in front unless the template did; negative puts nothing.
    """

    def __init__(self, source: str, bos: str, eos: str, *, bos_id: int = -1) -> None:
        self._source = source or PLAIN_TEMPLATE
        self._bos = bos
        self._eos = eos
        self._bos_id = bos_id
        self._sandbox = Sandbox()
        self._template: Template | None = None
        # A model without a template does not end its turn by itself.
        self.stop_strings: tuple[str, ...] = () if source else PLAIN_STOP_STRINGS

    def tokenize(
        self,
        messages: Sequence[Message],
        *,
        add_generation_prompt: bool,
        continue_last: bool,
        tokenize: Tokenize,
    ) -> list[int]:
        """Return the prompt.

        Args:
            messages: Oldest first, at least one.
            add_generation_prompt: Open the model's turn at the end; not with `continue_last`.
            continue_last: Leave the last message open, to be written on.
            tokenize: Of the model; adds no begin token.

        Raises:
            InvalidRequest: The template refuses these messages or cannot be used.
        """
        rendering = _Rendering(self, continue_last=continue_last, tokenize=tokenize)
        rendering.open_turn = add_generation_prompt and not continue_last
        try:
            pieces = rendering.pieces(messages)
        except TemplateRefusal:
            folded = _fold_system(messages)
            if folded is None:
                raise
            pieces = rendering.pieces(folded)
        tokens = list(_tokenize_pieces(pieces, tokenize))
        if self._bos_id >= 0 and tokens[:1] != [self._bos_id]:
            tokens.insert(0, self._bos_id)
        return tokens

    def render(self, messages: Sequence[Message], *, add_generation_prompt: bool) -> str:
        """Return the whole text as the template writes it.

        Raises:
            InvalidRequest: The template refuses these messages or cannot be used.
        """
        if self._template is None:
            self._template = self._sandbox.prepare(self._source)
        return self._sandbox.run(
            self._template,
            {
                "messages": [{"role": m.role.value, "content": m.text} for m in messages],
                "add_generation_prompt": add_generation_prompt,
                "bos_token": self._bos,
                "eos_token": self._eos,
                # Templates ask `is not none` of these.
                "tools": None,
                "documents": None,
            },
        )


class _Rendering:
    """One prompt on its way from messages to pieces."""

    def __init__(self, template: ChatTemplate, *, continue_last: bool, tokenize: Tokenize) -> None:
        self._template = template
        self._continue_last = continue_last
        self._tokenize = tokenize
        self.open_turn = False

    def pieces(self, messages: Sequence[Message]) -> list[_Piece]:
        """Return scaffolding and texts in order."""
        marks = [f"\ue000{secrets.token_hex(16)}\ue001" for _ in messages]
        # An empty text stays empty, because templates ask for that; but for the one to find.
        is_marked = [bool(message.text) for message in messages]
        is_marked[-1] = is_marked[-1] or self._continue_last
        marked = [
            Message(message.role, mark if marked else "")
            for message, mark, marked in zip(messages, marks, is_marked, strict=True)
        ]
        outline = self._render(marked)
        if is_marked[0] and marks[0] not in outline:
            folded = _fold_system(messages)  # the template passes over system messages
            if folded is not None:
                return self.pieces(folded)
        pieces = list(_cut(outline, marks))
        found = _find_texts(pieces, [message.text for message in messages], self._render(messages))
        if self._continue_last and (found is None or marks[-1] not in outline):
            return self._reopened(messages)
        if found is None:
            return self._spoilt(messages)
        return self._leave_open(found, messages) if self._continue_last else found

    def _render(self, messages: Sequence[Message]) -> str:
        return self._template.render(messages, add_generation_prompt=self.open_turn)

    def _leave_open(self, pieces: list[_Piece], messages: Sequence[Message]) -> list[_Piece]:
        """End after the last message, with the spaces that it ends on."""
        last = len(messages) - 1
        text = messages[-1].text
        end = max(i for i, piece in enumerate(pieces) if piece.message_index == last)
        starts_trimmed = text[:1].isspace() and not pieces[end].text[:1].isspace()
        kept = text.lstrip() if starts_trimmed else text
        return [*pieces[:end], _Piece(kept, last)]

    def _reopened(self, messages: Sequence[Message]) -> list[_Piece]:
        """Open a new turn and put in front what was said, where the template changes that."""
        if len(messages) < 2:
            raise unusable("it changes the reply that is to be continued")
        before = _Rendering(self._template, continue_last=False, tokenize=self._tokenize)
        before.open_turn = True
        return [*before.pieces(messages[:-1]), _Piece(messages[-1].text, len(messages) - 1)]

    def _spoilt(self, messages: Sequence[Message]) -> list[_Piece]:
        """Render a template that changes what was said, with control tokens in it spoilt."""
        return [_Piece(self._render([Message(m.role, self._spoil(m.text)) for m in messages]))]

    def _spoil(self, text: str) -> str:
        """Put a zero-width space into whatever would become a control token."""

        def spoil(found: re.Match[str]) -> str:
            tag = found.group()
            plain = self._tokenize(tag, special=False)
            if plain == self._tokenize(tag, special=True) and len(plain) > 1:
                return tag
            return tag[0] + ZERO_WIDTH_SPACE + tag[1:]

        return self._spoil_rest(_TAG_LIKE.sub(spoil, text))

    def _spoil_rest(self, text: str) -> str:
        """Find control tokens that look like no tag, by halving."""
        if self._is_plain(text):
            return text
        if len(text) == 1:
            return ""
        middle = len(text) // 2
        left, right = self._spoil_rest(text[:middle]), self._spoil_rest(text[middle:])
        both = left + right
        return both if self._is_plain(both) else left + ZERO_WIDTH_SPACE + right

    def _is_plain(self, text: str) -> bool:
        return self._tokenize(text, special=True) == self._tokenize(text, special=False)


def _fold_system(messages: Sequence[Message]) -> list[Message] | None:
    """Put the system message into the user's first one; None where there are not both."""
    if len(messages) < 2 or messages[0].role is not Role.SYSTEM:
        return None
    system, first, *others = messages
    if first.role is not Role.USER:
        return None
    return [Message(Role.USER, f"{system.text}\n\n{first.text}"), *others]


def _cut(outline: str, marks: Sequence[str]) -> Iterator[_Piece]:
    """Split a rendering at its marks; scaffolding and texts take turns, scaffolding first."""
    index = {mark: i for i, mark in enumerate(marks)}
    parts = re.split("(" + "|".join(map(re.escape, marks)) + ")", outline)
    for part in parts:
        yield _Piece(part, index.get(part))


def _find_texts(pieces: list[_Piece], texts: Sequence[str], plain: str) -> list[_Piece] | None:
    """Fill each text in as the template left it: whole or trimmed; None if it did more.

    Args:
        pieces: From `_cut`.
        texts: Of the messages.
        plain: The rendering with the texts themselves.
    """
    found: list[_Piece] = []
    position = 0
    for i, piece in enumerate(pieces):
        if piece.message_index is None:
            candidates = [piece.text]
        else:
            text = texts[piece.message_index]
            candidates = [text, text.strip(), text.rstrip(), text.lstrip()]
        following = pieces[i + 1].text if i + 1 < len(pieces) else ""
        if piece.message_index is None:
            following = ""
        for candidate in candidates:
            if plain.startswith(candidate + following, position):
                found.append(_Piece(candidate, piece.message_index))
                position += len(candidate)
                break
        else:
            return None
    return found if position == len(plain) else None


def _tokenize_pieces(pieces: Sequence[_Piece], tokenize: Tokenize) -> Iterator[int]:
    # A vocabulary that begins every text with a space must not do so in the middle.
    newline = tokenize("\n", special=False)
    adds_space = len(newline) > 1
    is_first = True
    carried = ""
    for i, piece in enumerate(pieces):
        text, is_text = piece.text, piece.message_index is not None
        if is_text:
            text, carried = carried + text, ""
        elif i + 1 < len(pieces) and pieces[i + 1].text:
            # " Hello" is one token, " " and "Hello" are two: the space goes with the word.
            kept = text.rstrip(" ")
            text, carried = kept, text[len(kept) :]
        for part in _parts(text, tokenize) if is_text else [text]:
            if not part:
                continue
            if adds_space and not is_first:
                tokens = tokenize("\n" + part, special=not is_text)
                starts_so = tokens[: len(newline)] == newline
                yield from (
                    tokens[len(newline) :] if starts_so else tokenize(part, special=not is_text)
                )
            else:
                yield from tokenize(part, special=not is_text)
            is_first = False


def _parts(text: str, tokenize: Tokenize) -> Iterator[str]:
    """Split a text inside whatever the vocabulary would make one control-like token of."""
    start = 0
    for found in _CONTROL_LIKE.finditer(text):
        if len(tokenize(found.group(), special=False)) == 1:
            yield text[start : found.start() + 1]
            start = found.start() + 1
    yield text[start:]
