"""What `webui doctor` shows of its report; the report itself is an integration test."""

from __future__ import annotations

import pytest

from webui.cli.doctor import size, table


@pytest.mark.parametrize(
    ("num_bytes", "said"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1000, "1 kB"),
        (102_400, "102 kB"),
        (999_600, "1.0 MB"),
        (93_000_000, "93.0 MB"),
        (25_280_000_000, "25.3 GB"),
        (4_000_000_000_000_000, "4000.0 TB"),
    ],
)
def test_size_has_a_fitting_unit(num_bytes: int, said: str) -> None:
    assert size(num_bytes) == said


def test_table_puts_values_in_words() -> None:
    report = {
        "disk": {"data_folder_exists": False, "data_free_bytes": 5_000_000},
        "models": {
            "a_b.gguf": {"name": "a_b", "size_bytes": 93_000_000, "error": None},
            "c.gguf": {"name": "c", "size_bytes": 21, "error": "c.gguf is incomplete"},
        },
        "database": {"exists": True, "sqlite_has_wal_fix": True, "schema": None},
    }
    assert table(report).splitlines() == [
        "disk",
        "  data folder exists  no",
        "  data free           5.0 MB",
        "models",
        "  a_b.gguf  93.0 MB, can be read",
        "  c.gguf    21 bytes, c.gguf is incomplete",
        "database",
        "  exists           yes",
        "  write-ahead log  safe: this SQLite has the fix of 3.51.3",
        "  schema           -",
    ]


def test_table_says_that_there_is_no_model() -> None:
    assert table({"models": {}}) == "models\n  none"


def test_older_sqlite_is_explained() -> None:
    words = table({"database": {"sqlite_has_wal_fix": False}})
    assert "older than the fix of 3.51.3, but only one connection writes" in words
