"""What the server draws beside `render`, and what it makes of bytes and text that anybody may have sent."""

import itertools
import struct
import tracemalloc
import weakref
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from served import choices_of, colours_of, job_of, rendered
from variants import CIPS_CASES, build, build_case

from cips_lab.explorer import drawing
from cips_lab.explorer.choices import LAST_SEED, Choices, read_choices
from cips_lab.explorer.drawing import FARTHEST, HEADER, MOST_BYTES, MOST_PIXELS, PART, Drawer, Job, TooLarge, read_job
from cips_lab.networks.cips import CIPSGenerator
from cips_lab.render.finite import PictureNotFinite

PLACES = {"inside": (-0.9, 0.9), "beyond": (1.2, 3.4), "far": (-700.0, 900.0)}


def job_at(least: float, most: float, seed: int = 0, pixels: int = 200) -> Job:
    """A shuffled selection of a tile's pixels."""
    draws = np.random.default_rng(seed)
    xs, ys = draws.uniform(least, most, 23), draws.uniform(least, most, 17)
    return read_job(job_of(xs, ys, draws.permutation(23 * 17)[:pixels].tolist()))


def style(generator: CIPSGenerator, seed: int, label: int | None = None) -> torch.Tensor:
    return generator.mapping(generator.mapping.latents([seed], label))


def difference(drawer: Drawer, w: torch.Tensor, job: Job | None = None, **changed: object) -> int:
    """How far what is drawn is from what `render` makes of styles, of 255."""
    job = job or job_at(-1.4, 1.4)
    choices = read_choices(choices_of(drawer.generator, **changed), drawer.generator)
    expected = rendered(drawer.generator, w, *job)
    assert expected.std() > 3, "pixels of one colour would hide mistakes"
    return int(np.abs(colours_of(drawer.draw(choices, job)) - expected).max())


@torch.no_grad()
@pytest.mark.parametrize("case", CIPS_CASES)
def test_every_generator(case: str) -> None:
    generator = build_case(case)
    drawer = Drawer(generator)
    for place, ends in PLACES.items():
        assert difference(drawer, style(generator, 3), job_at(*ends), seed=3) <= 1, place
    if generator.period is not None:  # behind the cylinder's back, where x wraps
        middle = generator.period / 2
        assert difference(drawer, style(generator, 3), job_at(middle - 1, middle + 1), seed=3) <= 1


@torch.no_grad()
def test_a_difference_would_be_seen() -> None:
    generator = build_case("cips")
    assert difference(Drawer(generator), style(generator, 4), seed=3) > 20


@torch.no_grad()
def test_styles() -> None:
    generator = build_case("cips")
    drawer, first, second = Drawer(generator), style(generator, 7), style(generator, 12)

    def drawn(w: torch.Tensor, **changed: object) -> int:
        return difference(drawer, w, seed=7, other=12, **changed)

    assert drawn(first.lerp(second, 0.25), walk=0.25) <= 1
    assert drawn(generator.mix(first, second, 4), mix=4) <= 1
    assert drawn(generator.truncate(second, 0.4), mix=0, psi=0.4) <= 1
    both = generator.truncate(generator.mix(first.lerp(second, 0.5), second, 2), 1.5)
    assert drawn(both, walk=0.5, mix=2, psi=1.5) <= 1


@torch.no_grad()
def test_classes() -> None:
    generator = build("cips", classes=3)
    assert isinstance(generator, CIPSGenerator)
    generator.mapping.class_shares.copy_(torch.tensor([0.2, 0.5, 0.3]))
    drawer = Drawer(generator)
    for seed in range(5):  # of its own class
        assert difference(drawer, style(generator, seed), seed=seed) <= 1
    for label in range(3):
        assert difference(drawer, style(generator, 5, label), seed=5, label=label) <= 1
        mixed = generator.mix(style(generator, 5, label), style(generator, 6, label), 3)
        assert difference(drawer, mixed, seed=5, other=6, mix=3, label=label) <= 1


