"""What a form shows of a pydantic model, and the way back from its controls to values.

Pure: knows pydantic and `Control`, no Gradio. Bounds, defaults, titles and help come from the
fields of the model alone; messages name the title that the person sees.
"""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import field as dataclass_field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args, get_origin

import annotated_types as limits
from pydantic import BaseModel, ValidationError

from webui.errors import InvalidRequest
from webui.refusals import place, predicate
from webui.sampling_params import Control

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pydantic.fields import FieldInfo
    from pydantic_core import ErrorDetails

    from webui.ui.strings import Strings

ModelT = TypeVar("ModelT", bound=BaseModel)

REST_NAME = "advanced"  # no field of a model may be called so
REST_LINES = 3
# A line of a list may hold what a line of a text box cannot.
ESCAPES = {"\\n": "\n", "\\t": "\t", "\\r": "\r", "\\\\": "\\"}


class Kind(StrEnum):
    """How a field is drawn."""

    SLIDER = "slider"
    NUMBER = "number"
    CHECKBOX = "checkbox"
    CHOICE = "choice"
    TEXT = "text"
    LINES = "lines"  # a list of strings or ids, one per line
    PAIRS = "pairs"  # a mapping, one "key: value" per line
    ROWS = "rows"  # a list of models of two fields, one "first: second" per line
    REST = "rest"  # all fields that have no control of their own, one "name = value" per line


@dataclass(frozen=True, slots=True, kw_only=True)
class FormField:
    """One field of a model as a person sees it.

    Attributes:
        name: Of the model's field.
        title: Its label.
        help: One sentence on what it does.
        group: Heading under which it stands.
        kind: How it is drawn.
        default: Value of the model, not of the control.
        minimum: Smallest value; None has no bound.
        maximum: Largest value; None has no bound.
        step: Smallest change of a slider.
        slider_end: Right end of the slider; larger values up to `maximum` can be typed.
        num_lines: Rows of a text box.
        choices: What a choice offers.
        columns: Names of the two fields of a row.
    """

    name: str
    title: str
    help: str
    group: str
    kind: Kind
    default: Any = dataclass_field(hash=False)
    minimum: float | None = None
    maximum: float | None = None
    step: float | None = None
    slider_end: float | None = None
    num_lines: int = 1
    choices: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()


def fields_of(model: type[BaseModel]) -> tuple[FormField, ...]:
    """Return what a form shows: the fields that carry a `Control`, in their order."""
    return tuple(
        _field(name, info, control)
        for name, info in model.model_fields.items()
        for control in info.metadata
        if isinstance(control, Control)
    )


def rest_of(model: type[BaseModel], strings: Strings) -> FormField:
    """Return the one field that stands for all that carry no `Control`."""
    names = rest_names(model)
    return FormField(
        name=REST_NAME,
        title=strings("form.rest"),
        help=strings("form.rest_help", names=", ".join(names)),
        group=strings("form.advanced"),
        kind=Kind.REST,
        default=None,
        num_lines=REST_LINES,
        choices=names,
    )


def rest_names(model: type[BaseModel]) -> tuple[str, ...]:
    """Return the names of the fields that carry no `Control`."""
    shown = {field.name for field in fields_of(model)}
    return tuple(name for name in model.model_fields if name not in shown)


def rest_text(field: FormField, value: BaseModel) -> str:
    """Return those of the rest that are not at their defaults, one "name = value" per line."""
    rest = value.model_dump(mode="json", include=set(field.choices), exclude_defaults=True)
    return "\n".join(f"{name} = {_plain(one)}" for name, one in rest.items())


def to_control(field: FormField, value: object) -> object:
    """Return a model's value as its control shows it."""
    if field.kind is Kind.LINES:
        assert isinstance(value, (tuple, list))
        return "\n".join(_escape(str(line)) for line in value)
    if field.kind is Kind.PAIRS:
        assert isinstance(value, dict)
        return "\n".join(f"{key}: {one:g}" for key, one in value.items())
    if field.kind is Kind.ROWS:
        assert isinstance(value, (tuple, list))
        rows = ([getattr(row, column) for column in field.columns] for row in value)
        return "\n".join(f"{first}: {second:g}" for first, second in rows)
    return value


def read(
    model: type[ModelT], values: Mapping[FormField, object], strings: Strings, base: ModelT
) -> ModelT:
    """Return `base` with what was entered in the controls.

    Args:
        model: Kind of the result.
        values: What the controls hold; may be a part of the form.
        strings: For the messages.
        base: Where the other fields come from.

    Raises:
        InvalidRequest: A value is none that the field takes; names the title and the field.
    """
    entered: dict[str, object] = {}
    for field, raw in values.items():
        if field.kind is Kind.REST:
            defaults = model().model_dump(include=set(field.choices))
            entered |= {**defaults, **_read_rest(field, raw, strings)}
        else:
            entered[field.name] = _from_control(field, raw, strings)
    try:
        return model.model_validate({**base.model_dump(), **entered})
    except ValidationError as error:
        shown = [*fields_of(model), *(field for field in values if field.kind is Kind.REST)]
        raise _refusal(error.errors(), shown) from error


