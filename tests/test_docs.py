"""What the documents say is there: commands that compose, links that lead somewhere, targets of make."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser

from cips_lab.configuration import conf_folder
from cips_lab.configuration.overrides import literal
from cips_lab.configuration.overrides import parsed as parsed_by_hydra

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("experiments/**/*.md")])
FOLDERS = {"tabulate": "tabulate"}  # commands whose configuration has a folder of its own
OTHERS = {"sweep_agent": "train"}  # commands that take another's configuration


def commands(document: Path) -> Iterator[tuple[str, list[str]]]:
    """(command, its arguments) of every line of code that calls one of ours."""
    text = document.read_text().replace("\\\n", " ")
    for block in re.findall(r"```\w*\n(.*?)```|^(    python .*)$", text, re.DOTALL | re.MULTILINE):
        for line in "".join(block).splitlines():
            found = re.search(r"-m cips_lab\.(\w+)(.*)", line)
            if found:
                yield found[1], shlex.split(found[2], comments=True)


LINES = [(document, *line) for document in DOCUMENTS for line in commands(document)]


def test_there_are_commands_to_check() -> None:
    assert {command for _, command, _ in LINES} >= {"train", "synthesize", "evaluate", "plan", "tabulate", "report"}
    assert len(LINES) > 40


@pytest.mark.parametrize(
    ("command", "arguments"),
    [pytest.param(command, args, id=f"{path.name}:{command} {' '.join(args)}"[:90]) for path, command, args in LINES],
)
def test_commands_compose(command: str, arguments: list[str]) -> None:
    overrides = [argument for argument in arguments if re.match(r"[^-].*=", argument) and "..." not in argument]
    overrides = [text if parsed_by_hydra(text) else literal(command, text, sweeps=False) for text in overrides]
    parsed = OverridesParser.create().parse_overrides(overrides)
    folder, name = conf_folder() / FOLDERS.get(command, ""), OTHERS.get(command, command)
    assert (folder / f"{name}.yaml").is_file()
    with initialize_config_dir(str(folder.resolve()), version_base="1.3"):
        if any(override.is_sweep_override() for override in parsed):
            assert "--multirun" in arguments or command == "sweep_agent"
        first = [
            f"{override.get_key_element()}={next(iter(override.sweep_string_iterator()))}"
            if override.is_choice_sweep()
            else override.input_line
            for override in parsed
            if not override.is_sweep_override() or override.is_choice_sweep()
        ]
        compose(name, first, return_hydra_config=True)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_and_pictures_are_there(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", document.read_text()):
        if not target.startswith(("http://", "https://")):
            assert (document.parent / target).exists(), target


def test_targets_of_make_are_there() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for document in DOCUMENTS:
        for target in re.findall(r"(?:^|`)make ([a-z-]+)", document.read_text(), re.MULTILINE):
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"{document.name}: make {target}"


def test_promises_name_tests_that_are_there() -> None:
    rows = re.findall(
        r"^\| (?!promise|---)[^|]*\| ([^|]*) \|([^|]*)\|$", (ROOT / "docs/reliability.md").read_text(), re.M
    )
    assert len(rows) > 30
    file = ROOT
    for name, chosen in rows:
        file = file if name == "the same" else ROOT / "tests" / name
        tests = re.findall(r"def (test_\w+)", file.read_text())
        for part in filter(None, chosen.strip(" `").split(" or ")):
            assert any(part in test for test in tests), f"docs/reliability.md: {file.name} has no test {part!r}"
