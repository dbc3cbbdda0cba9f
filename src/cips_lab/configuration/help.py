"""`--help`: a command's prose and examples, and its options with values and comments, as its YAML file has them."""

import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

import yaml
from omegaconf import OmegaConf

from cips_lab.configuration import conf_folder, primary_file

WIDTH = 120
NAMES, VALUES = 34, 14  # columns of the widest name and value that comments stand beside


@dataclass(frozen=True)
class Option:
    """A line of a YAML file: a name with dots, the value as it is written ("" of what holds others), the comment."""

    name: str
    value: str
    comment: str

    @property
    def is_wiring(self) -> bool:
        """Whether it only hands on another option: ``every_kimg: ${schedule.log_kimg}``, without a comment."""
        return self.value.startswith("${") and not self.comment


def options_in(path: Path, prefix: str = "") -> list[Option]:
    """The options of a YAML file, in its order; `prefix` goes before their names.

    A comment stands behind its option, and goes on in the same column below; or it stands in lines before its option.
    """
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines()

    def walk(node: yaml.MappingNode, prefix: str) -> Iterator[Option]:
        for key, value in node.value:
            if key.value in ("defaults", "hydra") or key.value.startswith("_"):
                continue
            holds = isinstance(value, yaml.MappingNode) and not value.flow_style
            start, end = (value.start_mark, key.end_mark) if holds else (value.start_mark, value.end_mark)
            shown = "" if holds else text[start.index : end.index].strip()
            yield Option(prefix + key.value, shown, _comment(lines, key.start_mark, end))
            if holds:
                yield from walk(value, f"{prefix}{key.value}.")

    root = yaml.compose(text, yaml.SafeLoader)
    return list(walk(root, prefix)) if isinstance(root, yaml.MappingNode) else []


def head_of(path: Path) -> str:
    """What a file says of itself in its first lines, without examples."""
    said = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        if not line.startswith(("#   ", "# @")):
            said.append(line.strip("# "))
    return " ".join(said)


def _comment(lines: list[str], start: yaml.Mark, end: yaml.Mark) -> str:
    rest = lines[start.line][end.column if end.line == start.line else 0 :]
    before, sign, comment = rest.partition("#") if end.line == start.line else ("", "", "")
    if not sign or before.strip(" :"):
        above = start.line
        while above and lines[above - 1].startswith(" " * start.column + "#"):
            above -= 1
        if above == 0:  # the head of the file
            return ""
        return " ".join(line.strip(" #") for line in lines[above : start.line])
    parts, column = [comment.strip()], lines[start.line].index("#", end.column)
    for line in lines[start.line + 1 :]:
        if line[:column].strip() or line[column : column + 1] != "#":
            break
        parts.append(line[column:].strip(" #"))
    return " ".join(parts)


def help_text(command: str, searched: str | None = None, words: Mapping[str, str] = MappingProxyType({})) -> str:
    """What ``python -m cips_lab.COMMAND --help`` prints.

    Args:
        command: and primary configuration.
        searched: the folder of `--config-dir`, whose options of groups are listed too.
        words: what the code knows and comments leave open: ``{name}`` in one becomes the text.
    """
    path = primary_file(command)
    primary = OmegaConf.load(path)
    folders = [conf_folder()] + ([] if searched is None else [Path(searched)])
    parts = [
        str(primary.hydra.help.template).strip(),
        "Options (key=value), with their defaults:",
        table(filled(options_in(path), words)),
    ]
    entries = [entry for entry in primary.defaults if OmegaConf.is_dict(entry)]
    chosen = {str(key): str(entry[key] or "null") for entry in entries for key in entry if "/" not in str(key)}
    if chosen:
        parts.append("Groups (group=option), the default first, with what it is and its options:")
    parts += [group_text(group, option, folders, words) for group, option in chosen.items()]
    if command == "train":
        parts.append(choices_text("+sweep=", [path.stem for path in sorted((conf_folder() / "sweep").glob("*.yaml"))]))
    for base in (entry for entry in primary.defaults if not OmegaConf.is_dict(entry) and entry != "_self_"):
        parts.append(f"And every option and group of cips_lab.{base}: python -m cips_lab.{base} --help")
    parts.append("--cfg job prints the composed configuration; --cfg job --resolve fills the values in.")
    return "\n\n".join(part for part in parts if part) + "\n"


def group_text(group: str, default: str, folders: list[Path], words: Mapping[str, str]) -> str:
    """A group's choices, the default first, what that is, and its options."""
    files = {path.stem: path for folder in folders for path in sorted((folder / group).glob("*.yaml"))}
    lines = [choices_text(f"{group}=", [default, *(name for name in files if name != default)])]
    if default in files:
        package = "" if "@package _global_" in files[default].read_text(encoding="utf-8") else f"{group}."
        lines += textwrap.wrap(head_of(files[default]), WIDTH, initial_indent="  ", subsequent_indent="  ")
        options = filled(options_in(files[default], package), words)
        lines.append(table([option for option in options if not option.is_wiring]))
    return "\n".join(line for line in lines if line)


def filled(options: list[Option], words: Mapping[str, str]) -> list[Option]:
    """The same with the words of their comments."""
    for name, text in words.items():
        options = [replace(option, comment=option.comment.replace(f"{{{name}}}", text)) for option in options]
    return options


def choices_text(start: str, choices: list[str]) -> str:
    """``group=a|b|c``, in lines that fit."""
    wrapped = textwrap.wrap("| ".join(choices), WIDTH - len(start))
    return ("\n" + " " * len(start)).join(line.replace("| ", "|") for line in wrapped).join([start, ""])


def table(options: list[Option]) -> str:
    """Names, values and comments in columns."""
    shown = [option for option in options if option.value or option.comment]
    names = min(max((len(option.name) for option in shown), default=0), NAMES)
    lines = []
    for option in shown:
        left = f"  {option.name:<{names}} {option.value:<{VALUES}} "
        column = names + VALUES + 4
        comment = textwrap.wrap(option.comment, WIDTH - column)
        if comment and len(left) <= column:
            lines.append(f"{left:<{column}}{comment.pop(0)}")
        else:
            lines.append(left.rstrip())
        lines += [" " * column + line for line in comment]
    return "\n".join(line.rstrip() for line in lines)
