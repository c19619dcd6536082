"""Runs the Jinja text that came with a model file, which may be hostile, within limits.

Knows time, sizes and what a template may call; knows nothing of tokens. One environment serves
one thread at a time. Jinja's sandbox keeps a template from Python's insides; what it does not
bound is work, so loops, macros, filters, calls, joins and operators report to a `Meter` here.
"""

from __future__ import annotations

import json
import re
from datetime import datetime
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar

from jinja2 import TemplateError, TemplateSyntaxError, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer
from typing_extensions import override

from webui.engine.template_limits import (
    MAX_TEXT_CHARS,
    Meter,
    TemplateLimit,
    bounded_range,
    check_operands,
    check_precision,
    check_size,
    check_text_call,
    checked,
    text_of,
    weigh,
)
from webui.errors import InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from jinja2 import Template
    from jinja2.parser import Parser
    from jinja2.runtime import Context

MAX_SOURCE_CHARS = 512_000
MAX_REASON_CHARS = 300

FILTERS = frozenset(
    {
        "abs",
        "capitalize",
        "count",
        "d",
        "default",
        "dictsort",
        "e",
        "escape",
        "first",
        "float",
        "groupby",
        "indent",
        "int",
        "items",
        "join",
        "last",
        "length",
        "list",
        "lower",
        "map",
        "max",
        "min",
        "reject",
        "rejectattr",
        "replace",
        "reverse",
        "round",
        "safe",
        "select",
        "selectattr",
        "sort",
        "string",
        "title",
        "tojson",
        "trim",
        "unique",
        "upper",
    }
)
TEXT_FILTERS = frozenset(
    {
        "capitalize",
        "e",
        "escape",
        "indent",
        "lower",
        "replace",
        "string",
        "title",
        "tojson",
        "trim",
        "upper",
    }
)
STRING_METHODS = frozenset(
    {
        "capitalize",
        "count",
        "endswith",
        "find",
        "index",
        "isalnum",
        "isalpha",
        "isdecimal",
        "isdigit",
        "islower",
        "isnumeric",
        "isspace",
        "istitle",
        "isupper",
        "join",
        "lower",
        "lstrip",
        "partition",
        "removeprefix",
        "removesuffix",
        "replace",
        "rfind",
        "rindex",
        "rpartition",
        "rsplit",
        "rstrip",
        "split",
        "splitlines",
        "startswith",
        "strip",
        "swapcase",
        "title",
        "upper",
    }
)
Looping = TypeVar("Looping", nodes.For, nodes.Macro)
# A wide field (`%999999999Y`) would fill the memory.
_DATE_FORMAT = re.compile(r"(?:[^%]|%[-_0^#]?[A-Za-z%]){0,200}", re.DOTALL)


class TemplateRefusal(InvalidRequest):
    """The template itself called `raise_exception`: it does not take these messages."""


