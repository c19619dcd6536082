"""What a client of the OpenAI dialect may ask of plain texts, and what it comes to in ours.

A value file, as `chat_request`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import Field, StrictBool

from webui.api.openai.chat_request import Asked, Prompt
from webui.errors import InvalidRequest

if TYPE_CHECKING:
    from webui.sampling_params import SamplingParams

MAX_PROMPTS = 16
MAX_REPLIES = 16  # to all prompts together


class TextRequest(Asked):
    """Body of `POST /v1/completions`."""

    given: Any = Field(alias="prompt")
    logprobs: Any = None
    echo: StrictBool | None = None
    suffix: Any = None

    def prompts(self) -> tuple[Prompt, ...]:
        """Return the texts as the engine reads them.

        Raises:
            InvalidRequest: They are no texts or too many, or something is asked for that we do not
                do.
        """
        self.check_supported()
        if self.suffix:
            raise InvalidRequest(
                "suffix: filling in between two texts is not supported",
                "Leave it out.",
                field="suffix",
            )
        if self.echo and self.params().logprobs:
            raise InvalidRequest(
                "echo: log-probabilities of a prompt are not computed",
                "Leave out echo or the log-probabilities.",
                field="echo",
            )
        return tuple(Prompt(text=text) for text in self._texts())

    def _texts(self) -> list[str]:
        if isinstance(self.given, str):
            return [self.given]
        if not isinstance(self.given, list):
            raise InvalidRequest("prompt must be text or a list of texts", field="prompt")
        for index, text in enumerate(self.given):
            if isinstance(text, int | list):
                raise InvalidRequest(
                    "prompt: lists of token ids are not supported",
                    "Send the texts themselves.",
                    field="prompt",
                )
            if not isinstance(text, str):
                raise InvalidRequest(f"prompt.{index} must be text", field=f"prompt.{index}")
        if not self.given:
            raise InvalidRequest("prompt must not be empty", field="prompt")
        self._check_number(len(self.given))
        return self.given

    def _check_number(self, num_prompts: int) -> None:
        if num_prompts > MAX_PROMPTS:
            raise InvalidRequest(
                f"prompt has {num_prompts} texts; {MAX_PROMPTS} are allowed",
                "Send them in several requests.",
                field="prompt",
            )
        if num_prompts * self.num_choices > MAX_REPLIES:
            raise InvalidRequest(
                f"n: {self.num_choices} replies to each of {num_prompts} texts are more than "
                f"{MAX_REPLIES} in all",
                "Ask for fewer, or send the texts in several requests.",
                field="n",
            )

    def params(self) -> SamplingParams:
        """Return how to sample; `logprobs` is a number here, 0 tells that of each token alone.

        Raises:
            InvalidRequest: A value is out of its range; names the field.
        """
        if self.top_logprobs is not None and self.top_logprobs != 0:
            raise InvalidRequest(
                "top_logprobs: it is for chats",
                "For texts, send the number as logprobs.",
                field="top_logprobs",
            )
        if self.wants_probs:
            return self.with_probs()
        if self.logprobs is None or self.logprobs is False:
            return self.sampling(top_logprobs=0)
        names = {"top_logprobs": "logprobs"}
        return self.checked(self.sampling(names, logprobs=True, top_logprobs=self.logprobs))

    @property
    def wants_probs(self) -> bool:
        """Whether log-probabilities are asked for in llama-server's way; OpenAI's comes first."""
        return (self.logprobs is None or self.logprobs is False) and self.n_probs is not None
