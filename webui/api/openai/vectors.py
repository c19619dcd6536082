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
from pydantic import Field, StrictInt, StrictStr, TypeAdapter
from starlette.requests import Request
from starlette.responses import Response

from webui.api.deps import ActorDep, Json, RuntimeDep, StreamsDep, parse
from webui.api.openai.model_name import check_model
from webui.api.openai.sampler_fields import Known
from webui.api.openai.whole import WholeAnswer
from webui.chat.embeddings import Ranking
from webui.engine.interface import EmbedResult
from webui.errors import InvalidRequest

router = APIRouter(prefix="/v1")

Encoding = Literal["float", "base64"]


class EmbeddingsRequest(Known):
    """Body of `POST /v1/embeddings`."""

    model: str | None = None
    given: Any = Field(alias="input")
    encoding_format: Encoding | None = None
    dimensions: StrictInt | None = Field(default=None, ge=1)

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


class RerankRequest(Known):
    """Body of `POST /v1/rerank`."""

    model: str | None = None
    query: StrictStr
    documents: list[StrictStr | Document]
    top_n: StrictInt | None = Field(default=None, ge=1)

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
    model, texts = check_model(asked.model, runtime), asked.texts()

    async def make() -> Response:
        result = await runtime.embeddings.embed(actor, texts, size=asked.dimensions)
        # Millions of numbers would hold the event loop.
        body = await asyncio.to_thread(_write, model, result, asked.encoding_format or "float")
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
        ranking = await runtime.embeddings.rank(actor, asked.query, texts, max_ranked=asked.top_n)
        return Json(_ranking(model, ranking))

    return WholeAnswer(streams, make)


def _write(model: str, result: EmbedResult, encoding: Encoding) -> bytes:
    """Return the JSON of some vectors. Blocks."""
    data = [
        {"object": "embedding", "index": index, "embedding": _vector(vector, encoding)}
        for index, vector in enumerate(result.vectors)
    ]
    usage = _usage(result.num_tokens)
    return msgspec.json.encode({"object": "list", "data": data, "model": model, "usage": usage})


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
