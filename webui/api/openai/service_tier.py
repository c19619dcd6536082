"""How urgent a request of the dialect is, in OpenAI's words.

A value file: knows names; what they come to in the queue is the business of the engine.
"""

from __future__ import annotations

from typing import Literal

from webui.api.openai.sampler_fields import Known

ServiceTier = Literal["auto", "default", "flex", "priority"]


class Tiered(Known):
    """A body that may say so; a request that does not is as urgent as all others of programs."""

    service_tier: ServiceTier | None = None

    @property
    def is_background(self) -> bool:
        """Whether it may wait until nobody else wants anything."""
        return self.service_tier == "flex"

    @property
    def told_tier(self) -> str | None:
        """The tier that is told with the answer: the one it gets; None where none is asked for."""
        if self.service_tier is None:
            return None
        return "flex" if self.is_background else "default"
