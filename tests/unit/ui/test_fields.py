"""What a form shows of a model, and the way back; no Gradio is needed."""

from __future__ import annotations

import subprocess
import sys
from typing import Annotated, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from webui.errors import InvalidRequest
from webui.loaders.llama_cpp import LlamaCppOptions
from webui.sampling_params import Control, SamplingParams
from webui.ui.fields import FormField, Kind, fields_of, read, rest_of, rest_text, to_control
from webui.ui.strings import Strings

STRINGS = Strings.read()


Line = Annotated[str, StringConstraints(max_length=50)]


class Sample(BaseModel):
    """One field of each kind, and one that is not shown."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    share: Annotated[float, Control("A", step=0.1)] = Field(0.5, ge=0, le=1, title="Share")
    count: Annotated[int, Control("A", step=1, soft_max=10)] = Field(3, ge=0, le=99, title="Count")
    seed: Annotated[int, Control("A")] = Field(-1, ge=-1, title="Seed")
    on: Annotated[bool, Control("B")] = Field(default=False, title="On")
    kind: Annotated[Literal["f16", "q8"], Control("B")] = Field("f16", title="Kind")
    text: Annotated[str, Control("B", lines=3)] = Field("", max_length=5, title="Text")
    stop: Annotated[tuple[Line, ...], Control("B")] = Field((), max_length=2, title="Stop")
    bias: Annotated[dict[int, float], Control("B")] = Field({}, max_length=2, title="Bias")
    hidden: int = 7


FIELDS = {field.name: field for field in fields_of(Sample)}


def entered(base: Sample | None = None, /, **values: object) -> Sample:
    return read(
        Sample,
        {FIELDS[name]: value for name, value in values.items()},
        STRINGS,
        base or Sample(),
    )


def test_fields_have_the_kind_of_their_type_and_control() -> None:
    assert {name: field.kind for name, field in FIELDS.items()} == {
        "share": Kind.SLIDER,
        "count": Kind.SLIDER,
        "seed": Kind.NUMBER,
        "on": Kind.CHECKBOX,
        "kind": Kind.CHOICE,
        "text": Kind.TEXT,
        "stop": Kind.LINES,
        "bias": Kind.PAIRS,
    }
    assert FIELDS["kind"].choices == ("f16", "q8")


def test_slider_ends_at_the_soft_maximum_and_takes_more_by_typing() -> None:
    assert (FIELDS["count"].slider_end, FIELDS["count"].maximum) == (10, 99)
    assert FIELDS["share"].slider_end == 1
    assert entered(count=50).count == 50


@pytest.mark.parametrize("model", [SamplingParams, LlamaCppOptions])
def test_every_field_of_our_models_is_shown_and_says_what_it_does(model: type[BaseModel]) -> None:
    fields = fields_of(model)
    drawn = [
        name
        for name, info in model.model_fields.items()
        if any(isinstance(entry, Control) for entry in info.metadata)
    ]
    assert [field.name for field in fields] == drawn
    for field in fields:
        assert field.title
        assert field.help.endswith(".")
        if field.kind is Kind.SLIDER:
            assert None not in (field.minimum, field.slider_end, field.step)


@pytest.mark.parametrize("model", [SamplingParams, LlamaCppOptions])
def test_defaults_survive_the_way_through_the_controls(model: type[BaseModel]) -> None:
    shown = {field: to_control(field, field.default) for field in fields_of(model)}
    assert read(model, shown, STRINGS, model()) == model()


@pytest.mark.parametrize(
    ("values", "message", "field"),
    [
        ({"share": 1.5}, "Share must be at most 1.", "share"),
        ({"share": -0.5}, "Share must be at least 0.", "share"),
        ({"share": None}, "Share needs a number.", "share"),
        ({"share": float("nan")}, "Share must be a finite number.", "share"),
        ({"count": 2.5}, "Count must be a whole number.", "count"),
        ({"count": "many"}, "Count must be a whole number.", "count"),
        ({"seed": ""}, "Seed needs a number.", "seed"),
        ({"text": "longer"}, "Text can have at most 5 characters.", "text"),
        ({"stop": "a\nb\nc"}, "Stop can have at most 2 entries.", "stop"),
        ({"stop": "a\n" + "b" * 51}, "Line 2 of Stop can have at most 50 characters.", "stop"),
        ({"bias": "1: 2\n3"}, "Entry 3 of Bias must be a number.", "bias"),
        ({"bias": "1: 1\n2: 2\n3: 3"}, "Bias can have at most 2 entries.", "bias"),
        ({"kind": "q4"}, "Kind must be 'f16' or 'q8'.", "kind"),
    ],
)
def test_wrong_value_is_refused_naming_the_title(
    values: dict[str, object], message: str, field: str
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        entered(**values)
    assert refused.value.message == message
    assert refused.value.field == field


def test_fields_that_were_not_entered_keep_the_value_of_the_base() -> None:
    base = Sample(count=9, text="abc", hidden=8)
    assert entered(base, share=0.25) == Sample(count=9, text="abc", hidden=8, share=0.25)


def test_whole_number_may_come_as_a_float_as_browsers_send_it() -> None:
    assert entered(count=4.0, seed=2**32).count == 4


def test_cleared_text_is_empty() -> None:
    assert entered(text=None).text == ""


@pytest.mark.parametrize(
    ("typed", "stop"),
    [
        ("", ()),
        (None, ()),
        ("\n\n###\n", ("###",)),
        ("a\r\nb", ("a", "b")),
        ("\\n\\n", ("\n\n",)),
        ("\\\\n", ("\\n",)),
        ("\\x", ("\\x",)),
        ("ends\\", ("ends\\",)),
        ("  spaces  ", ("  spaces  ",)),
    ],
)
def test_lines_become_strings(typed: str | None, stop: tuple[str, ...]) -> None:
    assert entered(stop=typed).stop == stop


def test_pairs_become_a_mapping_and_come_back() -> None:
    bias = entered(bias=" 15 : -2.5 \r\n\n7:100").bias
    assert bias == {15: -2.5, 7: 100.0}
    assert to_control(FIELDS["bias"], bias) == "15: -2.5\n7: 100"
    assert entered(bias=None).bias == {}


@given(
    st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=50), max_size=2)
)
def test_strings_survive_the_way_through_lines(stop: list[str]) -> None:
    field: FormField = FIELDS["stop"]
    assert entered(stop=to_control(field, tuple(stop))).stop == tuple(stop)


def test_fields_need_no_gradio() -> None:
    code = "import sys, webui.ui.fields, webui.ui.strings; sys.exit('gradio' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=20)


class Row(BaseModel):
    """A row of a list."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    path: str = Field(min_length=1)
    scale: float = Field(default=1.0, le=2)


