"""Which jobs share a row, what stands in it, what is marked, what is refused."""

import csv
import io
import json
import math
import statistics
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hypothesis import given
from hypothesis import strategies as st
from sweeps import FD, make_run, make_sweep

from cips_lab.configuration import conf_folder
from cips_lab.errors import UserError
from cips_lab.planning.costs import costs_of
from cips_lab.planning.plan import make_plan
from cips_lab.reporting import formats
from cips_lab.reporting.generators import known_generator
from cips_lab.reporting.plots import draw, spread_out
from cips_lab.reporting.run_page import run_page
from cips_lab.reporting.selection import choose, parse_at
from cips_lab.reporting.table import Measure, make_table, mark, number, with_spread
from cips_lab.reporting.variants import TABLE3, components_of, group
from cips_lab.runs.choices import write_choices
from cips_lab.runs.inputs import Inputs, write_inputs
from cips_lab.runs.records import Job, read_job, read_sweeps

GENERATORS = sorted(path.stem for path in (conf_folder() / "generator").glob("*.yaml"))


@pytest.fixture(scope="module")
def jobs(tmp_path_factory: pytest.TempPathFactory) -> list[Job]:
    return read_sweeps([make_sweep(tmp_path_factory.mktemp("sweeps") / "all")])


def labels(tmp_path: Path, *overrides: tuple[str, ...]) -> list[str]:
    for i, options in enumerate(overrides):
        make_run(tmp_path / str(i), *options)
    return [variant.label for variant in group(read_sweeps([tmp_path]))]


# ------------------------------------------------------------------ variants


def test_jobs_that_differ_in_their_seed_alone_share_a_row(jobs: list[Job]) -> None:
    variants = group(jobs)
    assert [v.label for v in variants] == ["cips", "cips_ne"]
    assert [[job.seed for job in v.jobs] for v in variants] == [[0, 1], [0, 1]]


def test_jobs_of_several_sweeps_share_a_row(tmp_path: Path) -> None:
    """As conf/tabulate says: what a sweep is called sets nothing apart."""
    sweeps = [make_sweep(tmp_path / name) for name in ("one", "two")]
    variants = group(read_sweeps(sweeps))
    assert [(v.label, len(v.jobs)) for v in variants] == [("cips", 4), ("cips_ne", 4)]


def test_a_generator_bears_the_name_that_it_was_chosen_by(tmp_path: Path) -> None:
    """Its structure may be another's: the option in which it differs is unknown to the table."""
    for folder, name in (("0", "cips"), ("1", "mine"), ("2", "cips_base")):
        option = "generator=cips_base" if name == "mine" else f"generator={name}"
        run = make_run(tmp_path / folder, option, *(["+generator.of_my_own=3"] if name == "mine" else []))
        write_choices(run, {"generator": name, "data": "blue_marble"})
    assert [v.label for v in group(read_sweeps([tmp_path]))] == ["cips", "mine", "cips_base"]
    assert " · mine<" in run_page(read_job(tmp_path / "1"), "finished")


def test_pictures_are_the_same_by_their_content(tmp_path: Path) -> None:
    contents = {"a": ("/one", "f" * 64), "b": ("/copy", "f" * 64), "c": ("/one", "0" * 64)}
    for name, (path, content) in contents.items():
        run = make_run(tmp_path / name, "data=folder", f"data.path={path}")
        write_inputs(run, Inputs(pictures=content))
    one, copy, other = read_sweeps([tmp_path])
    assert [len(v.jobs) for v in group([one, copy])] == [2]
    assert len(make_table([one, copy], with_costs=False).rows) == 1
    assert [v.label for v in group([one, other])] == ["path=/one (ffffffff)", "path=/one (00000000)"]
    with pytest.raises(UserError, match="  data: "):
        make_table([one, other], with_costs=False)
    write_inputs(tmp_path / "b", Inputs())  # of an earlier version: the place must do
    assert [len(v.jobs) for v in group(read_sweeps([tmp_path]))] == [2, 1]