def _field(name: str, info: FieldInfo, control: Control) -> FormField:
    minimum = _bound(info, limits.Ge, "ge")
    maximum = _bound(info, limits.Le, "le")
    return FormField(
        name=name,
        title=info.title or name,
        help=info.description or "",
        group=control.group,
        kind=_kind(info, control),
        default=info.get_default(call_default_factory=True),
        minimum=minimum,
        maximum=maximum,
        step=control.step,
        slider_end=control.soft_max if control.soft_max is not None else maximum,
        num_lines=control.lines,
        choices=get_args(info.annotation) if get_origin(info.annotation) is Literal else (),
        columns=tuple(row.model_fields) if (row := _row_of(info)) else (),
    )


def _kind(info: FieldInfo, control: Control) -> Kind:
    if get_origin(info.annotation) is Literal:
        return Kind.CHOICE
    if get_origin(info.annotation) in {tuple, list}:
        return Kind.ROWS if _row_of(info) else Kind.LINES
    if get_origin(info.annotation) is dict:
        return Kind.PAIRS
    if info.annotation is bool:
        return Kind.CHECKBOX
    if info.annotation in {int, float}:
        return Kind.NUMBER if control.step is None else Kind.SLIDER
    return Kind.TEXT


def _row_of(info: FieldInfo) -> type[BaseModel] | None:
    """Return the model of which a field is a list; None where it is of something else."""
    of = next(iter(get_args(info.annotation)), None)
    return of if isinstance(of, type) and issubclass(of, BaseModel) else None


def _bound(info: FieldInfo, kind: type, attribute: str) -> float | None:
    found = [getattr(item, attribute) for item in info.metadata if isinstance(item, kind)]
    return found[0] if found else None


def _from_control(field: FormField, raw: object, strings: Strings) -> object:
    match field.kind:
        case Kind.SLIDER | Kind.NUMBER:
            if raw is None or raw == "":
                message = strings("form.missing", title=field.title)
                raise InvalidRequest(message, field=field.name)
            # JSON of a browser has one kind of number: 3 may come as 3.0.
            return int(raw) if isinstance(raw, float) and raw.is_integer() else raw
        case Kind.LINES:
            return tuple(_unescape(line) for line in _lines(raw) if line)
        case Kind.PAIRS:
            lines = (line.partition(":") for line in _lines(raw) if line.strip())
            return {key.strip(): one.strip() for key, _, one in lines}
        case Kind.ROWS:
            return tuple(_row(field, line) for line in _lines(raw) if line.strip())
        case Kind.TEXT:
            return raw or ""
        case Kind.CHECKBOX | Kind.CHOICE | Kind.REST:
            return raw


def _read_rest(field: FormField, raw: object, strings: Strings) -> dict[str, str]:
    found: dict[str, str] = {}
    for number, line in enumerate(_lines(raw), 1):
        if not line.strip():
            continue
        name, sign, value = (part.strip() for part in line.partition("="))
        said = ""
        if not sign or not value:
            said = strings("form.rest_form", number=number)
        elif name not in field.choices:
            said = strings("form.rest_unknown", number=number, name=name[:60])
        elif name in found:
            said = strings("form.rest_twice", name=name)
        if said:
            raise InvalidRequest(said, field=field.name)
        found[name] = value
    return found


def _plain(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return ", ".join(_plain(one) for one in value)
    return f"{value:.15g}" if isinstance(value, float) else str(value)


def _row(field: FormField, line: str) -> dict[str, str]:
    """Read "first: second"; without a number at the end the second is left to its default."""
    first, colon, second = line.rpartition(":")
    try:
        float(second)
    except ValueError:
        colon = ""
    values = (first, second) if colon else (line,)
    return dict(zip(field.columns, (value.strip() for value in values), strict=False))


def _lines(raw: object) -> Sequence[str]:
    return str(raw or "").replace("\r\n", "\n").split("\n")


def _escape(line: str) -> str:
    return "".join({char: name for name, char in ESCAPES.items()}.get(char, char) for char in line)


def _unescape(line: str) -> str:
    parts, rest = [], line
    while (start := rest.find("\\")) >= 0:
        name = rest[start : start + 2]
        parts += [rest[:start], ESCAPES.get(name, name)]
        rest = rest[start + 2 :]
    return "".join([*parts, rest])


def _refusal(problems: Sequence[ErrorDetails], fields: Sequence[FormField]) -> InvalidRequest:
    """Say with the title of the form what pydantic found first."""
    name, *inside = place(problems[0])
    found = next((field for field in fields if field.name == name), None)
    title = found.title if found else name
    rest = next((field for field in fields if field.kind is Kind.REST), None)
    marked = rest if found is None and rest is not None else found
    if inside:
        is_pair = found is not None and found.kind is Kind.PAIRS
        part = f"Entry {inside[0]}" if is_pair else f"Line {int(inside[0]) + 1}"
        title = f"{part} of {title}"
    return InvalidRequest(f"{title} {predicate(problems)}.", field=marked.name if marked else name)