class Sandbox(ImmutableSandboxedEnvironment):
    """Jinja set up as chat templates expect it (trimmed blocks, `tojson` with plain letters)."""

    intercepted_binops = frozenset({"+", "*", "**", "%"})

    def __init__(self) -> None:
        self._meter = Meter()
        super().__init__(
            trim_blocks=True,
            lstrip_blocks=True,
            optimized=False,
            loader=None,
            extensions=[loopcontrols, GenerationTag],
            finalize=self._finalize,
            cache_size=0,
        )
        kept: dict[str, Callable[..., Any]] = {name: self.filters[name] for name in FILTERS}
        kept["join"] = self._join
        kept["tojson"] = _to_json
        self.filters = {name: self._guard_filter(name, kept[name]) for name in kept}
        kept_globals = {name: self.globals[name] for name in ("namespace", "dict")}
        self.globals = {
            **kept_globals,
            "range": bounded_range,
            "raise_exception": _raise_exception,
            "strftime_now": _strftime_now,
        }
        # Called from the code that `_Metering` puts into the template.
        self.meter_turn = self._meter.spend
        self.meter_concat = self._concat

    def prepare(self, source: str) -> Template:
        """Compile a template.

        Raises:
            InvalidRequest: It is too long, or not valid Jinja.
        """
        if len(source) > MAX_SOURCE_CHARS:
            raise unusable(f"it has {len(source)} characters, more than {MAX_SOURCE_CHARS}")
        self._meter.start()
        try:
            code = self.compile(_Metering().visit(self.parse(source)))
            return self.template_class.from_code(self, code, self.globals)
        except TemplateSyntaxError as error:
            raise unusable(f"line {error.lineno}: {error.message}") from error
        except TemplateError as error:
            raise unusable(str(error)) from error
        except (SyntaxError, RecursionError, MemoryError, OverflowError, ValueError) as error:
            raise unusable("it is nested too deeply, or not valid") from error

    def run(self, template: Template, variables: Mapping[str, object]) -> str:
        """Render a prepared template.

        Raises:
            TemplateRefusal: The template refuses these messages.
            InvalidRequest: It fails, or goes beyond a limit.
        """
        self._meter.start()
        parts: list[str] = []
        try:
            num_chars = 0
            for part in template.generate(variables):
                num_chars += len(part)
                if num_chars > MAX_TEXT_CHARS:
                    raise TemplateLimit(f"it writes more than {MAX_TEXT_CHARS} characters")
                parts.append(part)
        except TemplateRefusal:
            raise
        except RecursionError as error:
            raise unusable("it calls itself without end") from error
        except Exception as error:  # code from a model file may raise anything
            raise unusable(str(error)) from error
        return "".join(parts)

    @override
    def call(self, context: Context, obj: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Call something from a template, metered."""
        self._meter.spend(1)
        owner = getattr(obj, "__self__", None)
        if isinstance(owner, str):
            name = getattr(obj, "__name__", "")
            if name == "join" and args:
                return self._join(args[0], owner)
            check_text_call(name, owner, args)
        return checked(super().call(context, obj, *args, **kwargs))

    @override
    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        """Return whether a template may touch an attribute: of a text only harmless methods."""
        if isinstance(obj, str) and attr not in STRING_METHODS:
            return False
        return super().is_safe_attribute(obj, attr, value)

    @override
    def wrap_str_format(self, value: object) -> None:
        """Refuse `str.format`, whose fields may be of any width."""
        if super().wrap_str_format(value) is not None:
            raise TemplateLimit("it formats text in a way that is not supported here")

    @override
    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Compute an operator whose result could be huge."""
        self._meter.spend(1)
        check_operands(operator, left, right)
        result = checked(super().call_binop(context, operator, left, right))
        if isinstance(result, str | list | tuple):
            self._meter.spend(len(result))
        return result

    def _finalize(self, value: object) -> str:
        text = text_of(value)
        self._meter.spend(len(text))
        return text

    def _concat(self, *values: object) -> str:
        return self._join(values)

    def _join(
        self, values: Iterable[object], separator: object = "", attribute: object = None
    ) -> str:
        if attribute is not None:
            raise TemplateLimit("join by attribute is not supported here")
        between, parts, num_chars = text_of(separator), [], 0
        for value in values:
            parts.append(text_of(value))
            num_chars += len(parts[-1]) + len(between)
            check_size(num_chars)
            self._meter.spend(1)
        return between.join(parts)

    def _guard_filter(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)  # keeps Jinja's marks that say which first argument it wants
        def guarded(*args: object, **kwargs: object) -> object:
            self._meter.spend(1)
            values = args[1:] if hasattr(function, "jinja_pass_arg") else args
            if name == "round":
                check_precision((*values[1:], *kwargs.values()))
            if name in TEXT_FILTERS and values:
                check_text_call(name, text_of(values[0]), (*values[1:], *kwargs.values()))
            return checked(function(*args, **kwargs))

        return guarded


class GenerationTag(Extension):
    """`{% generation %}` marks what the model wrote, for training; here only its body counts."""

    tags = {"generation"}  # noqa: RUF012 - Jinja's own attribute

    @override
    def parse(self, parser: Parser) -> list[nodes.Node]:
        """Read the tag and return what stands in it."""
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class _Metering(NodeTransformer):
    """Puts a call to the meter into each loop and macro, and in place of each `~`."""

    def visit_For(self, node: nodes.For) -> nodes.For:  # noqa: N802 - Jinja's naming
        return self._with_meter(node)

    def visit_Macro(self, node: nodes.Macro) -> nodes.Macro:  # noqa: N802 - Jinja's naming
        return self._with_meter(node)

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:  # noqa: N802 - Jinja's naming
        self.generic_visit(node)
        concat = nodes.EnvironmentAttribute("meter_concat")
        return nodes.Call(concat, node.nodes, [], None, None, lineno=node.lineno)

    def _with_meter(self, node: Looping) -> Looping:
        num_chars = sum(len(data.data) for data in node.find_all(nodes.TemplateData))
        self.generic_visit(node)
        turn = nodes.EnvironmentAttribute("meter_turn")
        spend = nodes.Call(turn, [nodes.Const(1 + num_chars)], [], None, None, lineno=node.lineno)
        node.body.insert(0, nodes.ExprStmt(spend, lineno=node.lineno))
        return node


def unusable(reason: str) -> InvalidRequest:
    """Return the error for a template that does not do its work."""
    return InvalidRequest(
        f"The chat template of this model cannot be used: {reason[:MAX_REASON_CHARS]}",
        "Load another file of this model.",
    )


def _to_json(value: object, indent: int | None = None, **_: object) -> str:
    weigh(value)
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _raise_exception(message: object) -> None:
    raise TemplateRefusal(
        f"The chat template of this model refuses these messages: "
        f"{text_of(message)[:MAX_REASON_CHARS]}",
        "Begin with a question, and let question and answer take turns.",
    )


def _strftime_now(format: str) -> str:  # noqa: A002 - the name that templates know
    if not _DATE_FORMAT.fullmatch(format):
        raise TemplateLimit("it formats the date in a way that is not supported here")
    return datetime.now().astimezone().strftime(format)