def test_what_does_not_change_the_result_makes_no_variant(tmp_path: Path) -> None:
    incidental = (
        "trainer.devices=2",
        "schedule.sample_kimg=1",
        "logger=none",
        "callbacks.samples=null",
        "data.cache=/x",
    )
    assert labels(tmp_path, (), ("seed=7", *incidental)) == ["cips"]


@pytest.mark.parametrize("generator", GENERATORS)
def test_every_generator_is_known_by_its_structure(tmp_path: Path, generator: str) -> None:
    job = read_job(make_run(tmp_path / "one", f"generator={generator}"))
    assert known_generator(job.config["generator"]) == generator


def test_labels_say_what_differs(tmp_path: Path) -> None:
    assert labels(tmp_path / "a", ("objective.r1_weight=1",), ("objective.r1_weight=3",)) == [
        "r1_weight=1",
        "r1_weight=3",
    ]
    widths = labels(tmp_path / "b", ("model.width=32",), ("model.width=64",), ("model.width=64", "generator=cips_ne"))
    assert widths == ["cips, width=32", "cips, width=64", "cips_ne, width=64"]
    assert labels(tmp_path / "c", ("resolution=32",), ("resolution=64",)) == ["resolution=32", "resolution=64"]
    assert labels(tmp_path / "d", (), ("generator=stylegan2",)) == ["cips", "stylegan2"]
    assert labels(tmp_path / "e", (), ("generator.noise=true",)) == ["noise=false", "noise=true"]
    lengths = labels(tmp_path / "f", ("schedule.total_kimg=8",), ("schedule.total_kimg=16",))
    assert lengths == ["total_kimg=8", "total_kimg=16"]
    own = ("generator=cips_base", "model.embedding_std=1", "objective.r1_weight=1")
    tables = labels(tmp_path / "h", ("generator=cips_base",), own, ("generator=stylegan2",))
    shown = ["cips_base, std=0.02, r1_weight=3", "cips_base, std=1, r1_weight=1", "stylegan2, r1_weight=3"]
    assert tables == shown, "the baseline's presence hides nothing of the others"
    precisions = labels(tmp_path / "g", (), ("trainer.precision=bf16-mixed",))
    assert precisions == ["precision=32-true", "precision=bf16-mixed"]


def test_columns_of_components_are_there_where_they_say_something(tmp_path: Path) -> None:
    make_sweep(tmp_path / "generators")
    for i, weight in enumerate((1, 3)):
        make_run(tmp_path / "losses" / str(i), f"objective.r1_weight={weight}")
    shown = [
        make_table(read_sweeps([tmp_path / name]), with_costs=False).components for name in ("generators", "losses")
    ]
    assert shown == [list(TABLE3), []]


def test_discriminators_and_augmentations_bear_their_names(tmp_path: Path) -> None:
    """Not a line of all that is inside of them; what was set inside of one is shown."""
    chosen = [
        ("residual", "none", ()),
        ("projected", "diffaugment", ("objective.r1_weight=0",)),
        ("residual", "blur", ("augment.fade_kimg=12",)),
        ("residual", "blur", ("augment.fade_kimg=24",)),
    ]
    for i, (discriminator, augment, options) in enumerate(chosen):
        run = make_run(tmp_path / str(i), f"discriminator={discriminator}", f"augment={augment}", *options)
        write_choices(run, {"discriminator": discriminator, "augment": augment})
    assert [variant.label for variant in group(read_sweeps([tmp_path]))] == [
        "discriminator=residual, augment=none, r1_weight=3",
        "discriminator=projected, augment=diffaugment, r1_weight=0",
        "discriminator=residual, augment=blur, r1_weight=3, fade_kimg=12",
        "discriminator=residual, augment=blur, r1_weight=3, fade_kimg=24",
    ]


