"""SIGKILL at any moment: the same command goes on, and the run ends as if nothing had been."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch.utils._pytree import tree_flatten

PROGRAM = Path(__file__).with_name("train_and_kill.py")
EVERY = 0.008  # one iteration: a line and a checkpoint each, so that most of the time something is being written


def train_and_kill(folder: Path, cache: Path, iterations: int, kills: list[dict[str, Any]]) -> dict[str, Any]:
    overrides = [
        "experiment=debug",
        "trainer=cpu",
        "callbacks.samples.rows=1",
        f"schedule.total_kimg={iterations * EVERY}",
        f"schedule.log_kimg={EVERY}",
        f"schedule.checkpoint_kimg={EVERY}",
        f"schedule.sample_kimg={10 * EVERY}",
        "schedule.keep_checkpoints=2",
    ]
    plan = folder / "plan.json"
    plan.write_text(json.dumps({"overrides": overrides, "first": EVERY, "kills": kills}))
    result = subprocess.run(
        [sys.executable, PROGRAM, plan],
        cwd=folder,
        env=os.environ | {"CIPS_LAB_CACHE": str(cache), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    log = folder / "log.txt"
    assert result.returncode == 0, result.stderr + (log.read_text()[-3000:] if log.exists() else "")
    return json.loads(result.stdout.splitlines()[-1])


def lines(run: Path) -> list[dict[str, float]]:
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in r.items() if not k.startswith(("time/", "memory/"))} for r in records]


def assert_equal_runs(folder: Path, iterations: int) -> None:
    """Bit for bit: the averaged generator, all networks, both optimisers, the clock, and every line of numbers."""
    label = f"kimg-{iterations * EVERY:09.3f}"
    killed, whole = (folder / "runs" / name / "checkpoints" / label for name in ("killed", "whole"))
    a, b = (load_file(path / "generator.safetensors") for path in (killed, whole))
    assert a.keys() == b.keys()
    assert all(torch.equal(a[name], b[name]) for name in a)
    states = []
    for path in (killed, whole):
        checkpoint = torch.load(path / "training.ckpt", weights_only=True)
        states.append(tree_flatten([checkpoint[k] for k in ("state_dict", "optimizer_states", "cips_lab")]))
    (ours, our_tree), (theirs, their_tree) = states
    assert our_tree == their_tree
    for x, y in zip(ours, theirs, strict=True):
        assert torch.equal(x, y) if isinstance(x, torch.Tensor) else x == y
    assert lines(folder / "runs" / "killed") == lines(folder / "runs" / "whole")
    kimgs = [round(line["kimg"] / EVERY) for line in lines(folder / "runs" / "killed")]
    assert kimgs == list(range(1, iterations + 1))
    left = [sorted(p.name for p in path.parent.iterdir()) for path in (killed, whole)]
    assert left[0] == left[1], "neither leftovers nor checkpoints that should have been pruned"


@pytest.mark.timeout(900)
def test_killed_at_the_nastiest_places(tmp_path: Path, cache: Path) -> None:
    places = ["between_writing_and_rename", "between_rename_and_pruning", "in_a_line", "in_the_configuration"]
    report = train_and_kill(tmp_path, cache, 12, [{"place": place} for place in places])
    assert [a["status"] for a in report["killed"]] == [-9] * 4
    assert report["last"]["status"] == 0
    written, renamed, line, _ = (a["left"] for a in report["killed"])
    assert written == [".partial-kimg-00000.024", "kimg-00000.008", "kimg-00000.016"]
    assert renamed == ["kimg-00000.024", "kimg-00000.032", "kimg-00000.040"]  # keeps two: the first is to go
    assert line == ["kimg-00000.048", "kimg-00000.056"]
    assert_equal_runs(tmp_path, 12)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_fifty_kills_at_random(tmp_path: Path, cache: Path) -> None:
    random_ = random.Random(50)
    kinds = ["start"] * 10 + ["training"] * 20 + ["save"] * 20
    random_.shuffle(kinds)
    kills = [{kind: random_.uniform(0, 1)} for kind in kinds]
    iterations = 500
    report = train_and_kill(tmp_path, cache, iterations, kills)
    assert [a["status"] for a in report["killed"]] == [-9] * 50, "a run that came to its end cannot be killed"
    assert report["last"]["status"] == 0
    halves = [{name for name in a["left"] if name.startswith(".partial-kimg-")} for a in report["killed"]]
    inside = sum(bool(now - before) for before, now in zip([set(), *halves], halves, strict=False))
    assert inside >= 5, "too few of the kills hit a save"
    newest = [max((n for n in a["left"] if n.startswith("kimg-")), default="") for a in report["killed"]]
    assert newest == sorted(newest), "a good checkpoint was lost"
    assert len(set(newest)) > 20, "the kills hit a run that advanced"
    print(f"{inside} of 50 kills inside a save; {len(set(newest))} different checkpoints continued from")
    assert_equal_runs(tmp_path, iterations)
