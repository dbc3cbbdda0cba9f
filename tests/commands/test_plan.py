"""`python -m cips_lab.plan`: what it prints and writes, and what it refuses."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

Run = Callable[..., subprocess.CompletedProcess[str]]


def test_a_plan_on_paper_and_in_a_file(run: Run, tmp_path: Path) -> None:
    result = run("plan", "experiment=debug", "trainer.devices=2", "output=plans/plan.json")
    assert result.returncode == 0, result.stderr
    for line in ("8 on 2 process(es): 4 images each", "generator step", "Adam moments", "of 80.00 GiB (h100)", "fits"):
        assert line in result.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["plans"]  # no run folder, no data
    plan = json.loads((tmp_path / "plans" / "plan.json").read_text())
    assert plan["processes"] == 2
    assert plan["tiled"]["peak_bytes"] == sum(plan["tiled"]["memory"][plan["tiled"]["worst_phase"]].values())
    assert plan["tiled"]["flops_per_kimg"] == 1000 * sum(plan["tiled"]["flops_per_image"].values())
    assert plan["tiled"]["seconds"]["bf16"] > 0


def test_help_and_mistakes(run: Run, tmp_path: Path) -> None:
    shown = run("plan", "--help")
    assert shown.returncode == 0
    assert "python -m cips_lab.plan experiment=ffhq_256 trainer.devices=8" in shown.stdout
    for override in ("output=plan.txt", "plan.accelerator=abacus"):
        result = run("plan", "experiment=debug", override)
        assert result.returncode == 2
        assert result.stderr.startswith("error: ")
        assert len(result.stderr.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir())