def test_components_are_table_3s(tmp_path: Path) -> None:
    has = {
        "cips": "++--+",
        "cips_base": "++---",
        "cips_ne": "-+---",
        "cips_no_fourier": "+----",
        "cips_residual": "+++--",
        "cips_sine": "++-+-",
        "siren": "-+-+-",
    }
    for generator, signs in has.items():
        found = components_of(read_job(make_run(tmp_path / generator, f"generator={generator}")).config["generator"])
        assert "".join("+" if found[name] else "-" for name in TABLE3) == signs, generator
    baseline = read_job(make_run(tmp_path / "stylegan2", "generator=stylegan2"))
    assert set(components_of(baseline.config["generator"]).values()) == {None}


# ------------------------------------------------------------------ numbers


def test_means_and_deviations_over_seeds(jobs: list[Job]) -> None:
    table = make_table(jobs, with_costs=False)
    cips, ne = table.rows
    assert cips.metrics[FD].mean == 105
    assert cips.metrics[FD].std == pytest.approx(math.sqrt(50))  # sqrt(((100 - 105)^2 + (110 - 105)^2) / (2 - 1))
    assert ne.metrics[FD].values == (200, 220)
    assert cips.metrics["precision"].std == 0
    assert table.metrics == [FD, "kid", "precision"]
    assert table.floor == {FD: 10, "kid": 0.01, "precision": 0.7}
    assert (cips.marks[FD], ne.marks[FD]) == ("best", "")
    assert (cips.marks["precision"], ne.marks["precision"]) == ("", "")  # all alike: none is best
    assert cips.seconds_per_kimg == Measure((10, 10))
    assert table.left_out == {}


def test_moments(jobs: list[Job]) -> None:
    at_two = make_table(jobs, at=2, with_costs=False)
    assert at_two.rows[0].metrics[FD].values == (200, 220)  # 100 * 4 / 2
    best = make_table(jobs, at="best", metrics=["fd"], with_costs=False)
    assert best.rows[0].kimg.values == (4, 4)
    with pytest.raises(UserError, match=r"it was not evaluated at 2.5 kimg"):
        make_table(jobs, at=2.5, with_costs=False)
    for wrong in ("first", -1, True, None):
        with pytest.raises(UserError, match="expected last, best"):
            parse_at(wrong)


def test_the_best_is_that_of_the_metric_asked_for(tmp_path: Path) -> None:
    changes = {"kid": lambda kimg: abs(kimg - 2) + 0.5, "precision": lambda kimg: -abs(kimg - 3)}
    job = read_job(make_run(tmp_path / "one", changes=changes))
    for metric, kimg in (("fd", 4), ("kid", 2), ("precision", 3)):
        found = choose(job, "best", metric)
        assert isinstance(found, dict)
        assert found["kimg"] == kimg, metric
    assert choose(job, "best", "recall") == "none of its evaluations has recall"


def test_the_best_never_mixes_numbers_of_samples(tmp_path: Path) -> None:
    """The last evaluation has more pictures, as those of long runs do; a smaller distance of fewer cannot beat it."""
    changes = {"num_samples": lambda kimg: 100 if kimg < 4 else 1000, FD: lambda kimg: kimg}
    job = read_job(make_run(tmp_path / "one", changes=changes))
    found, of_fewer = choose(job, "best", "fd"), choose(job, "best", "fd", num_samples=100)
    assert isinstance(found, dict)
    assert isinstance(of_fewer, dict)
    assert (found["kimg"], of_fewer["kimg"]) == (4, 1)
    assert choose(job, "last", "fd", num_samples=7) == "it has no evaluation of 7 samples"


