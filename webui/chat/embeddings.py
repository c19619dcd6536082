"""Vectors of texts, and documents put in order for a query; nobody keeps them.

Knows the engine pool and how much one request may hold; knows neither HTTP nor tokens. Who goes
first among owners is the business of the engine's queue.
"""

from __future__ import annotations

import secrets
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from webui.actor import Permission
from webui.chat.generations import LOAD_WAIT_S
from webui.chat.running import Doing, Task
from webui.engine.interface import EmbedRequest, Priority
from webui.errors import InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from webui.accounts.quotas import Quotas
    from webui.actor import Actor
    from webui.chat.running import ProgramRequests
    from webui.engine.interface import EmbedResult, ModelInfo, Pooling
    from webui.engine.pool import EnginePool

MAX_TEXTS = 2048
MAX_TEXT_BYTES = 512 * 1024
MAX_BYTES = 2 * 1024 * 1024  # of all texts; a query is read once for each document
MAX_QUERY_BYTES = 16 * 1024
SPLIT_HINT = "Send them in several requests."


@dataclass(frozen=True, slots=True)
class Ranked:
    """A document by its index in the request; the higher its score, the better it answers."""

    index: int
    score: float


@dataclass(frozen=True, slots=True)
class Ranking:
    """Documents, best first, and the tokens that were read for them."""

    documents: tuple[Ranked, ...]
    num_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class VectorForm:
    """What vectors are to be like.

    Attributes:
        size: How many numbers each must have; None takes what the model makes.
        pooling: How those of a text's tokens become one; None takes the model's own.
        normalise: Scale each to length 1.
        truncate: Cut off what is too long instead of refusing it.
    """

    size: int | None = None
    pooling: Pooling | None = None
    normalise: bool = True
    truncate: bool = False


ANY_VECTORS = VectorForm()


