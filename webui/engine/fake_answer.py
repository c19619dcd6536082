"""What the made-up model says: Markdown with everything that a page must draw.

Pure: the same last question gives the same answer. Tokens are words with the white space
behind them.
"""

from __future__ import annotations

import re
import zlib
from typing import TYPE_CHECKING

from webui.messages import Role

if TYPE_CHECKING:
    from collections.abc import Sequence

    from webui.messages import Message

ECHO = "echo "
THINK = "think "
LONG = "long "
MAX_LONG_WORDS = 1_000_000
_TOKEN = re.compile(r"\s*\S+\s*|\s+")
_WORDS = [
    "the",
    "a",
    "lamp",
    "hearth",
    "window",
    "river",
    "stone",
    "garden",
    "bread",
    "winter",
    "morning",
    "quiet",
    "small",
    "bright",
    "old",
    "slow",
    "warm",
    "green",
    "open",
    "carries",
    "keeps",
    "finds",
    "follows",
    "opens",
    "holds",
    "under",
    "over",
    "beside",
    "between",
    "after",
    "before",
    "and",
    "but",
    "while",
    "because",
    "so",
    "then",
    "again",
    "never",
    "always",
]

_ANSWER = """\
## About “{topic}”

Here is a **made-up answer**, written to show what the page can draw. It has *emphasis*, \
`inline code`, a [link](https://example.org/) and ~~a mistake~~.

1. First, a number: {number}.
2. Second, other scripts: naïve café, Ελληνικά, 日本語, العربية.
3. Third, some emoji: 👩‍👩‍👧 🏳️‍🌈 👍🏽 🦀.

### Code

```python
def fibonacci(n: int) -> int:
    \"\"\"Return the n-th Fibonacci number.\"\"\"
    a, b = 0, 1
    for _ in range(n):
        a, b = b, a + b
    return a


print(fibonacci({number}))
```

### A table

| Quantity | Symbol | Value |
|:---------|:------:|------:|
| Number   | $n$    | {number} |
| Square   | $n^2$  | {square} |

### Some mathematics

Inline, $e^{{i\\pi}} + 1 = 0$, and displayed:

$$
\\int_{{-\\infty}}^{{\\infty}} e^{{-x^2}}\\,dx = \\sqrt{{\\pi}}
$$

- a list
  - with a nested item
  - and another one
- and `<b>HTML</b>` that stays text: <b>not bold</b>

> A quotation, to end with.
"""


def answer(messages: Sequence[Message]) -> str:
    """Return the whole answer to the last thing the user said.

    `echo TEXT` answers the text, `think TEXT` puts reasoning before the answer to the text,
    `long N` answers with N words.
    """
    asked = [message.text for message in messages if message.role is Role.USER]
    return _answer(asked[-1].strip() if asked else "")


def rest_of(whole: str, begun: str) -> str:
    """Return what follows a reply that was cut short; all of it when it is not this one."""
    return whole[len(begun) :] if whole.startswith(begun) else whole


def tokens(text: str) -> list[str]:
    """Split into words with the white space behind them; joined they are the text."""
    return _TOKEN.findall(text)


def _answer(question: str) -> str:
    if question.startswith(ECHO):
        return question.removeprefix(ECHO)
    if question.startswith(THINK):
        rest = question.removeprefix(THINK)
        return (
            f"<think>\nThe question is “{rest}”. Let me think of it.\n</think>\n\n{_answer(rest)}"
        )
    if question.startswith(LONG):
        num_words = question.removeprefix(LONG).split(" ", 1)[0]
        if num_words.isdecimal() and num_words.isascii():
            return _words(min(int(num_words[:9]), MAX_LONG_WORDS))
    number = zlib.crc32(question.encode("utf-8", "replace")) % 90 + 10
    topic = " ".join(question.split())[:60] or "nothing"
    return _ANSWER.format(topic=topic, number=number, square=number**2)


def _words(num: int) -> str:
    """Return so many words in sentences of twelve and paragraphs of sixty."""
    parts: list[str] = []
    for index in range(num):
        word = _WORDS[zlib.crc32(index.to_bytes(4, "big")) % len(_WORDS)]
        is_last = index % 12 == 11 or index == num - 1
        parts.append(word.capitalize() if index % 12 == 0 else word)
        parts.append("." if is_last else "")
        parts.append("\n\n" if index % 60 == 59 else " ")
    return "".join(parts).rstrip()
