"""What is typed arrives: overrides that Hydra's grammar has no words for, and those that it reads as another thing."""

import shlex

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st

from cips_lab.configuration import quoted
from cips_lab.configuration.overrides import literal, readable
from cips_lab.errors import UserError

# "${" is a reference, wherever it stands, and no text.
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")).filter(lambda text: "${" not in text)
SIGNS = st.text(st.sampled_from(" \"'\\,=()[]{}#:~/$*@|&;-+.abzé사1")).filter(lambda text: "${" not in text)
# Of a path, all but a comma (a sweep's), a backslash (the grammar's escape) and braces after a dollar.
PATHS = st.one_of(TEXT, SIGNS).filter(lambda text: not set(text) & set(",\\") and text.isprintable())


def arrives(override: str) -> object:
    return OverridesParser.create().parse_override(override).value()


@given(st.one_of(TEXT, SIGNS))
def test_a_quoted_value_is_itself(text: str) -> None:
    assert arrives(f"data.path={quoted(text)}") == text


@given(PATHS)
def test_a_path_arrives_as_it_was_typed(text: str) -> None:
    assert arrives(literal("train", f"data.path=/{text}", sweeps=False)) == f"/{text}"


@given(PATHS)
def test_a_relative_path_in_a_sweep_too(text: str) -> None:
    assert arrives(literal("train", f"name=a/{text}", sweeps=True)) == f"a/{text}"


@given(st.one_of(TEXT, SIGNS))
def test_nothing_but_a_mistake_is_made_of_any_text(text: str) -> None:
    """Hydra reads whatever comes out; what it could read before means the same."""
    try:
        read = literal("synthesize", f"truncation={text}", sweeps=False)
    except UserError:
        assert "," in text or "(" in text or "*" in text or text == "null"
        return
    assert OverridesParser.create().parse_override(read)


@pytest.mark.parametrize(
    ("typed", "value"),
    [
        ("data.path=/사진", "/사진"),
        ("ckpt=runs/lr=0.1", "runs/lr=0.1"),
        ("name=2024", "2024"),
        ("name=007", "007"),
        ("name=1e3", "1e3"),
        ("name=true", "true"),
        ("data.path=/ends in a space ", "/ends in a space "),
        ("data.path=photos (1)", "photos (1)"),
        ('data.path="/it\'s"', "/it's"),  # quoted by the user
        ("data.path=null", None),
        ("seed=3", 3),
        ("truncation=0.5", 0.5),
        ("data.path=[/a,/b]", ["/a", "/b"]),  # Hydra can read it; it is refused for being a list
    ],
)
def test_words(typed: str, value: object) -> None:
    assert arrives(literal("train", typed, sweeps=False)) == value


def test_home_is_filled_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ä b")
    assert arrives(literal("train", "data.path=~/x", sweeps=False)) == "/home/ä b/x"
    assert arrives(literal("train", "data.path=a~/x", sweeps=False)) == "a~/x"


def test_a_comma_is_a_sweeps_and_the_message_says_how_to_mean_it() -> None:
    for typed, sweeps in (("name=a,b", False), ("name=ä,b", True)):
        with pytest.raises(UserError, match="if this is one value, type ") as refused:
            literal("train", typed, sweeps)
        told = str(refused.value).partition("type ")[2].partition(";")[0]
        (command,) = shlex.split(told)  # as a shell reads it
        assert arrives(command) == typed.partition("=")[2]
    assert literal("train", "name=a,b", sweeps=True) == "name=a,b"
    assert arrives(literal("train", "name=ä,b", sweeps=False)) == "ä,b"


@pytest.mark.parametrize("typed", ["quickstart", "a b=3", "사진=3"])
def test_what_is_no_override(typed: str) -> None:
    with pytest.raises(UserError, match="see --help"):
        literal("train", typed, sweeps=False)


def test_groups_are_not_null() -> None:
    with pytest.raises(UserError, match="logger=none leaves it out"):
        literal("train", "logger=null", sweeps=False)
    with pytest.raises(UserError, match=r"choose data=avatars\|blue_marble\|folder"):
        literal("evaluate", "data=null", sweeps=False)


def test_hydras_flags_stay_and_may_stand_anywhere() -> None:
    arguments = ["--config-dir", "a=b", "name=ä", "--multirun", "seed=0,1", "-cn", "mine"]
    assert readable("train", arguments) == ['name="ä"', "seed=0,1", "--config-dir", "a=b", "--multirun", "-cn", "mine"]