@given(st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=6), st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=6))
def test_ties(values: list[float], others: list[float]) -> None:
    """Against the formula: two means are tied within two standard errors of their difference."""
    one, best = Measure(tuple(values)), Measure(tuple(others))
    error = math.sqrt(statistics.variance(values) / len(values) + statistics.variance(others) / len(others))
    difference = abs(statistics.fmean(values) - statistics.fmean(others))
    if number(one.mean) == number(best.mean):
        assert mark(one, best) == "best"
    elif abs(difference - 2 * error) > 1e-6:
        assert mark(one, best) == ("tied" if difference < 2 * error else "")


def test_one_seed_is_tied_within_the_errors_over_its_samples_alone() -> None:
    assert mark(Measure((1.0,)), Measure((1.01, 5.0))) == ""
    assert mark(Measure((1.0,), se=0.3), Measure((2.0,), se=0.4)) == "tied"  # 1.0 of 2 x 0.5
    assert mark(Measure((1.0,), se=0.3), Measure((2.1,), se=0.4)) == ""
    assert mark(Measure((1.0,), se=0.3), Measure((2.1,))) == ""


def test_one_seed_has_the_error_over_its_samples_and_says_so(tmp_path: Path) -> None:
    jobs = [read_job(make_run(tmp_path / name)) for name in ("one", "two")]
    table = make_table(jobs[:1], with_costs=False)
    (row,) = table.rows
    assert row.metrics["precision"] == Measure((0.5,), se=0.01)
    assert formats.measure(row.metrics["precision"]) == "0.500 (± 0.010)"
    assert formats.measure(row.metrics["kid"]) == number(row.metrics["kid"].mean)  # of an older version: no error
    assert any(note.startswith("(±): of one seed, the standard error over its samples") for note in table.notes)
    assert any(note.startswith("A row of one seed has no spread") for note in table.notes)
    line, _ = csv.DictReader(io.StringIO(formats.comma_separated(table)))
    assert (line["precision_std"], line["precision_se"]) == ("", "0.01")


@pytest.mark.parametrize(
    ("value", "text"),
    [(123456, "123456"), (248.54, "248.5"), (1.2571, "1.257"), (0.0390148, "0.03901"), (0, "0"), (-2.5, "-2.500")],
)
def test_four_digits(value: float, text: str) -> None:
    assert number(value) == text


def test_a_deviation_has_its_means_decimals() -> None:
    assert with_spread(226.1, 6.44) == "226.1 ± 6.4"
    assert with_spread(226.1, 16.44) == "226 ± 16"
    assert with_spread(1226.1, 644.0) == "1226 ± 644"
    assert with_spread(0.02133, 0.03223) == "0.021 ± 0.032"
    assert with_spread(1.257, 0.00012) == "1.257 ± 0.0001"  # not 0.000
    assert with_spread(1.0, None) == "1.000"
    assert with_spread(1.5, 0.0) == "1.500 ± 0.000"


# ------------------------------------------------------------------ refused, left out


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("num_samples", 50),
        ("num_real", 90),
        ("extractor", "inception"),
        ("manifold_extractor", "vgg16"),
        ("weights", "x"),
    ],
)
def test_mixtures_are_refused(tmp_path: Path, name: str, value: Any) -> None:
    sweep = make_sweep(tmp_path / "sweep")
    make_run(sweep / "4", changes={name: value})
    with pytest.raises(UserError, match="cannot share a table") as error:
        make_table(read_sweeps([sweep]), with_costs=False)
    (line,) = [line for line in str(error.value).splitlines() if line.startswith("  ")]
    assert line.startswith(f"  {name}: ")
    assert "in jobs 0, 1, 2, 3" in line
    assert f"{value} in job 4" in line
    assert len(make_table(read_sweeps([sweep]), patterns=["[0-3]"], with_costs=False).rows) == 2  # the remedy


