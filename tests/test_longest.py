"""The list of the longest tests: how it is made, and that what it names is there."""

import ast
from pathlib import Path

import pytest

from longest import listed, longest, seconds_of

ROOT = Path(__file__).parents[1]


def test_the_longest_until_the_rest_is_short_enough() -> None:
    seconds = {"a": 1.0, "b": 5.0, "c": 2.0, "d": 5.0}
    assert longest(seconds, 13.0) == []
    assert longest(seconds, 8.0) == ["b"]
    assert longest(seconds, 3.0) == ["b", "d"]
    assert longest(seconds, 0.5) == ["b", "d", "c", "a"]


def test_cases_of_a_function_count_together(tmp_path: Path) -> None:
    junit = tmp_path / "junit.xml"
    junit.write_text(
        """<testsuites><testsuite>
        <testcase classname="tests.a.test_b" name="test_c[x::y.z]" time="1.5"/>
        <testcase classname="tests.a.test_b" name="test_c[1]" time="2"/>
        <testcase classname="tests.test_d" name="test_e" time="0.25"/>
        </testsuite></testsuites>"""
    )
    assert seconds_of(junit) == {"tests/a/test_b.py::test_c": 3.5, "tests/test_d.py::test_e": 0.25}


@pytest.mark.parametrize("name", sorted(listed()))
def test_what_is_listed_is_there(name: str) -> None:
    path, function = name.split("::")
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    assert function in {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
