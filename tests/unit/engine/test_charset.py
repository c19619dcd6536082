"""Sets of characters say the same as the ranges they are made of."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from webui.engine.charset import Charset
from webui.engine.gbnf import Chars

CODES = st.integers(0, 30)
RANGES = st.lists(st.tuples(CODES, CODES).map(sorted).map(tuple), max_size=5).map(tuple)


@given(RANGES, st.booleans())
def test_a_set_has_what_its_ranges_name(
    ranges: tuple[tuple[int, int], ...], is_negated: bool
) -> None:
    charset = Charset(Chars(ranges, is_negated))
    has = [any(low <= code <= high for low, high in ranges) != is_negated for code in range(40)]
    assert [charset.has(code) for code in range(40)] == has
    for low in range(33):
        for high in range(low, 33):
            shares = set(has[low : high + 1])
            assert charset.share(low, high) == (shares.pop() if len(shares) == 1 else None)
    is_one = not is_negated and sum(has) == 1
    assert charset.only == (has.index(True) if is_one else None)
    some = list(charset.some(3))
    assert all(map(charset.has, some))
    assert len(some) <= 3
    assert is_negated or bool(some) == any(has)
