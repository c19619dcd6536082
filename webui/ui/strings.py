"""Every text that a person sees on the page, by key; the scripts of the page read the same file.

Knows one catalogue and no Gradio. Texts hold `{placeholders}`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

CATALOGUE = Path(__file__).parent / "static" / "strings.en.json"


class Strings:
    """The texts of one language.

    Args:
        texts: Text by key.
    """

    def __init__(self, texts: Mapping[str, str]) -> None:
        self._texts = dict(texts)

    @classmethod
    def read(cls, path: Path = CATALOGUE) -> Strings:
        """Read a catalogue; blocks.

        Raises:
            OSError: The file is missing.
        """
        return cls(json.loads(path.read_text("utf-8")))

    def __call__(self, key: str, **values: object) -> str:
        """Return the text of a key, with values in the place of its placeholders.

        Raises:
            KeyError: There is no such text, or a placeholder has no value.
        """
        return self._texts[key].format(**values)
