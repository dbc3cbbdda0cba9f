"""`python -m cips_lab.analyze`: every figure of a run, its files, its page, and what is said where one cannot be."""

import csv
import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from browser import CHROMIUM, REQUIRED, Browser
from wandb_log import offline_runs

from cips_lab.analysis import figures
from cips_lab.analysis.figure import figures as all_figures
from cips_lab.interop.native import save_generator
from cips_lab.networks.cips import CIPSGenerator
from cips_lab.networks.stylegan2 import StyleGAN2Generator
from cips_lab.reporting.analyses import read_analyses
from forked import Python

Run = Callable[..., subprocess.CompletedProcess[str]]
FEW = ("trainer=cpu", "num_samples=8", "seeds=0-2")
OPTIONS = {"resolution": 16, "z_dim": 8, "w_dim": 8, "mapping_layers": 2}


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Files of both classes, that lie in no run folder."""
    folder, found = tmp_path_factory.mktemp("weights"), {}
    torch.manual_seed(0)
    for kind, options in (
        (CIPSGenerator, OPTIONS | {"width": 16}),
        (StyleGAN2Generator, OPTIONS | {"channel_base": 128, "channel_max": 16}),
    ):
        name = kind.__name__
        found[name] = folder / f"{name}.safetensors"
        target = f"{kind.__module__}.{name}"
        save_generator(kind(**options), found[name], {"_target_": target, **options}, kimg=1.0)  # type: ignore[arg-type]
    return found


def test_all_figures_of_a_run_and_their_page(run: Run, tmp_path: Path) -> None:
    """Beside the baseline, which most figures leave out with a sentence; the run's report shows the figures then.

    Styles move the run's waves: some figures take generators apart.
    """
    moving = ["model.fourier_waves=pairs", "model.shift=1", "model.rotation=1"]
    for name, *options in (["mine", *moving], ["baseline", "generator=stylegan2"]):
        trained = run("train", "experiment=debug", "trainer=cpu", f"name={name}", *options)
        assert trained.returncode == 0, trained.stderr
    result = run("analyze", "ckpt=runs/mine", "ckpts=[runs/baseline]", *FEW)
    assert result.returncode == 0, result.stderr
    folder = tmp_path / "runs" / "mine" / "analysis"
    made = {analysis.name: analysis for analysis in read_analyses(folder)}
    unmade = set(figures.names()) - set(made)
    assert all(f"{name}: " in (folder / "analysis.html").read_text() for name in unmade)
    assert len(unmade) <= 1, unmade  # resolution_distance, where no finer pictures are
    assert [analysis.place for analysis in made.values()][:3] == ["Figure 3", "Figure 4", "Figure 5"]
    assert made["encoding_pca"].left_out == ["stylegan2 is convolutional: its pixels have no encoding"]
    assert made["spectrum"].models == ["cips", "stylegan2"]
    for analysis in made.values():
        assert all((folder / name).stat().st_size > 0 for name in analysis.files)
        assert analysis.reading.endswith("."), analysis.reading
        with (folder / f"{analysis.name}.csv").open(newline="") as file:
            assert list(csv.DictReader(file)), analysis.name
        assert f"{analysis.name}: {analysis.title}" in result.stdout
    report = (tmp_path / "runs" / "mine" / "report.html").read_text()
    assert all(f'id="{name}"' in report for name in made)
    if CHROMIUM is not None or REQUIRED:
        look_at(folder / "analysis.html", len(made))
        look_at(tmp_path / "runs" / "mine" / "report.html", len(made))


def look_at(page: Path, count: int) -> None:
    """Every picture is loaded, nothing else is asked for, and a phone shows it without scrolling sideways."""
    with Browser() as browser:
        for width in (1200, 390):
            browser.open(page, width=width)
            loaded = browser.evaluate("[...document.images].map(image => image.complete && image.naturalWidth > 0)")
            assert len(loaded) >= count
            assert all(loaded)
            assert browser.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        assert browser.complaints == []
        assert {url.partition(":")[0] for url in browser.requests} <= {"file", "data", "about"}
        assert len([url for url in browser.requests if url.startswith("file:")]) == 2
        headings = browser.evaluate("[...document.querySelectorAll('.analysis h2')].map(h => h.textContent)")
        assert len(headings) == count
        tables = browser.evaluate("[...document.querySelectorAll('a[download]')].map(a => a.href.slice(0, 14))")
        assert tables == ["data:text/csv;"] * count


def test_what_a_checkpoint_lacks_is_said_in_a_sentence_and_the_rest_is_made(
    run: Run, weights: dict[str, Path], tmp_path: Path
) -> None:
    """The baseline, and no real pictures."""
    chosen = "figure=[mean_style,spectrum,foveated,layers]"
    result = run("analyze", chosen, f"ckpt={weights['StyleGAN2Generator']}", "output=figures", *FEW)
    assert result.returncode == 0, result.stderr
    made = {analysis.name for analysis in read_analyses(tmp_path / "figures")}
    assert made == {"mean_style"}
    page = (tmp_path / "figures" / "analysis.html").read_text()
    assert "spectrum: it compares with real pictures, and no data set is known" in page
    assert "foveated: StyleGAN2Generator is convolutional: it draws its native grid only" in page
    assert not (tmp_path / "figures" / "foveated.png").exists()
    alone = run("analyze", "figure=foveated", f"ckpt={weights['StyleGAN2Generator']}", "output=alone", *FEW)
    assert alone.returncode == 2
    assert alone.stderr.splitlines()[-1].startswith("error: figure=foveated: StyleGAN2Generator is convolutional")


@pytest.mark.slow
def test_several_processes_find_what_one_finds(python: Python, weights: dict[str, Path], tmp_path: Path) -> None:
    one, two = (
        numbers(python, weights["CIPSGenerator"], tmp_path, f"trainer={trainer}") for trainer in ("cpu", "ddp_cpu")
    )
    assert two["spectrum"]["pictures"] == one["spectrum"]["pictures"] == 25
    assert flat(two) == pytest.approx(flat(one), rel=1e-4)


def numbers(python: Python, ckpt: Path, folder: Path, trainer: str) -> dict[str, dict[str, object]]:
    """25 pictures: not the same number on both processes."""
    chosen = "figure=[spectrum,zeroed_inputs]"
    result = python(
        "-m", "cips_lab.analyze", chosen, f"ckpt={ckpt}", "data=blue_marble", trainer, "num_samples=25",
        f"output={trainer.replace('=', '-')}", cwd=folder,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    return {analysis.name: analysis.numbers for analysis in read_analyses(folder / trainer.replace("=", "-"))}


def flat(value: object) -> list[float]:
    if isinstance(value, dict):
        return [number for key in value for number in flat(value[key])]
    if isinstance(value, list):
        return [number for entry in value for number in flat(entry)]
    return [float(value)] if isinstance(value, (int, float)) else []


def test_figures_go_to_wandb_as_a_run_of_their_own(run: Run, weights: dict[str, Path], tmp_path: Path) -> None:
    chosen = ("figure=[mean_style,encoding_pca]", f"ckpt={weights['CIPSGenerator']}", "output=figures", *FEW)
    result = run("analyze", *chosen, "logger=wandb", "logger.wandb.tags=[mine]")
    assert result.returncode == 0, result.stderr
    (logged,) = offline_runs(tmp_path / "figures")
    assert logged.run["job_type"] == "analyze"
    assert logged.run["tags"] == ["mine"]
    logged_as = {name.removesuffix(".path") for row in logged.history for name in row}
    assert {"analysis/mean_style", "analysis/encoding_pca"} <= logged_as
    assert [name for name in logged.summary if name.startswith("analysis/encoding_pca/")]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["figure=spectra", "ckpt=x"], "figure=spectra: choose all, or from artifacts, "),
        (["figure=spectrum"], "ckpt=... is missing: a run folder"),
        (["ckpt=/nowhere"], "/nowhere: no such file or folder"),
        (["ckpt={CIPSGenerator}"], "lies in no run folder: say with output=FOLDER"),
        (["ckpt={CIPSGenerator}", "output={CIPSGenerator}"], "expected a folder, and this is a file"),
        (["ckpt={CIPSGenerator}", "num_samples=1"], "num_samples=1: must be a whole number of at least 2"),
        (["ckpt={CIPSGenerator}", "seeds=x"], "seeds=x: must be a number, a range"),
        (["ckpt={CIPSGenerator}", "logger=tensorboard"], "logger=wandb or none"),
    ],
)
def test_mistakes_are_told_before_the_work(
    run: Run, weights: dict[str, Path], tmp_path: Path, overrides: list[str], message: str
) -> None:
    files = {name: str(path) for name, path in weights.items()}
    result = run("analyze", *(override.format(**files) for override in overrides))
    assert result.returncode == 2, result.stderr
    assert message in result.stderr
    assert not (tmp_path / "analysis.html").exists()


def test_every_figure_says_what_it_is() -> None:
    found = all_figures()
    assert sorted(found) == figures.names()
    assert all(name == figure.name for name, figure in found.items())
    assert all(figure.title[0].isupper() and not figure.title.endswith(".") for figure in found.values())


def test_a_record_that_is_none_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "other.json").write_text(json.dumps({"name": "other"}))
    (tmp_path / "broken.json").write_text("{")
    assert read_analyses(tmp_path) == []
