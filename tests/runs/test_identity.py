"""The table of what options do to a run: complete, and what follows from it."""

import itertools
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from cips_lab.configuration import conf_folder
from cips_lab.runs.identity import (
    COURSE,
    MEASUREMENT,
    NOTHING,
    RESULT,
    TABLE,
    WAY,
    Effect,
    differences,
    effect_of,
    settings_of_variant,
)
from cips_lab.runs.settings import flatten, read_settings

GROUPS = [folder for folder in sorted(conf_folder().iterdir()) if folder.is_dir()]
# Options of groups of train.yaml; nodes of a cluster have no number to compose.
CHOICES = [
    f"{folder.name}={file.stem}"
    for folder in GROUPS
    if folder.name not in ("hydra", "tabulate", "sweep")
    for file in sorted(folder.glob("*.yaml"))
]


def settings(*overrides: str) -> dict[str, Any]:
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        config = compose("train", ["name=x", *overrides])
    found = OmegaConf.to_container(config, resolve=True)
    assert isinstance(found, dict)
    return {str(name): value for name, value in found.items()}


@pytest.mark.parametrize("choice", CHOICES)
def test_the_table_knows_every_option(choice: str) -> None:
    found = flatten(settings(choice))
    assert [name for name in found if effect_of(name) is None] == []


def test_a_new_option_is_noticed_and_counts_as_another_result() -> None:
    assert effect_of("trainer.of_tomorrow") is None
    assert effect_of("schedule.of_tomorrow") is None
    assert differences({"seed": 0}, {"seed": 0, "of_tomorrow": 1}, RESULT) == {"of_tomorrow": ("absent", 1)}


def test_runs_of_before_there_were_maps_are_of_blue_marble() -> None:
    tiles = {"_target_": "cips_lab.data.datamodule.BlueMarbleDataModule", "flip": True}
    today = tiles | {"map": "blue_marble", "span": None}
    assert differences({"data": tiles}, {"data": today}, *Effect) == {}
    assert differences({"data": tiles}, {"data": today | {"map": "etopo"}}, RESULT) == {
        "data.map": ("blue_marble", "etopo")
    }
    assert differences({"data": tiles}, {"data": today | {"span": 128}}, RESULT) == {"data.span": (None, 128)}
    folder = {"_target_": "cips_lab.data.datamodule.ImageDataModule", "flip": True}
    assert not {"data.map", "data.span"} & settings_of_variant({"data": folder}).keys()


def test_every_line_is_of_an_option_that_there_is_or_was() -> None:
    names = set(itertools.chain.from_iterable(flatten(settings(choice)) for choice in CHOICES))
    unused = [line.name for line in TABLE if not any(f"{name}.".startswith(f"{line.name}.") for name in names)]
    assert unused == ["sweep"]
    assert len({line.name for line in TABLE}) == len(TABLE)


@pytest.mark.parametrize(
    ("override", "effect"),
    [
        ("generator=cips_ne", RESULT),
        ("objective.r1_weight=1", RESULT),
        ("micro_batch=8", RESULT),
        ("trainer.precision=bf16-mixed", RESULT),
        ("trainer.tf32=true", RESULT),
        ("init=x.pt", RESULT),
        ("data.flip=false", RESULT),
        ("schedule.total_kimg=1", COURSE),
        ("guard=rollback", COURSE),
        ("data.unreadable=skip", COURSE),
        ("metrics.num_samples=7", MEASUREMENT),
        ("schedule.evaluate_kimg=1", MEASUREMENT),
        ("callbacks.evaluation.best=kid", MEASUREMENT),
        ("data.test_path=/x", MEASUREMENT),
        ("trainer.devices=2", WAY),
        ("trainer.tile=64", WAY),
        ("data.num_workers=1", WAY),
        ("callbacks.samples=null", NOTHING),
        ("schedule.log_kimg=3", NOTHING),
        ("logger=none", NOTHING),
        ("sweep_name=x", NOTHING),
        ("paths.cache=/x", NOTHING),
    ],
)
def test_what_options_do(override: str, effect: Effect) -> None:
    before, after = settings(), settings(override)
    found = {one for one in Effect if differences(before, after, one)}
    copies = {NOTHING} if effect in (COURSE, MEASUREMENT) else set()  # callbacks repeat them
    assert found - copies == {effect} - copies


def test_one_place_may_be_spelt_in_many_ways(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "pictures").mkdir()
    (tmp_path / "link").symlink_to("pictures")
    spelt = ("pictures", "./pictures/", "~/pictures", "link", str(tmp_path / "pictures"))
    for one, other in itertools.combinations(spelt, 2):
        assert differences({"data": {"path": one}}, {"data": {"path": other}}, RESULT) == {}
    assert differences({"data": {"path": "pictures"}}, {"data": {"path": "others"}}, RESULT) != {}


def test_seeds_make_no_variants() -> None:
    assert settings_of_variant(settings("seed=1")) == settings_of_variant(settings("seed=2"))


def test_runs_before_an_option_did_what_its_first_value_does() -> None:
    before = settings()
    del before["trainer"]["tf32"]
    assert differences(before, settings(), *Effect) == {}
    assert list(differences(before, settings("trainer.tf32=true"), RESULT)) == ["trainer.tf32"]


def test_settings_are_what_omegaconf_wrote(tmp_path: Path) -> None:
    written = settings("experiment=quickstart", "objective.generator_lr=1e-5", "data=folder", "data.path='2020-01-01'")
    OmegaConf.save(OmegaConf.create(written), tmp_path / "config.yaml")
    assert read_settings(tmp_path / "config.yaml") == written
