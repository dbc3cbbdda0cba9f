"""Text is UTF-8 whatever the locale says: no call leaves its encoding to it."""

import ast
from pathlib import Path

import pytest

import cips_lab

SOURCE = Path(cips_lab.__file__).parent
TEXT = {"read_text", "write_text", "open", "NamedTemporaryFile", "fdopen"}
BINARY_BY_DEFAULT = {
    "av",
    "inner",
    "lmdb",
    "tarfile",
    "Image",
    "zipfile",
    "archive",
    "self",
    "source",
    "os",
    "webbrowser",
    "tifffile",
}  # `open` of other things


def without_encoding(source: str) -> list[int]:
    """Lines that read or write text in whatever encoding the locale has."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", None)
        owner = node.func.value if isinstance(node.func, ast.Attribute) else None
        of = getattr(owner, "id", getattr(owner, "attr", None))
        if name not in TEXT or (name == "open" and of in BINARY_BY_DEFAULT):
            continue
        modes = [a.value for a in node.args if isinstance(a, ast.Constant) and isinstance(a.value, str)]
        binary = any("b" in mode for mode in modes) and name not in ("read_text", "write_text")
        if not binary and not any(keyword.arg == "encoding" for keyword in node.keywords):
            found.append(node.lineno)
    return found


def test_no_text_is_left_to_the_locale() -> None:
    found = {path.name: without_encoding(path.read_text(encoding="utf-8")) for path in SOURCE.rglob("*.py")}
    assert {name: lines for name, lines in found.items() if lines} == {}


@pytest.mark.parametrize("call", ["path.read_text()", "path.write_text(x)", "open(path)", "path.open('w')"])
def test_what_would_be_found(call: str) -> None:
    assert without_encoding(f"\n{call}") == [2]


@pytest.mark.parametrize("call", ["path.read_text(encoding='utf-8')", "path.open('rb')", "Image.open(path)"])
def test_what_is_fine(call: str) -> None:
    assert without_encoding(call) == []
