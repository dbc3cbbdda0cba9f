"""A newcomer's day, as CONTRIBUTING tells it, on a copy of the source.

A variant of the generator, a metric, a source of pictures and a figure are added; a run is trained with them, and
everything that shows runs knows them by their own names.
"""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from wandb_log import offline_runs

from forked import Python

ROOT = Path(__file__).parents[1]
VARIANT = """
# In the newcomer's own folder.
defaults: [cips_base, _self_]
blocks: residual
"""
METRIC = '''
"""How much the spreads of features differ."""

from cips_lab.metrics.metric import Comparison, Metric


def spread(pair: Comparison) -> dict[str, float]:
    return {"spread": float(abs(pair.generated.features.std() - pair.real.features.std()))}


SPREAD = Metric("spread", "lower", "Difference of spreads", spread)
'''
SOURCE = '''
"""A text file with the path of a picture in each line."""

from pathlib import Path
from typing import IO

from cips_lab.data.sources.base import ImageSource


class ListedSource(ImageSource):
    @classmethod
    def takes(cls, path: str) -> bool:
        return path.endswith(".list")

    def __init__(self, path: str, option: str = "data.path") -> None:
        self.path = Path(path).resolve()
        self.names = self.path.read_text().splitlines()

    def __len__(self) -> int:
        return len(self.names)

    def name(self, index: int) -> str:
        return self.names[index]

    def open(self, index: int) -> IO[bytes]:
        return open(self.names[index], "rb")

    @property
    def location(self) -> str:
        return str(self.path)
'''
FIGURE = '''
"""How bright samples are."""

from dataclasses import dataclass

from cips_lab.analysis.figure import Figure
from cips_lab.analysis.study import Study
from cips_lab.processes.collectives import total


@dataclass(frozen=True)
class Brightness:
    means: dict[str, float]  # label -> mean value in [0, 255]


def compute(study: Study) -> Brightness:
    def mean(subject):
        return total(sum(batch.double().mean((1, 2, 3)).sum() for batch in study.samples(subject))) / study.count

    return Brightness({subject.label: float(mean(subject)) for subject in study.subjects})


def draw(data: Brightness):
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots()
    axes.bar(list(data.means), list(data.means.values()))
    return figure


FIGURE = Figure(
    name="brightness",
    title="How bright samples are",
    place="A newcomer's question",
    compute=compute,
    draw=draw,
    rows=lambda data: [{"model": label, "mean": value} for label, value in data.means.items()],
    numbers=lambda data: data.means,
    reading=lambda data: f"The mean value of a sample is {max(data.means.values()):.0f}.",
)
'''
EVALUATED = ("metrics.names=[fd,spread]", "metrics.num_samples=12", "metrics.num_real=20")
TRAINED = (
    "experiment=debug", "trainer=cpu", "logger=wandb", "generator=my_own", "data=folder", "data.path=pictures.list",
    "data.num_workers=0", "schedule.total_kimg=0.04", "schedule.evaluate_kimg=0.04", "schedule.evaluate_samples=12",
)  # fmt: skip


def add_line(path: Path, before: str, line: str) -> None:
    text = path.read_text()
    assert text.count(before) == 1, f"{path.name} no longer says {before}"
    path.write_text(text.replace(before, f"{line}\n{before}"))


