"""`python -m cips_lab.dashboard`: what it builds is what wandb-workspaces itself reads, and what it refuses."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import wandb_workspaces.reports.v2 as wr
import wandb_workspaces.reports.v2.internal as report_models
import wandb_workspaces.workspaces as ws
import wandb_workspaces.workspaces.internal as workspace_models
from hydra import compose, initialize_config_dir

from cips_lab.configuration import conf_folder
from cips_lab.errors import UserError
from cips_lab.tracking.dashboard import make_dashboards
from cips_lab.tracking.wandb_curves import Curve, curves_of

Run = Callable[..., subprocess.CompletedProcess[str]]
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:wandb_workspaces.*")


@pytest.fixture(autouse=True)
def no_account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WANDB_API_KEY", "WANDB_ENTITY", "WANDB_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("NETRC", raising=False)


def configuration(*overrides: str) -> Any:
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        return compose("dashboard", ["name=x", "experiment=quickstart", *overrides])


def built(*overrides: str) -> dict[str, Any]:
    (text,) = make_dashboards(configuration(*overrides))
    found: dict[str, Any] = json.loads(text)
    return found


def test_the_command_needs_no_account(run: Run, tmp_path: Path) -> None:
    done = run("dashboard", "experiment=quickstart", "entity=me", "output=made")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["made/workspace.json", "made/report.json"]
    assert json.loads((tmp_path / "made" / "workspace.json").read_text())["entity"] == "me"
    assert json.loads((tmp_path / "made" / "report.json").read_text())["project"]["entityName"] == "me"
    assert not (tmp_path / "runs").exists()


def test_the_workspace_is_one() -> None:
    """Read back through the models of wandb-workspaces, it is the same."""
    sent = built("build=[workspace]", "entity=me", "project=p", "group=table3", "metrics.num_samples=2000")["workspace"]
    view = workspace_models.View.model_validate(sent)
    workspace = ws.Workspace._from_model(view)
    assert workspace._to_model().model_dump(mode="json", by_alias=True, exclude_none=True) == sent
    assert (workspace.entity, workspace.project, workspace.name) == ("me", "p", "table3")
    assert workspace.settings.x_axis == "kimg"
    assert workspace.auto_generate_panels is False
    assert [section.name for section in workspace.sections] == [
        "Overview",
        "Samples",
        "Losses",
        "Logits and gradient norms",
        "Throughput and memory",
        "efficientnet_lite0-1000",
        "efficientnet_lite0-2000",
    ]
    plots = [p for section in workspace.sections for p in section.panels if isinstance(p, wr.LinePlot)]
    assert all(str(plot.x) == "kimg" or plot.x == wr.Metric("kimg") for plot in plots)
    overview = [panel.title for panel in workspace.sections[0].panels]
    assert overview == [
        "Fréchet distance, efficientnet_lite0 (1000 samples)",
        "KID (1000 samples)",
        "Precision (1000 samples)",
        "Recall (1000 samples)",
        "Sliced Wasserstein distance (1000 samples)",
        "Best Fréchet distance, efficientnet_lite0",
    ]
    assert "Group" in str(workspace.runset_settings.filters)
    assert "table3" in str(workspace.runset_settings.filters)
    samples = {key for panel in workspace.sections[1].panels for key in panel.media_keys}
    assert samples == {"samples/generated", "samples/real"}


def test_the_report_is_one() -> None:
    sent = built("build=[report]", "entity=me", "group=table3")["report"]
    model = report_models.ReportViewspec.model_validate(sent)
    report = wr.Report._from_model(model)
    again = report._to_model().model_dump(mode="json", by_alias=True, exclude_none=True)
    assert kinds(again["spec"]["blocks"]) == kinds(sent["spec"]["blocks"])
    headings = [block.text for block in report.blocks if isinstance(block, wr.H2)]
    assert headings == ["Quality during training", "Final quality", "Samples", "Training", "All runs"]
    grids = [block for block in report.blocks if isinstance(block, wr.PanelGrid)]
    panels = [panel for grid in grids for panel in grid.panels]
    lines = [panel for panel in panels if isinstance(panel, wr.LinePlot)]
    bars = [panel for panel in panels if isinstance(panel, wr.BarPlot)]
    assert len(lines) == 17
    assert {(str(p.groupby_aggfunc), str(p.groupby_rangefunc)) for p in lines + bars} == {("mean", "stddev")}
    assert {p.groupby.name for p in lines + bars} == {"variant"}
    assert wr.SummaryMetric("final/fd_efficientnet_lite0") in [m for bar in bars for m in bar.metrics]
    assert any(isinstance(panel, wr.MediaBrowser) for panel in panels)
    (runset,) = grids[-1].runsets
    assert runset.groupby == ["config.variant"] or "variant" in str(runset.groupby)
    assert "summary:final/fd_efficientnet_lite0" in runset.pinned_columns
    assert not grids[-1].hide_run_sets
    for grid in grids:  # none lies over another
        places = [(p.layout.x, p.layout.y) for p in grid.panels]
        assert len(set(places)) == len(places)


def kinds(blocks: list[dict[str, Any]]) -> list[tuple[str, int]]:
    """What a report is made of, without the ids that are drawn anew."""
    panels = ("metadata", "panelBankSectionConfig", "panels")
    found = []
    for block in blocks:
        inner: Any = block
        for name in panels:
            inner = inner.get(name, {})
        found.append((block["type"], len(inner)))
    return found


def test_a_run_set_for_each_variant() -> None:
    sent = built("build=[report]", "compare=objective.r1_weight", "variants=[1,10]")["report"]
    sets = [b["metadata"]["runSets"] for b in sent["spec"]["blocks"] if b["type"] == "panel-grid"]
    assert [[s["name"] for s in found] for found in sets] == [["objective.r1_weight 1", "objective.r1_weight 10"]] * 5
    text = json.dumps(sets[0])
    assert "objective.value.r1_weight" in text
    assert "jobType" in text


def test_curves_of_a_configuration() -> None:
    curves = curves_of(
        configuration("metrics=canonical", "schedule.evaluate_samples=5000", "metrics.num_samples=50000")
    )
    assert Curve("inception", 5000, "fid") in curves
    assert Curve("vgg16", 50000, "recall") in curves
    assert len(curves) == 2 * 11
    assert Curve("vgg16", 50000, "recall").name == "vgg16-50000/recall"
    assert {c.metric for c in curves_of(configuration("metrics=clip", "metrics.names=[fd]"))} == {"fd_clip"}
    assert "isc" not in {c.metric for c in curves_of(configuration("metrics=dinov2"))}


def test_curves_of_a_run(tmp_path: Path) -> None:
    record = {"kimg": 1, "fid": 3.0, "kid": 0.1, "precision": 0.5, "extractor": "inception"}
    record |= {"manifold_extractor": "vgg16", "num_samples": 100}
    (tmp_path / "metrics.jsonl").write_text(json.dumps(record) + "\n")
    assert curves_of(configuration(f"run={tmp_path}")) == [
        Curve("inception", 100, "fid"),
        Curve("inception", 100, "kid"),
        Curve("vgg16", 100, "precision"),
    ]


def test_without_a_key_or_the_extra(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="dry_run=false needs an API key"):
        list(make_dashboards(configuration("dry_run=false")))
    monkeypatch.setitem(sys.modules, "wandb_workspaces.reports.v2", None)
    with pytest.raises(UserError, match=r"pip install 'cips-lab\[dashboard\]'"):
        list(make_dashboards(configuration()))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["build=[page]"], "choose from workspace, report"),
        (["build=[]"], "choose from workspace, report"),
        (["run=/nowhere"], "run=/nowhere: no evaluation"),
    ],
)
def test_mistakes(overrides: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        list(make_dashboards(configuration(*overrides)))


@pytest.mark.slow
def test_a_server_that_does_not_answer_is_one_message(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    done = run("dashboard", "experiment=quickstart", "dry_run=false", "entity=me", "build=[report]")
    assert done.returncode == 2
    assert "error: W&B: " in done.stderr
    assert "Traceback" not in done.stderr