@torch.no_grad()
@pytest.mark.parametrize("case", ["cips", "cips+noise", "unmodulated+noise", "cylinder_coarse"])
def test_parts_switched_off(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = build_case(case)
    drawer, w, job = Drawer(generator), style(generator, 0), job_at(-1.4, 1.4)
    features, encode = generator.encoding.parts()[0].features, generator.encoding.encode
    for name, part in (("fourier", slice(0, features)), ("embedding", slice(features, None))):
        choices = read_choices(choices_of(generator, **{name: 0}), generator)
        drawn = colours_of(drawer.draw(choices, job))

        def silenced(*given: Any, part: slice = part) -> torch.Tensor:
            encoding = encode(*given).clone()
            encoding[..., part] = 0
            return encoding

        # With those inputs of the first layer zero, which leaves demodulation as it was.
        with monkeypatch.context() as patch:
            patch.setattr(generator.encoding, "encode", silenced)
            expected = rendered(generator, w, *job)
        assert expected.std() > 3
        assert np.abs(drawn - expected).max() <= 1, name
    assert difference(drawer, w, job) <= 1  # and the whole is as before


@torch.no_grad()
@pytest.mark.parametrize("options", [{}, {"blocks": "residual"}, {"noise": True}, {"modulation": False}])
def test_first_pairs(options: dict[str, Any]) -> None:
    generator = build("cips", **options)
    assert isinstance(generator, CIPSGenerator)
    w, job, pairs = style(generator, 0), job_at(-1.4, 1.4), len(generator.blocks)
    drawn = {
        shown: colours_of(Drawer(generator).draw(read_choices(choices_of(generator, pairs=shown), generator), job))
        for shown in range(1, pairs + 1)
    }
    for shown in range(pairs, 0, -1):  # the run ends there
        for name in list(generator.to_rgb)[shown:]:
            del generator.to_rgb[name]
        generator.blocks, generator.num_layers = generator.blocks[:shown], 1 + 2 * shown
        assert np.abs(drawn[shown] - rendered(generator, w, *job)).max() <= 1
    assert len({colours.tobytes() for colours in drawn.values()}) == pairs


@torch.no_grad()
def test_colours_of_the_last_pair_alone_are_always_shown() -> None:
    generator = build_case("cips_base")
    assert difference(Drawer(generator), style(generator, 0), pairs=1) <= 1


def test_programs_are_few_and_their_order_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    generator, job = build_case("cips"), job_at(-1, 1)
    made, alive = [], []
    program_of = drawing.program_of

    def watched(given: CIPSGenerator, choices: Choices) -> Any:
        program = program_of(given, choices)
        made.append(choices.seed)
        alive.append(weakref.ref(program.first.affine.weight))
        return program

    monkeypatch.setattr(drawing, "program_of", watched)
    asked = [read_choices(choices_of(generator, seed=seed), generator) for seed in range(6)]
    alone = [Drawer(generator).draw(choices, job) for choices in asked]
    assert len(set(alone)) == 6
    made.clear()
    drawer = Drawer(generator, kept=3)
    for seed in (0, 1, 2, 0, 3, 0, 1, 4, 5, 5, 0):
        assert drawer.draw(asked[seed], job) == alone[seed]
        assert sum(weight() is not None for weight in alive) <= 3
    assert made == [0, 1, 2, 3, 1, 4, 5, 0]  # 0 was kept as long as it was used


def test_what_is_no_longer_wanted_is_not_drawn() -> None:
    generator = build_case("cips")
    xs, ys = np.linspace(-1, 1, 64), np.linspace(-1, 1, 64)
    job, choices = read_job(job_of(xs, ys, range(4096))), read_choices(choices_of(generator), generator)
    whole = Drawer(generator).draw(choices, job)
    assert len(whole) == 4 * 4096
    for parts in range(5):
        answers = itertools.chain([True] * parts, itertools.repeat(False))
        part = Drawer(generator).draw(choices, job, lambda answers=answers: next(answers))
        assert part == whole[: 4 * PART * parts]


def test_colours_that_are_no_numbers() -> None:
    generator = build_case("cips")
    with torch.no_grad():
        for layer in generator.to_rgb.values():
            layer.bias.fill_(3e38)
    with pytest.raises(PictureNotFinite):
        Drawer(generator).draw(read_choices(choices_of(generator), generator), job_at(-1, 1))


def test_a_key_is_of_the_weights() -> None:
    generator = build_case("cips")
    assert Drawer(generator).key == Drawer(build_case("cips")).key
    with torch.no_grad():
        generator.mapping.w_mean[0] += 1
    assert Drawer(generator).key != Drawer(build_case("cips")).key


# ------------------------------------------------------------------ what anybody may have sent

COORDINATES = st.floats(-FARTHEST, FARTHEST)
NUMBERS = st.one_of(st.integers(0, 9), st.integers(0, 2**32 - 1), st.sampled_from([MOST_PIXELS, MOST_PIXELS + 1]))
HEADERS = st.builds(lambda *numbers: struct.pack("<4I", *numbers), NUMBERS, NUMBERS, NUMBERS, NUMBERS)


@st.composite
def jobs(draw: st.DrawFn) -> tuple[list[float], list[float], list[int]]:
    xs, ys = (draw(st.lists(COORDINATES, min_size=1, max_size=9)) for _ in range(2))
    return xs, ys, draw(st.lists(st.integers(0, len(xs) * len(ys) - 1), min_size=1, max_size=30))


@given(st.one_of(st.binary(max_size=400), st.builds(bytes.__add__, HEADERS, st.binary(max_size=200))))
@example(b"")
@example(struct.pack("<4I", 1, 1, 1, 0) + bytes(16) + struct.pack("<I", 0))
@example(struct.pack("<4I", 2**32 - 1, 2**32 - 1, 2**32 - 1, 0))
def test_any_bytes_are_a_job_or_refused(body: bytes) -> None:
    promised = struct.unpack("<3I", body[:12]) if len(body) >= HEADER else (0, 0, 0)
    try:
        xs, ys, picks = read_job(body)
    except TooLarge:
        assert max(promised) > MOST_PIXELS
    except ValueError:
        assert max(promised) <= MOST_PIXELS
    else:
        assert (len(xs), len(ys), len(picks)) == promised
        assert np.isfinite([*xs, *ys]).all()
        assert picks.max() < len(xs) * len(ys)


@given(jobs())
def test_a_job_comes_back(given: tuple[list[float], list[float], list[int]]) -> None:
    body = job_of(*given)
    xs, ys, picks = read_job(body)
    assert (xs.tolist(), ys.tolist(), picks.tolist()) == given
    for wrong in (body[:-1], body + b"\0", body[:HEADER], body[: HEADER - 1]):
        with pytest.raises(ValueError, match="bytes"):
            read_job(wrong)
    beyond = body[:-4] + struct.pack("<I", len(xs) * len(ys))
    with pytest.raises(ValueError, match="outside its tile"):
        read_job(beyond)
    for bad in (np.nan, np.inf, -np.inf, 2 * FARTHEST):
        with pytest.raises(ValueError, match="coordinate"):
            read_job(body[:HEADER] + struct.pack("<d", bad) + body[HEADER + 8 :])


def test_the_largest_job() -> None:
    body = job_of(range(MOST_PIXELS), range(MOST_PIXELS), range(MOST_PIXELS))
    assert len(body) == MOST_BYTES
    assert len(read_job(body).picks) == MOST_PIXELS
    with pytest.raises(TooLarge):
        read_job(job_of(range(MOST_PIXELS + 1), [0], [0]))


def test_memory_is_not_a_headers_to_promise() -> None:
    promises = [(2**32 - 1,) * 3, (MOST_PIXELS,) * 3, (1, 1, MOST_PIXELS), (2**31, 1, 1)]
    bodies = [struct.pack("<4I", *promise, 0) for promise in promises]
    tracemalloc.start()
    try:
        for body in bodies:
            with pytest.raises(ValueError, match=r"at most|can hold"):
                read_job(body)
        assert tracemalloc.get_traced_memory()[1] < MOST_PIXELS  # a byte for each would be too many
    finally:
        tracemalloc.stop()


GENERATOR = build("cips", classes=3)
NAMES = list(Choices._fields)
LIKE_NUMBERS = st.one_of(
    st.integers().map(str),
    st.floats().map(str),
    st.sampled_from(["", "1e400", "0x1", "1_0", " 1", "٣", "-0", "9" * 5000]),
)
TEXT = st.one_of(st.text(max_size=20), LIKE_NUMBERS)


@given(st.one_of(st.dictionaries(st.text(max_size=9), TEXT), st.fixed_dictionaries(dict.fromkeys(NAMES, TEXT))))
def test_any_query_is_choices_or_refused(given: dict[str, str]) -> None:
    assert isinstance(GENERATOR, CIPSGenerator)
    try:
        choices = read_choices(given, GENERATOR)
    except ValueError:
        pass
    else:
        assert set(given) == set(NAMES)
        assert 0 <= choices.seed <= LAST_SEED
        assert 0 <= choices.walk <= 1
        assert 1 <= choices.pairs <= len(GENERATOR.blocks)
        assert -1 <= choices.label < 3


@given(
    st.builds(
        Choices,
        st.integers(0, LAST_SEED),
        st.integers(0, LAST_SEED),
        st.floats(0, 1),
        st.integers(0, GENERATOR.num_layers),
        st.floats(0, 1.5),
        st.integers(-1, 2),
        st.integers(0, 1),
        st.integers(0, 1),
        st.integers(1, 3),
    )
)
def test_choices_come_back(choices: Choices) -> None:
    assert isinstance(GENERATOR, CIPSGenerator)
    given = {name: str(value) for name, value in choices._asdict().items()}
    assert read_choices(given, GENERATOR) == choices
    for name in NAMES:
        for wrong in ("nan", "-2", "4294967296", "", "x"):
            with pytest.raises(ValueError, match=f"^{name} must be"):
                read_choices({**given, name: wrong}, GENERATOR)
        with pytest.raises(ValueError, match=f"^{name} must be"):
            read_choices({other: text for other, text in given.items() if other != name}, GENERATOR)
    with pytest.raises(ValueError, match="'path' is no choice"):
        read_choices({**given, "path": "/etc/passwd"}, GENERATOR)