@pytest.mark.parametrize(
    ("override", "what"),
    [("data=folder", "data"), ("metrics.kid_subset_size=500", "metrics.kid_subset_size"), ("metrics.neighbours=5", "")],
)
def test_other_data_and_other_settings_are_refused(tmp_path: Path, override: str, what: str) -> None:
    make_run(tmp_path / "0")
    options = ("data.path=/pictures",) if override == "data=folder" else ()
    make_run(tmp_path / "1", override, *options)
    with pytest.raises(UserError, match=f"  {what}"):
        make_table(read_sweeps([tmp_path]), with_costs=False)


def test_where_the_cache_lies_does_not_matter(tmp_path: Path) -> None:
    make_run(tmp_path / "0")
    make_run(tmp_path / "1", "data.cache=/elsewhere", "data.num_workers=3", seed=1)
    assert len(make_table(read_sweeps([tmp_path]), with_costs=False).rows) == 1


def test_unfinished_and_failed_jobs_are_named_and_left_out(tmp_path: Path) -> None:
    sweep = make_sweep(tmp_path / "sweep")
    make_run(sweep / "4", reached=2, seed=5)
    (make_run(sweep / "5", seed=6) / "status.json").write_text('{"state": "failed", "error": "ValueError:\\n no"}')
    make_run(sweep / "6", seed=7, every=8)
    table = make_table(read_sweeps([sweep]), with_costs=False)
    assert table.left_out == {
        "4": "unfinished, at 2 of 4 kimg",
        "5": "failed, at 4 of 4 kimg: ValueError: no",
        "6": "it was not evaluated",
    }
    assert [len(row.variant.jobs) for row in table.rows] == [2, 2]
    for text in (formats.console(table), formats.markdown(table), formats.latex(table)):
        assert "Left out: job 4 (unfinished, at 2 of 4 kimg)." in text
    with pytest.raises(UserError, match="no job can stand in the table:\n  4: unfinished"):
        make_table(read_sweeps([sweep]), patterns=["4"], with_costs=False)


def test_wrong_rows_and_columns(jobs: list[Job]) -> None:
    with pytest.raises(UserError, match=r"jobs=7: no job is called so; there are 0, 1, 2, 3"):
        make_table(jobs, patterns=["7"], with_costs=False)
    with pytest.raises(UserError, match=f"metrics.names: recall is not in all evaluations, which have {FD}, kid"):
        make_table(jobs, metrics=["fd", "recall"], with_costs=False)


def test_notes_say_what_a_reader_must_know(tmp_path: Path) -> None:
    sweep = make_sweep(tmp_path / "sweep", changes={"floor/num_samples": 60})
    make_run(sweep / "4", "generator=siren", changes={"floor/num_samples": 60})
    make_run(sweep / "5", seed=0, changes={"floor/num_samples": 60})  # as job 0
    notes = " ".join(make_table(read_sweeps([sweep]), with_costs=False).notes)
    assert "one seed" in notes
    assert "cips: a seed comes more than once (jobs 0, 5, 1)" in notes
    assert "The floor is of 60 held-out pictures, not of 100" in notes


# ------------------------------------------------------------------ costs


def test_costs_are_those_of_the_plan(jobs: list[Job]) -> None:
    found = costs_of(jobs[0])
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        options = ["experiment=quickstart_plain", "plan.peak_flops=1", "plan.device_memory_gb=1", "trainer=cpu"]
        plan = make_plan(compose("plan", [*options, "name=x"]))
    assert not isinstance(found, str)
    assert plan.tiled is not None
    assert found.generator_parameters == plan.generator_parameters
    assert found.synthesis_flops == plan.generator_forward
    assert found.training_flops == sum(plan.flops_per_image(plan.tiled).values())


def test_a_model_that_cannot_be_built_has_no_costs(jobs: list[Job]) -> None:
    config = json.loads(json.dumps(jobs[0].config))
    config["generator"]["an_option_of_another_version"] = 1
    found = costs_of(Job(jobs[0].folder, "old", config, [], []))
    assert isinstance(found, str)
    assert "an_option_of_another_version" in found


