"""From a request to its prompt's tokens and its grammar, or to what is wrong with it.

Runs on the worker's template thread. No request makes it tokenise much more than could fit (see
`text_length`), be it refused in the end; nothing that would fit is refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from webui.engine.answer_grammar import grammar_of
from webui.engine.chat_template import ChatTemplate
from webui.engine.overflow import ContextOverflow
from webui.engine.prompt_border import PromptBorder
from webui.engine.prompt_cut import PromptCut, num_leading_system, too_long
from webui.engine.text_length import TextLength
from webui.errors import ContextLengthExceeded, InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from webui.engine.interface import GenerateRequest
    from webui.engine.runner import ModelRunner
    from webui.messages import Message


class PromptMaker:
    """The template and the tokenizer of one model; used by one thread.

    Args:
        runner: Whose `tokenize` is asked.
    """

    def __init__(self, runner: ModelRunner) -> None:
        bos, eos = runner.bos_eos()
        self._runner = runner
        self._max_tokens = runner.info.context_length
        bos_id = runner.bos_id if runner.add_bos else -1
        self._template = ChatTemplate(runner.chat_template, bos, eos, bos_id=bos_id)
        self._length = TextLength(runner.tokenize, self._max_tokens)
        self._cut = PromptCut(self._max_tokens, self._render, self._length)
        self._shared, self._kept = PromptBorder(self._render), PromptBorder(self._render)

    def make(self, request: GenerateRequest) -> tuple[GenerateRequest, list[int]]:
        """Return the request with the template's own stop strings and its grammar, and its tokens.

        Raises:
            ContextLengthExceeded: The prompt is longer than the context; says by how much, of more
                than can be counted quickly the least it can be.
            InvalidRequest: The template refuses the messages, or the grammar or schema cannot be
                kept, or waited for.
            NothingAllowed: Nothing that keeps to it does without a banned string.
        """
        self._length.forget()
        request = msgspec.structs.replace(request, grammar=grammar_of(request), json_schema="")
        return self._read(request)

    def _read(self, request: GenerateRequest) -> tuple[GenerateRequest, list[int]]:
        if request.plain_text is not None:
            return request, self._plain(request.plain_text, request)
        if not request.messages:
            raise InvalidRequest("The conversation is empty", field="messages")
        request = self._cut.cut(request)
        self._check_length(request, [message.text for message in request.messages])
        prompt = self._render(request.messages, continue_last=request.continue_last)
        if not prompt:
            raise InvalidRequest("The conversation is empty", field="messages")
        if len(prompt) > self._max_tokens:
            raise self._too_long(request, str(len(prompt)))
        own = self._template.stop_strings
        if own:
            stop = (*request.params.stop, *own)
            params = request.params.model_copy(update={"stop": stop})
            request = msgspec.structs.replace(request, params=params)
        return request, prompt

    def forget(self) -> None:
        """Forget the texts of the latest request."""
        self._length.forget()

    def _render(self, messages: Sequence[Message], *, continue_last: bool = False) -> list[int]:
        return self._template.tokenize(
            messages,
            add_generation_prompt=not continue_last,
            continue_last=continue_last,
            tokenize=self._length.tokenize,
        )

    def num_shared(self, request: GenerateRequest, prompt: Sequence[int]) -> int:
        """Return how many tokens at its beginning depend on the administrator's words alone.

        They are what a prompt has in common with two others that go on with something else
        behind those words; so nothing of what anybody typed is ever among them.
        """
        if request.plain_text is not None:
            return 0
        return self._shared.find(
            request.messages,
            prompt,
            num_messages=request.num_shared_messages,
            num_chars=request.num_shared_chars,
        )

    def num_kept(self, request: GenerateRequest, prompt: Sequence[int]) -> int:
        """Return how many tokens at its beginning stay when the context is shifted.

        They are the system prompt's, and where there is none the token that opens every text.
        """
        if request.params.context_overflow != ContextOverflow.SHIFT.value:
            return 0
        num_system = num_leading_system(request.messages)
        num_kept = self._kept.find(request.messages, prompt, num_messages=num_system)
        return num_kept or int(self._runner.add_bos)

    def _plain(self, text: str, request: GenerateRequest) -> list[int]:
        """Return the tokens of a text that is no conversation."""
        self._check_length(request, [text])
        tokens = [*self._length.tokenize(text, special=True)]
        bos_id = self._runner.bos_id
        if self._runner.add_bos and tokens[:1] != [bos_id]:
            tokens.insert(0, bos_id)
        if not tokens:
            raise InvalidRequest("The prompt is empty", field="prompt")
        if len(tokens) > self._max_tokens:
            raise self._too_long(request, str(len(tokens)))
        return tokens

    def _check_length(self, request: GenerateRequest, said: Sequence[str]) -> None:
        """Refuse what is surely too long without tokenising all of it."""
        if (num_tokens := self._length.excess(said)) is not None:
            raise self._too_long(request, f"at least {num_tokens}")

    def _too_long(self, request: GenerateRequest, num_tokens: str) -> ContextLengthExceeded:
        return too_long(request, num_tokens, self._max_tokens)
