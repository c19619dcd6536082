"""Replies that nobody keeps: for programs, which get them and that is all.

Knows the engine pool and what askers may use; neither rows nor events. A reply ends with whoever
reads it.
"""

from __future__ import annotations

import secrets
from contextlib import aclosing
from typing import TYPE_CHECKING

import msgspec

from webui.actor import Permission
from webui.chat.prompt import api_prompt, engine_params, joined, shared_head
from webui.engine.adapters import scales_of
from webui.engine.answer_form import ANY_FORM
from webui.engine.interface import GenerateRequest, Priority

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from webui.accounts.quotas import Admission, Quotas
    from webui.actor import Actor
    from webui.chat.running import ProgramRequests
    from webui.chat.server_prompt import ServerPrompt
    from webui.engine.adapters import ChosenScale
    from webui.engine.answer_form import AnswerForm
    from webui.engine.interface import Delta
    from webui.engine.pool import EnginePool
    from webui.messages import Message
    from webui.sampling_params import SamplingParams

LOAD_WAIT_S = 3600.0


class Completions:
    """Replies that nobody keeps.

    Args:
        pool: Whose engine writes them.
        quotas: What their askers may use.
        requests: Where they are shown while they are at work.
        server_prompt: What they begin with whose askers send no system message.
    """

    def __init__(
        self,
        pool: EnginePool,
        quotas: Quotas,
        requests: ProgramRequests,
        server_prompt: ServerPrompt,
    ) -> None:
        self._pool = pool
        self._quotas = quotas
        self._requests = requests
        self._server_prompt = server_prompt

    async def complete(  # noqa: PLR0913 - each is a part of what is asked
        self,
        actor: Actor,
        messages: Sequence[Message],
        params: SamplingParams,
        *,
        plain_text: str | None = None,
        continue_last: bool = False,
        form: AnswerForm = ANY_FORM,
        admission: Admission | None = None,
        lora: Sequence[ChosenScale] | None = None,
        is_background: bool = False,
    ) -> AsyncGenerator[Delta, None]:
        """Write a reply that nobody keeps; closing the generator ends it.

        Waits for a model that is on its way.

        Args:
            actor: Who asks.
            messages: The conversation; empty when there is a text.
            params: How to sample.
            plain_text: What to write on from, without a chat template.
            continue_last: Write on at the end of the last message.
            form: What the reply must keep to.
            admission: Of all replies to the same request; None where this is the only one.
            lora: How strongly adapters work, those that are not named not at all; None takes what
                is set for the model.
            is_background: It comes when nobody else waits, and gives up its slot to anybody.

        Raises:
            QuotaExceeded: A limit of the actor does not allow it.
            ModelNotLoaded: None is loaded or on its way.
            PermissionDenied: The actor may not chat, or not with this model.
            WebuiError: What the engine raises.
        """
        actor.require(Permission.CHAT)
        request = self._request(
            actor, messages, params, form, plain_text=plain_text, continue_last=continue_last
        )
        if is_background:
            request = msgspec.structs.replace(request, priority=Priority.BACKGROUND)
        admission = admission or self._quotas.admission(actor)
        meter, model = await admission.enter(), ""
        try:
            with self._requests.opened(request.request_id, actor.user_id) as at_work:
                engine = await self._pool.acquire(LOAD_WAIT_S)
                actor.require_model(self._pool.current_id)
                model = engine.info.name
                if lora is not None:
                    scales = scales_of(engine.info.adapters, lora)
                    request = msgspec.structs.replace(request, lora_scales=scales)
                async with aclosing(meter.watch(engine.generate(request))) as deltas:
                    async for delta in deltas:
                        at_work.take(delta)
                        yield delta
        finally:
            admission.leave(meter.spent(model))

    def _request(
        self,
        actor: Actor,
        messages: Sequence[Message],
        params: SamplingParams,
        form: AnswerForm,
        *,
        plain_text: str | None,
        continue_last: bool,
    ) -> GenerateRequest:
        """Return what the engine is asked for, whatever the model."""
        server_prompt = self._server_prompt.text
        system_prompt = joined(server_prompt, params.system_prompt)
        prompt = api_prompt(messages, system_prompt) if plain_text is None else ()
        shared = shared_head(prompt, server_prompt)
        return GenerateRequest(
            request_id=secrets.token_urlsafe(16),
            owner=actor.user_id,
            conversation_id=None,
            priority=Priority.API,
            messages=prompt,
            plain_text=plain_text,
            continue_last=continue_last,
            params=engine_params(params),
            grammar=form.grammar,
            json_schema=form.json_schema,
            grammar_triggers=form.triggers,
            num_shared_messages=shared.num_messages,
            num_shared_chars=shared.num_chars,
        )
