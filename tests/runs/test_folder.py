"""The names of a run folder's files, which one module alone knows."""

import ast
import re
from pathlib import Path

import pytest

import cips_lab
from cips_lab.runs import folder
from cips_lab.runs.folder import checkpoint_folders, kimg_label, kimg_of, sample_grids

SOURCE = Path(cips_lab.__file__).parent
FILES = {v for k, v in vars(folder).items() if k.isupper() and isinstance(v, str) and "." in v[1:]}
FOLDERS = {folder.CHECKPOINTS, folder.SAMPLES, folder.GUARD, folder.WANDB, folder.CSV, folder.TENSORBOARD}
ELSEWHERE = {
    *((f"metrics/{module}.py", "checkpoints") for module in ("weights", "extractors")),  # of model hubs
    ("preparing/preparation.py", "manifest.json"),  # of a set of pictures
    ("reporting/model_card.py", "metrics.json"),  # of a repository on the hub
}


def texts_of(tree: ast.AST) -> list[tuple[str, bool]]:
    """Every string that is no docstring, and whether it is a part of a path (``a / "b"``)."""
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef))
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    parts = {id(n.right) for n in ast.walk(tree) if isinstance(n, ast.BinOp) and isinstance(n.op, ast.Div)}
    return [
        (node.value, id(node) in parts)
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings
    ]


def named_in(source: str) -> list[str]:
    """What of a run folder a module's text names."""
    found = []
    for text, is_part in texts_of(ast.parse(source)):
        known = [name for name in FILES if re.search(rf"(^|/){re.escape(name)}$", text)]
        found += known or [text] * ((is_part and text in FOLDERS) or folder.MOMENT in text)
    return found


def test_no_other_module_names_a_file_of_a_run_folder() -> None:
    found = [
        (module.relative_to(SOURCE).as_posix(), name)
        for module in sorted(SOURCE.rglob("*.py"))
        if module != Path(folder.__file__)
        for name in named_in(module.read_text(encoding="utf-8"))
    ]
    assert [one for one in found if one not in ELSEWHERE] == []


def test_the_search_finds_a_name_in_every_shape() -> None:
    named = 'a = run / "samples"\nb = run / "config.yaml"\nc = f"{run}/report.html"\nd = "best-kimg-*"\n'
    assert set(named_in(named)) == {"config.yaml", "best-kimg-*", "samples", "report.html"}
    assert named_in('"""config.yaml of a run."""\na = "samples"\nb = "its metrics.jsonl is whole"\n') == []


@pytest.mark.parametrize(
    ("name", "kimg"),
    [("kimg-00012.800", 12.8), ("best-kimg-00000.040", 0.04), ("damaged-kimg-00000.040", None), ("real", None)],
)
def test_a_moment_is_read_out_of_a_name(name: str, kimg: float | None) -> None:
    assert kimg_of(name) == kimg


def test_what_is_no_moment_is_neither_checkpoint_nor_grid(tmp_path: Path) -> None:
    for name in (kimg_label(16), kimg_label(8), "kimg-copy", "best-kimg-00000.008"):
        (tmp_path / "checkpoints" / name).mkdir(parents=True)
        (tmp_path / "samples").mkdir(exist_ok=True)
        (tmp_path / "samples" / f"{name}.png").touch()
    assert [path.name for path in checkpoint_folders(tmp_path)] == [kimg_label(8), kimg_label(16)]
    assert list(sample_grids(tmp_path)) == [0.008, 0.016]