@pytest.fixture(scope="module")
def laboratory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source with four additions, 20 pictures, and a folder of configurations of the newcomer's own."""
    folder = tmp_path_factory.mktemp("newcomer")
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "src" / "cips_lab", folder / "src" / "cips_lab", ignore=ignored)
    shutil.copytree(ROOT / "conf", folder / "conf")
    package = folder / "src" / "cips_lab"

    (folder / "mine" / "generator").mkdir(parents=True)
    (folder / "mine" / "generator" / "my_own.yaml").write_text(VARIANT)

    (package / "metrics" / "spread.py").write_text(METRIC)
    registry = package / "metrics" / "registry.py"
    add_line(registry, "METRICS: list[Metric] = [", "from cips_lab.metrics.spread import SPREAD\n")
    add_line(registry, "    CMMD,\n]", "    SPREAD,")

    (package / "data" / "sources" / "listed.py").write_text(SOURCE)
    choose = package / "data" / "sources" / "choose.py"
    add_line(choose, "from cips_lab.errors", "from cips_lab.data.sources.listed import ListedSource")
    choose.write_text(re.sub(r"(SOURCES: .* = \[)", r"\1ListedSource, ", choose.read_text()))

    (package / "analysis" / "figures" / "brightness.py").write_text(FIGURE)

    random = np.random.default_rng(0)
    names = [str(folder / f"{number}.png") for number in range(20)]
    for name in names:
        Image.fromarray(random.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(name)
    (folder / "pictures.list").write_text("\n".join(names))
    return folder


@pytest.fixture(scope="module")
def lab(laboratory: Path) -> Iterator[Python]:
    """Runs commands of that source in that folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(laboratory / "src"))
        patch.setenv("CIPS_LAB_CACHE", str(laboratory / "cache"))
        patch.setenv("WANDB_MODE", "offline")
        patch.chdir(laboratory)
        server = Python(laboratory)
        yield server
        server.close()


@pytest.fixture(scope="module")
def run(lab: Python, laboratory: Path) -> Path:
    done = lab("-m", "cips_lab.train", "--config-dir=mine", *TRAINED, *EVALUATED, "name=one")
    assert done.returncode == 0, done.stderr
    assert "spread" in done.stdout + done.stderr
    return laboratory / "runs" / "one"


def test_a_metric(lab: Python, laboratory: Path, run: Path) -> None:
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert any(name.endswith("spread") for record in records for name in record)
    assert "spread" in (run / "evaluations.md").read_text()
    page = (run / "report.html").read_text()
    assert '"title": "spread"' in page, "a curve"
    assert '<th scope="col">spread ↓</th>' in page
    (logged,) = offline_runs(run)
    (summary,) = {
        r["summary"].get("best", str(r["summary"])) for n, r in logged.metrics.items() if n.endswith("/spread")
    }
    assert "min" in summary
    done = lab("-m", "cips_lab.tabulate", "sweep=runs", "output=table", "plots=false")
    assert done.returncode == 0, done.stderr
    assert "spread ↓" in (laboratory / "table" / "table.md").read_text()
    assert "spread" in lab("-m", "cips_lab.evaluate", "--help").stdout


def test_a_variant_of_the_generator(lab: Python, laboratory: Path, run: Path) -> None:
    (logged,) = offline_runs(run)
    assert logged.config["variant"] == "my_own"
    assert "my_own" in (run / "report.html").read_text()
    done = lab("-m", "cips_lab.tabulate", "sweep=runs", "output=variants", "plots=false")
    assert done.returncode == 0, done.stderr
    assert "| my_own |" in (laboratory / "variants" / "table.md").read_text()


def test_a_source_of_pictures(run: Path, laboratory: Path) -> None:
    assert (run / "samples" / "real.png").is_file()
    assert "pictures.list" in (run / "config.yaml").read_text()
    assert "20" in (run / "train.log").read_text()


def test_a_figure(lab: Python, run: Path) -> None:
    done = lab("-m", "cips_lab.analyze", "figure=brightness", f"ckpt={run}", "num_samples=10", "trainer=cpu")
    assert done.returncode == 0, done.stderr
    assert "How bright samples are (A newcomer's question)" in done.stdout
    for page in (run / "analysis" / "analysis.html", run / "report.html"):
        assert "The mean value of a sample is" in page.read_text()
    assert (run / "analysis" / "brightness.csv").read_text().startswith("model,mean\nmy_own,")
    assert "brightness" in lab("-m", "cips_lab.analyze", "--help").stdout
