"""Weights of networks that are not to be had here, and a cache of its own for every test."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from sets import register_tiny
from torch import nn
from torch_fidelity import feature_extractor_inceptionv3 as inception

from cips_lab.metrics.extractors import EXTRACTORS


@pytest.fixture
def tiny() -> Iterator[str]:
    """The name of an extractor that takes no time."""
    register_tiny()
    yield "tiny"
    del EXTRACTORS["tiny"]


@pytest.fixture(scope="session")
def inception_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of Inception weights, random ones that keep the signal's size through the layers."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inception, "load_state_dict_from_url", lambda *arguments, **options: {})
        patch.setattr(inception.FeatureExtractorInceptionV3, "load_state_dict", lambda network, state: None)
        torch.manual_seed(0)
        network = inception.FeatureExtractorInceptionV3("inception-v3-compat", ["2048"])
    for part in network.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight)
    path = tmp_path_factory.mktemp("weights") / "inception.pth"
    torch.save(network.state_dict(), path)
    return path
