"""`/v1/embeddings` and `/v1/rerank`.

Knows both bodies and how vectors are written; how much one request may hold is checked by the
use case.
"""

import asyncio
import base64
import struct
from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Depends
from pydantic import Field, StrictBool, StrictInt, StrictStr, TypeAdapter
from starlette.requests import Request
from starlette.responses import Response

from webui.api.deps import ActorDep, Json, RuntimeDep, StreamsDep, parse
from webui.api.openai.model_name import check_model
from webui.api.openai.sampler_fields import Known
from webui.api.openai.service_tier import Tiered
from webui.api.openai.whole import WholeAnswer
from webui.chat.embeddings import Ranking, VectorForm
from webui.engine.interface import EmbedResult, Pooling
from webui.errors import InvalidRequest

router = APIRouter(prefix="/v1")

Encoding = Literal["float", "base64"]
PoolingName = Literal["none", "mean", "cls", "last"]


class EmbeddingsRequest(Tiered):
    """Body of `POST /v1/embeddings`."""

    model: str | None = None
    given: Any = Field(alias="input")
    encoding_format: Encoding | None = None
    dimensions: StrictInt | None = Field(default=None, ge=1)
    pooling: PoolingName | None = None
    normalize: StrictBool | None = None
    truncate: StrictBool | None = None

    def form(self) -> VectorForm:
        """Return what the vectors are to be like; null stands for the default."""
        return VectorForm(
            size=self.dimensions,
            pooling=None if self.pooling is None else Pooling(self.pooling),
            normalise=self.normalize is not False,
            truncate=bool(self.truncate),
        )

    def texts(self) -> list[str]:
        """Return what to make vectors of.

        Raises:
            InvalidRequest: It is not text.
        """
        if isinstance(self.given, str):
            return [self.given]
        if not isinstance(self.given, list):
            raise InvalidRequest("input must be text or a list of texts", field="input")
        for index, text in enumerate(self.given):
            if isinstance(text, int | list):
                raise InvalidRequest(
                    "input: lists of token ids are not supported",
                    "Send the texts themselves.",
                    field="input",
                )
            if not isinstance(text, str):
                raise InvalidRequest(f"input.{index} must be text", field=f"input.{index}")
        return self.given


class Document(Known):
    """A document that is an object, as some clients send it."""

    text: StrictStr


class RerankRequest(Tiered):
    """Body of `POST /v1/rerank`."""

    model: str | None = None
    query: StrictStr
    documents: list[StrictStr | Document]
    top_n: StrictInt | None = Field(default=None, ge=1)
    truncate: StrictBool | None = None

    def texts(self) -> list[str]:
        """Return the documents."""
        return [each if isinstance(each, str) else each.text for each in self.documents]


_embeddings = TypeAdapter(EmbeddingsRequest)
_rerank = TypeAdapter(RerankRequest)


async def read_embeddings_request(request: Request) -> EmbeddingsRequest:
    """Read the body as leniently as clients of this dialect expect."""
    return parse(_embeddings, await request.body(), strict=None)


async def read_rerank_request(request: Request) -> RerankRequest:
    """Read the body as leniently as clients of this dialect expect."""
    return parse(_rerank, await request.body(), strict=None)


@router.post("/embeddings")
async def embed(
    runtime: RuntimeDep,
    actor: ActorDep,
    streams: StreamsDep,
    asked: Annotated[EmbeddingsRequest, Depends(read_embeddings_request)],
) -> Response:
    """Turn texts into vectors."""
    model, texts, form = check_model(asked.model, runtime), asked.texts(), asked.form()
    encoding = asked.encoding_format or "float"

    async def make() -> Response:
        result = await runtime.embeddings.embed(
            actor, texts, form, is_background=asked.is_background
        )
        # Millions of numbers would hold the event loop.
        body = await asyncio.to_thread(_write, model, result, encoding, form.pooling)
        return Response(body, media_type="application/json")

    return WholeAnswer(streams, make)


@router.post("/rerank")
async def rerank(
    runtime: RuntimeDep,
    actor: ActorDep,
    streams: StreamsDep,
    asked: Annotated[RerankRequest, Depends(read_rerank_request)],
) -> Response:
    """Put documents in the order in which they answer a query."""
    model, texts = check_model(asked.model, runtime), asked.texts()

    async def make() -> Response:
        ranking = await runtime.embeddings.rank(
            actor,
            asked.query,
            texts,
            max_ranked=asked.top_n,
            truncate=bool(asked.truncate),
            is_background=asked.is_background,
        )
        return Json(_ranking(model, ranking))

    return WholeAnswer(streams, make)


def _write(model: str, result: EmbedResult, encoding: Encoding, pooling: Pooling | None) -> bytes:
    """Return the JSON of some vectors. Blocks."""
    width_bytes = 0
    if pooling is Pooling.NONE:  # each token that was read has a vector of its own
        width_bytes = sum(map(len, result.vectors)) // max(1, result.num_tokens)
    data = [
        {
            "object": "embedding",
            "index": index,
            "embedding": _embedding(each, encoding, width_bytes),
        }
        for index, each in enumerate(result.vectors)
    ]
    usage = _usage(result.num_tokens)
    return msgspec.json.encode({"object": "list", "data": data, "model": model, "usage": usage})


def _embedding(
    data: bytes, encoding: Encoding, width_bytes: int
) -> msgspec.Raw | list[msgspec.Raw]:
    """Return the vector of a text, or with a width those of its tokens."""
    if not width_bytes:
        return _vector(data, encoding)
    starts = range(0, len(data), width_bytes)
    return [_vector(data[start : start + width_bytes], encoding) for start in starts]


def _vector(data: bytes, encoding: Encoding) -> msgspec.Raw:
    """Return the JSON of a vector, which takes less room than its numbers as objects."""
    numbers: tuple[float, ...] | str
    if encoding == "base64":
        numbers = base64.b64encode(data).decode()
    else:
        numbers = struct.unpack(f"<{len(data) // 4}f", data)
    return msgspec.Raw(msgspec.json.encode(numbers))


def _ranking(model: str, ranking: Ranking) -> dict[str, Any]:
    results = [
        {"index": document.index, "relevance_score": document.score}
        for document in ranking.documents
    ]
    usage = _usage(ranking.num_tokens)
    return {"object": "list", "results": results, "model": model, "usage": usage}


def _usage(num_tokens: int) -> dict[str, int]:
    return {"prompt_tokens": num_tokens, "total_tokens": num_tokens}