class Embeddings:
    """Use cases of vectors.

    Args:
        pool: Whose engine computes them.
        quotas: What people may use.
        requests: Where they are shown while they are at work.
    """

    def __init__(self, pool: EnginePool, quotas: Quotas, requests: ProgramRequests) -> None:
        self._pool = pool
        self._quotas = quotas
        self._requests = requests

    async def embed(
        self,
        actor: Actor,
        texts: Sequence[str],
        form: VectorForm = ANY_VECTORS,
        *,
        is_background: bool = False,
    ) -> EmbedResult:
        """Return vectors of each text; cancelling the call ends the work.

        Waits for a model that is on its way.

        Args:
            actor: Who asks.
            texts: At least one.
            form: What the vectors are to be like.
            is_background: It comes when nobody else wants anything of this kind.

        Raises:
            InvalidRequest: There are too many texts, one is too long, the model makes no vectors
                or none of this form; names the field as the dialect does.
            QuotaExceeded: A limit of the actor does not allow it.
            ModelNotLoaded: None is loaded or on its way.
            PermissionDenied: The actor may not chat, or not with this model.
            WebuiError: What the engine raises.
        """
        actor.require(Permission.CHAT)
        _check_texts(texts, "input", query_bytes=0)
        request = EmbedRequest(
            request_id=secrets.token_urlsafe(16),
            owner=actor.user_id,
            priority=_priority(is_background=is_background),
            inputs=tuple(texts),
            pooling=form.pooling,
            normalise=form.normalise,
            truncate=form.truncate,
        )
        return await self._run(actor, request, form.size)

    async def rank(
        self,
        actor: Actor,
        query: str,
        documents: Sequence[str],
        *,
        max_ranked: int | None = None,
        truncate: bool = False,
        is_background: bool = False,
    ) -> Ranking:
        """Put documents in the order in which they answer a query; cancelling ends the work.

        Waits for a model that is on its way.

        Args:
            actor: Who asks.
            query: What they should answer.
            documents: At least one.
            max_ranked: How many of the best to return; None returns all.
            truncate: Cut off what is too long of a document instead of refusing it.
            is_background: It comes when nobody else wants anything of this kind.

        Raises:
            InvalidRequest: There are too many documents, a text is too long, or the model cannot
                rank; names the field as the dialect does.
            QuotaExceeded: A limit of the actor does not allow it.
            ModelNotLoaded: None is loaded or on its way.
            PermissionDenied: The actor may not chat, or not with this model.
            WebuiError: What the engine raises.
        """
        actor.require(Permission.CHAT)
        query_bytes = _num_bytes(query)
        if query_bytes > MAX_QUERY_BYTES:
            raise InvalidRequest(
                f"query has {query_bytes:,} bytes; {MAX_QUERY_BYTES:,} are allowed",
                "Shorten it.",
                field="query",
            )
        _check_texts(documents, "documents", query_bytes=query_bytes)
        request = EmbedRequest(
            request_id=secrets.token_urlsafe(16),
            owner=actor.user_id,
            priority=_priority(is_background=is_background),
            inputs=tuple(documents),
            query=query,
            truncate=truncate,
        )
        result = await self._run(actor, request)
        scores = [struct.unpack("<f", data)[0] for data in result.vectors]
        ranked = [Ranked(index, score) for index, score in enumerate(scores)]
        ranked.sort(key=lambda document: document.score, reverse=True)
        return Ranking(tuple(ranked[:max_ranked]), result.num_tokens)

    async def _run(
        self, actor: Actor, request: EmbedRequest, size: int | None = None
    ) -> EmbedResult:
        """Have the engine do it, within the limits of the actor; what is cut off is not counted."""
        admission = self._quotas.admission(actor)
        meter, spent = await admission.enter(), None
        task = Task.EMBED if request.query is None else Task.RERANK
        try:
            with self._requests.opened(request.request_id, actor.user_id, task) as at_work:
                engine = await self._pool.acquire(LOAD_WAIT_S)
                actor.require_model(self._pool.current_id)
                _check_size(size, engine.info)
                at_work.doing = Doing.READING
                result = await engine.embed(request)
            meter.read(result.num_tokens)
            spent = meter.spent(engine.info.name)
            return result
        finally:
            admission.leave(spent)


def _check_size(size: int | None, info: ModelInfo) -> None:
    if size is not None and info.can_embed and size != info.embedding_size:
        raise InvalidRequest(
            f"dimensions must be {info.embedding_size}, the size of what {info.name} makes",
            "Leave it out; vectors are not shortened.",
            field="dimensions",
        )


def _priority(*, is_background: bool) -> Priority:
    return Priority.BACKGROUND if is_background else Priority.API


def _check_texts(texts: Sequence[str], field: str, *, query_bytes: int) -> None:
    """Refuse more than one request may hold; the query counts for each of the texts."""
    if not texts:
        raise InvalidRequest(f"{field} must have at least 1 text", field=field)
    if len(texts) > MAX_TEXTS:
        raise InvalidRequest(
            f"{field} has {len(texts):,} texts; {MAX_TEXTS:,} are allowed", SPLIT_HINT, field=field
        )
    sizes = [_num_bytes(text) for text in texts]
    longest = max(sizes)
    if longest > MAX_TEXT_BYTES:
        place = f"{field}.{sizes.index(longest)}"
        raise InvalidRequest(
            f"{place} has {longest:,} bytes; {MAX_TEXT_BYTES:,} are allowed",
            "Shorten it, or split it into several.",
            field=place,
        )
    total = sum(sizes) + len(sizes) * query_bytes
    if total > MAX_BYTES:
        with_query = ", the query counted for each" if query_bytes else ""
        raise InvalidRequest(
            f"{field} has {total:,} bytes in all{with_query}; {MAX_BYTES:,} are allowed",
            SPLIT_HINT,
            field=field,
        )


def _num_bytes(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))  # the engine refuses half characters