class Rows(BaseModel):
    """A list of rows, and three that are not drawn."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    rows: Annotated[tuple[Row, ...], Control("A")] = Field((), max_length=2, title="Files")
    quick: bool = True
    share: float = Field(0.5, ge=0, le=1)
    kind: Literal["auto", "none"] = "auto"


(ROWS,) = fields_of(Rows)
REST = rest_of(Rows, STRINGS)


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("", ()),
        ("a.gguf\n\n b.gguf : 0.5 ", (Row(path="a.gguf"), Row(path="b.gguf", scale=0.5))),
        ("C:/a.gguf", (Row(path="C:/a.gguf"),)),
        ("C:/a.gguf: -1e0", (Row(path="C:/a.gguf", scale=-1),)),
    ],
)
def test_rows_become_models_and_come_back(text: str, rows: tuple[Row, ...]) -> None:
    value = read(Rows, {ROWS: text}, STRINGS, Rows())
    assert value.rows == rows
    again = read(Rows, {ROWS: to_control(ROWS, value.rows)}, STRINGS, Rows())
    assert again.rows == rows


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: 3", "Line 1 of Files must be at most 2"),
        ("a\nb: nan", "Line 2 of Files must be a finite number"),
        ("a\nb\nc", "Files can have at most 2 entries"),
        (": 1", "Line 1 of Files must not be empty"),
    ],
)
def test_row_out_of_bounds_is_named(text: str, said: str) -> None:
    with pytest.raises(InvalidRequest, match=said) as refused:
        read(Rows, {ROWS: text}, STRINGS, Rows())
    assert refused.value.field == "rows"


def test_rest_is_all_that_has_no_control() -> None:
    assert REST.choices == ("quick", "share", "kind")
    assert all(name in REST.help for name in REST.choices)
    drawn = {field.name for field in fields_of(LlamaCppOptions)}
    assert drawn | set(rest_of(LlamaCppOptions, STRINGS).choices) == set(
        LlamaCppOptions.model_fields
    )
    assert REST.name not in LlamaCppOptions.model_fields


def test_rest_is_read_by_name_and_shown_where_it_is_no_default() -> None:
    before = Rows(rows=(Row(path="a"),), kind="none")
    value = read(Rows, {REST: "quick=false\n\n share = 0.25"}, STRINGS, before)
    assert value == Rows(rows=before.rows, quick=False, share=0.25)  # `kind` is left out
    assert rest_text(REST, value) == "quick = false\nshare = 0.25"
    assert read(Rows, {REST: rest_text(REST, before)}, STRINGS, value) == before
    assert rest_text(REST, Rows()) == ""


def test_rest_holds_lists_with_commas() -> None:
    rest = rest_of(LlamaCppOptions, STRINGS)
    text = "tensor_split = 3, 0.5\nkv_unified = true"
    value = read(LlamaCppOptions, {rest: text}, STRINGS, LlamaCppOptions())
    assert (value.tensor_split, value.kv_unified) == ((3, 0.5), True)
    assert rest_text(rest, value) == text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("quick", "Line 1 of More options must be name = value"),
        ("\nquick =", "Line 2 of More options must be name = value"),
        ("rows = a", "Line 1 of More options: there is no option rows"),
        ("share = 0\nshare = 1", "share is there twice"),
        ("share = 2", "share must be at most 1"),
        ("share = much", "share must be a number"),
        ("quick = maybe", "quick must be true or false"),
        ("kind = linear", "kind must be 'auto' or 'none'"),
    ],
)
def test_rest_that_is_wrong_is_named(text: str, said: str) -> None:
    with pytest.raises(InvalidRequest, match=said) as refused:
        read(Rows, {REST: text}, STRINGS, Rows())
    assert refused.value.field == REST.name
