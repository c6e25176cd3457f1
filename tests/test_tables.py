import csv
import math

import pytest

from tfvn import tables


@pytest.mark.parametrize(
    "value, text",
    [
        (0.0123456, "0.0123"),
        (1.0, "1.00"),
        (33.44, "33.4"),
        (99.96, "100"),
        (1234.4, "1234"),
        (-0.5, "-0.500"),
        (math.nan, "-"),
    ],
)
def test_numbers_have_three_significant_digits_and_no_exponent(value, text):
    assert tables.digits(value) == text


def test_decimals_are_three():
    assert tables.decimals(0.90649) == "0.906"
    assert tables.decimals(math.nan) == "-"


def test_a_table_is_aligned_and_its_cells_stay_in_it():
    text = tables.aligned([["model", "K"], ["a|b", "9"], ["two\nlines", "100"]])
    assert text == (
        "| model     |   K |\n| --------- | --: |\n| a\\|b      |   9 |\n| two lines | 100 |\n"
    )


@pytest.mark.parametrize("name", ["=1+2", "+1", "-1", "@SUM(A1)", "\tx", "\rx"])
def test_a_text_is_never_a_formula(name):
    assert tables.csv_field(name) == f"'{name}"


def test_a_csv_file_has_its_columns_eight_digits_and_no_nan(tmp_path):
    path = tmp_path / "table.csv"
    rows = [{"a": 1 / 3, "b": "x"}, {"a": math.nan, "b": "-y", "c": 7}]
    tables.write_csv(path, rows, ["b", "a", "c"])
    with open(path, newline="", encoding="utf-8") as file:
        found = list(csv.reader(file))
    assert found == [["b", "a", "c"], ["x", "0.33333333", ""], ["'-y", "", "7"]]
    with pytest.raises(ValueError, match="'c'"):
        tables.write_csv(path, rows)


def test_fields_may_stay_as_they_were_read(tmp_path):
    path = tmp_path / "table.csv"
    rows = [{"a": "-0.5", "b": "1.234567891"}, {"a": "nan"}]
    tables.write_csv(path, rows, ["a", "b"], field=str)
    assert tables.read_csv(path)[1] == [rows[0], {"a": "nan", "b": ""}]


def test_a_csv_file_is_read_as_its_columns_and_rows_of_text(tmp_path):
    path = tmp_path / "table.csv"
    tables.write_csv(path, [{"a": 0.5, "b": "x"}, {"a": math.nan, "b": "y"}])
    assert tables.read_csv(path) == (["a", "b"], [{"a": "0.5", "b": "x"}, {"a": "", "b": "y"}])
    path.write_text("a,b\n1\n2,3,4\n")
    assert tables.read_csv(path)[1] == [{"a": "1", "b": None}, {"a": "2", "b": "3", None: ["4"]}]
    path.write_text("")
    assert tables.read_csv(path) == ([], [])
    path.write_bytes(b"a\n\xff\n")
    with pytest.raises(ValueError, match="utf-8"):
        tables.read_csv(path)
    assert tables.read_csv(path, errors="replace") == (["a"], [{"a": "�"}])
