"""`--help` is made of the YAML files: every option has a comment there, and both are printed."""

import re
import shlex

import pytest
from hydra import compose, initialize_config_dir

from cips_lab.configuration import conf_folder, primary_file
from cips_lab.configuration.help import help_text, options_in
from cips_lab.configuration.known import choices
from cips_lab.configuration.options import COMMANDS, GROUPS
from cips_lab.configuration.overrides import literal, parsed

SPREAD = re.compile(r"\s+")


def together(text: str) -> str:
    """Without the breaks of lines."""
    return SPREAD.sub(" ", text)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_has_a_comment_and_is_printed(command: str) -> None:
    text = help_text(command)
    options = options_in(primary_file(command))
    own = {name for name in COMMANDS[command] if name.partition(".")[0] not in ("schedule", "trainer")}
    if command not in ("plan", "dashboard"):  # which begin with those of train
        assert own <= {option.name for option in options}
    for option in options:
        if option.value:
            assert option.comment, option.name
            assert re.search(rf"^  {re.escape(option.name)} +{re.escape(option.value)}( |$)", text, re.MULTILINE)
        assert option.comment in together(text), option.name


@pytest.mark.parametrize("command", ["train", "evaluate"])
def test_options_of_groups_are_printed_too(command: str) -> None:
    text = help_text(command)
    for group in (*GROUPS[command], "trainer"):
        listed = re.search(rf"^{group}=([\w|]+)$", text, re.MULTILINE)
        assert listed, group
        assert set(listed[1].split("|")) == set(choices(group))
        default = listed[1].split("|")[0]
        for option in options_in(conf_folder() / group / f"{default}.yaml", f"{group}."):
            if option.value and not option.is_wiring:
                assert option.comment, option.name
                assert f"\n  {option.name} " in text


@pytest.mark.parametrize("command", COMMANDS)
def test_it_fits_and_its_examples_compose(command: str) -> None:
    text = help_text(command)
    assert max(map(len, text.splitlines())) <= 120
    assert "Options (key=value)" in text
    examples = re.findall(r"python -m cips_lab\.(\w+) (.*)", text)
    assert any(name == command for name, _ in examples)
    for name, arguments in examples:
        given = [argument for argument in shlex.split(arguments) if not argument.startswith("--")]
        single = [re.sub(r"=(\w+),[\w,]+$", r"=\1", argument) for argument in given]  # the first of a sweep's values
        with initialize_config_dir(str(primary_file(name).parent), version_base="1.3"):
            compose(
                name, [a if parsed(a) else literal(name, a, sweeps=False) for a in single], return_hydra_config=True
            )


def test_tabulate_is_no_group_of_train() -> None:
    assert not re.search(r"^\+?tabulate", help_text("train"), re.MULTILINE)
    assert "+sweep=" in help_text("train")


def test_groups_of_the_users_own_folder(tmp_path) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "generator").mkdir()
    (tmp_path / "generator" / "mine.yaml").write_text("# Mine.\ndefaults: [cips, _self_]\n")
    assert "|mine" in help_text("train", str(tmp_path))


def test_comments_are_read_wherever_they_stand(tmp_path) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "a.yaml"
    path.write_text(
        "# Of the file.\na: 1\nb: 'x # y'   # behind\nc:            # of c\n  d: [1, 2]   # goes\n              # on\n"
        "  # before\n  e: {f: 1}\n  _target_: no\ng: >-\n  long\n  text\nh: ${a}\ndefaults: [x]\n"
    )
    assert [(o.name, o.value, o.comment) for o in options_in(path)] == [
        ("a", "1", ""),
        ("b", "'x # y'", "behind"),
        ("c", "", "of c"),
        ("c.d", "[1, 2]", "goes on"),
        ("c.e", "{f: 1}", "before"),
        ("g", ">-\n  long\n  text", ""),
        ("h", "${a}", ""),
    ]
