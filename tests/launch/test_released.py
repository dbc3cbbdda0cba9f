"""Public checkpoints as training takes them: what is carried over, what is missing, what does not fit."""

import argparse
import math
import re
from pathlib import Path

import pytest
import torch
from golden import FORMAT, prefixed, small_state, whole

from cips_lab.errors import UserError
from cips_lab.interop import official
from cips_lab.interop.official_training import load_training
from cips_lab.launch.released import overrides_of
from cips_lab.processes.ranks import register_resolvers

register_resolvers()


def broken(tmp_path: Path, how: str) -> None:
    content = whole()
    if how == "short":
        del content["g_optim"]["state"][3]["exp_avg"]
    if how == "transposed":
        content["g_optim"]["state"][3]["exp_avg"] = content["g_optim"]["state"][3]["exp_avg"].transpose(1, 2)
    if how == "nan":
        content["d_optim"]["state"][0]["exp_avg_sq"][0] = math.nan
    if how == "fewer":
        content["d_optim"]["param_groups"][0]["params"].pop()
    if how == "decay":
        content["d_optim"]["param_groups"][0]["weight_decay"] = 0.1
    if how == "betas":
        content["d_optim"]["param_groups"][0]["betas"] = (0.0, 0.5)
    if how == "penalty":
        content["args"] = argparse.Namespace(r1=0)
    if how == "networks":
        content["g"] = small_state("CIPSres-256")
    torch.save(content, tmp_path / "broken.pt")


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("short", "g_optim is no state of Adam for its g"),
        ("transposed", "exp_avg of conv1.conv.weight is [1, 64, 512, 1, 1]"),
        ("nan", "exp_avg_sq of convs.0.0.weight is not of finite numbers"),
        ("fewer", "d_optim is no state of Adam for its d (it is of 17 parameters, and there are 18)"),
        ("decay", "its weight_decay is not 0"),
        ("betas", "the betas of its two optimisers"),
        ("penalty", "was trained without R1"),
        ("networks", "its g and its g_ema are different networks"),
    ],
)
def test_parts_that_do_not_fit(tmp_path: Path, how: str, words: str) -> None:
    broken(tmp_path, how)
    with pytest.raises(UserError, match=re.escape(words)) as caught:
        overrides_of(load_training(tmp_path / "broken.pt"), 32)
    assert str(caught.value).startswith(f"{tmp_path / 'broken.pt'}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("left_out", ["g", "d", "g_ema", "g_optim", "d_optim"])
def test_what_is_missing_is_said(tmp_path: Path, left_out: str) -> None:
    content = whole()
    del content[left_out]
    torch.save(content, tmp_path / "part.pt")
    found = load_training(tmp_path / "part.pt")
    assert found.missing[0].startswith(f"no {left_out}")
    without = {"g": ["no g_optim that could be used without g"], "d": ["no d_optim that could be used without d"]}
    assert [phrase.partition(":")[0] for phrase in found.missing[1:]] == without.get(left_out, [])
    assert (found.generator is found.average) == (left_out in ("g", "g_ema"))


def test_prefixes_and_half_precision_change_no_moment() -> None:
    """Optimisers know parameters by number: what the names bear must not matter, nor what the weights are kept in."""
    content = whole()
    plain = load_training(official.Content("a", content))
    changed = content | {
        "g": {name: value.half() for name, value in prefixed(content["g"], "module._orig_mod.").items()},
        "d": prefixed(content["d"], "module."),
    }
    other = load_training(official.Content("b", changed))
    for one, two in (
        (plain.generator_adam, other.generator_adam),
        (plain.discriminator_adam, other.discriminator_adam),
    ):
        assert one is not None
        assert two is not None
        assert one.moments.keys() == two.moments.keys()
        assert (one.lr, one.betas, one.steps) == (two.lr, two.betas, two.steps)
        assert all(torch.equal(one.moments[n][m], two.moments[n][m]) for n in one.moments for m in one.moments[n])


def test_the_options_that_a_released_file_means() -> None:
    """At the released sizes nothing but what differs from conf/ is typed; other rates and arguments are told."""
    released = whole()
    released["args"] = {"r1": 3.0, "d_reg_every": 8, "lr": 0.001}
    released["g_optim"]["param_groups"][0]["lr"] = 0.001 * 4 / 5
    released["d_optim"]["param_groups"][0] |= {"lr": 0.001 * 8 / 9, "betas": (0.0, 0.99 ** (8 / 9))}
    options = dict(o.split("=", 1) for o in overrides_of(load_training(official.Content("a", released)), 16))
    assert options["batch_size"] == "16"
    assert float(options["objective.generator_lr"]) == pytest.approx(0.001)
    assert float(options["objective.discriminator_lr"]) == pytest.approx(0.001)
    assert options["objective.r1_interval"] == "8"
    assert options["objective.r1_weight"] == "3.0"
    assert options["objective.ema_half_life_kimg"] == "5.0"
    assert "objective.betas" not in options
    assert "objective.generator_lazy_ratio" not in options
    assert options["model.fourier_features"] == "32"


@pytest.mark.parametrize(("variant", "choice"), [("CIPSskip-256", "cips"), ("CIPSres-256", "cips_residual")])
def test_the_released_sizes_are_short(variant: str, choice: str) -> None:
    content = {"g_ema": {name: torch.zeros(shape) for name, shape in FORMAT[variant].items()}}
    content["d"] = {name: torch.zeros(shape) for name, shape in FORMAT["Discriminator-256"].items()}
    options = overrides_of(load_training(official.Content("a", content)), 32)
    assert options == [
        f"generator={choice}",
        "objective=official",
        "resolution=256",
        "model.widths=official",
        "generator.noise=true",
        "generator.embedding_lookup=official",
    ]