# ------------------------------------------------------------------ formats


def test_markdown_and_latex(jobs: list[Job]) -> None:
    table = make_table(jobs, metrics=["fd", "precision"], with_costs=False)
    rows = [line for line in formats.markdown(table).splitlines() if line.startswith("|")]
    assert rows[2].startswith(
        "| cips | 2 | + | + | \N{MINUS SIGN} | \N{MINUS SIGN} | + | **105.0 ± 7.1** | 0.5000 ± 0.0000"
    )
    assert rows[4].startswith("| floor: real, held out |")
    assert len({row.count("|") for row in rows}) == 1
    latex = formats.latex(table)
    assert r"\textbf{105.0 $\pm$ 7.1}" in latex
    assert r"fd\_efficientnet\_lite0 $\downarrow$" in latex
    columns = latex.partition(r"\begin{tabular}{")[2].partition("}")[0]
    body = [line for line in latex.splitlines() if line.endswith(r"\\")]
    assert {line.count(" & ") + 1 for line in body} == {len(columns)}
    assert (
        formats.escape(r"a_b & 50% {x} \y~^#$")
        == r"a\_b \& 50\% \{x\} \textbackslash{}y\textasciitilde{}\textasciicircum{}\#\$"
    )


def test_csv_and_json_hold_plain_numbers(jobs: list[Job]) -> None:
    table = make_table(jobs, with_costs=False)
    lines = list(csv.DictReader(io.StringIO(formats.comma_separated(table))))
    assert float(lines[0][FD]) == 105
    assert float(lines[0][f"{FD}_std"]) == table.rows[0].metrics[FD].std
    assert lines[0][f"{FD}_mark"] == "best"
    assert lines[1]["coordinate embedding"] == "0"
    assert lines[2]["variant"] == formats.FLOOR_LABEL
    found = json.loads(json.dumps(table.as_dict()))
    assert found["rows"][1]["metrics"][FD]["values"] == [200, 220]
    assert found["rows"][1]["jobs"] == ["2", "3"]
    assert found["conditions"]["num_samples"] == 100


def test_figures_are_the_same_twice(jobs: list[Job], tmp_path: Path) -> None:
    """A figure under version control changes only when its numbers do."""
    pytest.importorskip("matplotlib", reason="no matplotlib: pip install 'cips-lab[report]'")
    table = make_table(jobs, with_costs=False)
    names = [f"{stem}.{suffix}" for stem in ("fd_kimg", "fd_time") for suffix in ("png", "svg")]
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        assert [path.name for path in draw(table, tmp_path / folder)] == names  # no FLOPs
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0.01, 0.3)), min_size=1, max_size=8))
def test_labels_do_not_overlap(things: list[tuple[float, float]]) -> None:
    """In the order of their lines, within the axes if there is room, and where they are wanted if nothing is near."""
    wanted, heights = map(list, zip(*things, strict=True))
    places = spread_out(wanted, heights)
    order = sorted(range(len(things)), key=lambda i: wanted[i])
    lows, highs = ([places[i] + sign * heights[i] / 2 for i in order] for sign in (-1, 1))
    assert all(high <= low + 1e-9 for high, low in zip(highs, lows[1:], strict=False))
    if sum(heights) <= 1:
        assert lows[0] >= -1e-9
        assert highs[-1] <= 1 + 1e-9
    assert spread_out([0.2, 0.8, 0.5], [0.1, 0.2, 0.1]) == pytest.approx([0.2, 0.8, 0.5])


def test_the_console_is_aligned(jobs: list[Job]) -> None:
    lines = formats.console(make_table(jobs, with_costs=False)).splitlines()
    assert lines[2].startswith("cips ")
    end = lines[0].index(f"{FD} ↓") + len(f"{FD} ↓")
    assert lines[2][:end].endswith("105.0 ± 7.1*")
    assert lines[3][:end].endswith("210 ± 14")
