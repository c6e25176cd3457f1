"""The tables of conftest.py name modules and tests that are there."""

import re
from pathlib import Path

import conftest
import pytest

FOLDER = Path(__file__).parent
TABLES = ("LONGEST", "ONE_STACK", "SECOND_STACK", "FIRST_CASE", "AS_TRACED", "UNFUSED", "UNDRAWN")


@pytest.mark.parametrize("table", TABLES)
def test_every_module_of_a_table_is_there(table):
    assert set(getattr(conftest, table)) <= {path.stem for path in FOLDER.glob("test_*.py")}


@pytest.mark.parametrize("module", conftest.SECOND_STACK)
def test_every_test_of_the_second_stack_is_there(module):
    text = (FOLDER / f"{module}.py").read_text(encoding="utf-8")
    found = set(re.findall(r"^def (test_\w+)\(", text, re.M))
    assert conftest.SECOND_STACK[module] <= found


def test_a_module_is_left_out_whole_or_in_part():
    assert not conftest.ONE_STACK & set(conftest.FIRST_CASE)
