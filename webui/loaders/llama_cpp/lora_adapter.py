"""One LoRA adapter among the load options."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from webui.engine.adapters import MAX_LORA_SCALE

MAX_PATH_CHARS = 1024


class LoraAdapter(BaseModel):
    """A file that changes what a model says, and how strongly."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    path: str = Field(min_length=1, max_length=MAX_PATH_CHARS)
    scale: float = Field(default=1.0, ge=-MAX_LORA_SCALE, le=MAX_LORA_SCALE)
