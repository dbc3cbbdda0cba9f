"""Figure 5: principal components, against scikit-learn's, and planted ones."""

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from studies import study, subject
from test_encoding_spectrum import configured, noise

from cips_lab.analysis.encodings import EMBEDDING, FOURIER, EncodingMap, maps_of
from cips_lab.analysis.figures.encoding_pca import (
    FIGURE,
    as_colours,
    compute,
    numbers,
    principal_components,
    reading,
    rows,
)
from cips_lab.analysis.subject import Unsuitable
from cips_lab.reporting.figures import drawing


@pytest.mark.parametrize(("features", "side"), [(24, 16), (300, 16), (3, 8)])
def test_components_are_scikit_learns(features: int, side: int) -> None:
    maps = noise(features, side) + 5 * torch.arange(features)[:, None, None]
    maps = maps * (1 + torch.arange(features) % 4)[:, None, None]  # so that components differ in strength
    scores, explained = principal_components(EncodingMap("a", EMBEDDING, maps))
    theirs = PCA(3, svd_solver="full")
    expected = theirs.fit_transform(maps.double().flatten(1).T.numpy()).T.reshape(3, side, side)
    np.testing.assert_allclose(explained, theirs.explained_variance_ratio_, rtol=1e-8)
    for ours, other in zip(scores.numpy(), expected, strict=True):
        assert ours.flat[np.abs(ours).argmax()] > 0  # the sign is free, and ours is fixed
        np.testing.assert_allclose(ours, other * np.sign(other.flat[np.abs(other).argmax()]), atol=1e-5)


def test_planted_components_are_found_in_their_order() -> None:
    side = 16
    y, x = torch.meshgrid(torch.linspace(-1, 1, side), torch.linspace(-1, 1, side), indexing="ij")
    patterns = torch.stack([3 * x, 2 * y, x * y])
    directions, _ = torch.linalg.qr(torch.randn(40, 3, generator=torch.Generator().manual_seed(1)))
    scores, explained = principal_components(
        EncodingMap("a", EMBEDDING, torch.einsum("fk,kyx->fyx", directions, patterns))
    )
    assert float(explained.sum()) == pytest.approx(1)
    for found, pattern in zip(scores, patterns, strict=True):
        agreement = (found * pattern).sum() / (found.norm() * pattern.norm())
        assert abs(float(agreement)) == pytest.approx(1, abs=1e-5)
        assert float(found.norm()) == pytest.approx(float(pattern.norm()), rel=1e-5)


def test_pixels_are_taken_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    values = EncodingMap("a", EMBEDDING, noise(9, 16))
    whole = principal_components(values)
    monkeypatch.setattr("cips_lab.analysis.figures.encoding_pca.AT_ONCE", 100)
    for part, other in zip(principal_components(values), whole, strict=True):
        torch.testing.assert_close(part, other)


def test_fewer_features_than_components() -> None:
    scores, explained = principal_components(EncodingMap("a", FOURIER, noise(2, 8)))
    assert float(explained.sum()) == pytest.approx(1)
    assert scores[2].eq(0).all()
    assert explained[2] == 0
    constant = EncodingMap("a", FOURIER, torch.ones(4, 8, 8))
    assert all(part.isfinite().all() for part in principal_components(constant))


def test_colours_go_from_percentile_to_percentile() -> None:
    ramp = torch.linspace(-5, 20, 10_001)[: 100 * 100].view(1, 100, 100).expand(3, -1, -1)
    colours = as_colours(ramp * torch.tensor([1.0, 10.0, 0.1])[:, None, None])
    assert colours.shape == (100, 100, 3)
    torch.testing.assert_close(colours[..., 0], colours[..., 1], atol=1e-4, rtol=0)
    assert float((colours == 0).float().mean()) == pytest.approx(0.01, abs=0.001)
    assert float((colours == 1).float().mean()) == pytest.approx(0.01, abs=0.001)
    assert float(colours[50, 0, 0]) == pytest.approx(0.5, abs=0.01)


def test_the_figure() -> None:
    trained = configured("cips")
    table = trained.pixelwise.encoding.get_submodule("embedding").get_parameter("table")
    with torch.no_grad():  # one direction in which pixels of the upper half differ from the lower
        table[:128, 0] += 9
    ours = study(trained, subject("stylegan2"), subject("cips_no_fourier"), subject("cips_ne"))
    data = FIGURE.compute(ours)
    assert ours.left_out == ["stylegan2 is convolutional: its pixels have no encoding"]
    found = numbers(data)
    assert found["cips"][FOURIER]["shown"] == found["cips"][FOURIER]["initialised"]
    assert found["cips"][EMBEDDING]["shown"] > found["cips"][EMBEDDING]["initialised"] + 0.2
    assert found["cips_ne"] == {FOURIER: {"shown": data[-1].shown, "initialised": None}}
    outline = next(one for one in data if (one.subject, one.part) == ("cips", EMBEDDING)).components[0]
    assert outline[:8].mean().sub(outline[8:].mean()).abs() == pytest.approx(9, rel=0.1)
    assert "cips: Fourier features" in reading(data)
    assert len(rows(data)) == 4 * 3
    assert torch.equal(
        data[0].components, principal_components(maps_of(trained, trained.pixelwise.encoding)[0])[0].float()
    )
    with drawing("test"):
        drawn = FIGURE.draw(data)
    assert sum(bool(axes.images) for axes in drawn.axes) == 4 * 4
    assert [axes.get_ylabel() for axes in drawn.axes if axes.get_ylabel()] == ["cips", "cips_no_fourier", "cips_ne"]


def test_a_convolutional_model_is_unsuited() -> None:
    with pytest.raises(Unsuitable, match="have no encoding"):
        compute(study(subject("stylegan2")))
