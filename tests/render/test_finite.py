"""Pictures of no numbers are refused where they become bytes, and the first tensor or picture is named."""

import pytest
import torch

from cips_lab.errors import UserError
from cips_lab.networks.cips import CIPSGenerator
from cips_lab.render.finite import check_weights
from cips_lab.render.pictures import quantize, to_uint8


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_the_first_picture_is_named(value: float) -> None:
    images = torch.zeros(4, 3, 2, 5)
    assert to_uint8(images).shape == (4, 2, 5, 3)
    images[2, 1, 1, 4] = images[3, 0, 0, 0] = value
    with pytest.raises(UserError, match="picture 2 of a batch of 4 is not finite"):
        quantize(images)
    with pytest.raises(UserError, match="the picture of seed 12 is not finite"):
        to_uint8(images, [10, 11, 12, 13])


def test_the_first_tensor_is_named() -> None:
    generator = CIPSGenerator(16, width=8, z_dim=4, w_dim=4, mapping_layers=2, fourier={"features": 8})
    check_weights(generator, "a.safetensors")
    name, parameter = list(generator.named_parameters())[3]
    with torch.no_grad():
        parameter.view(-1)[0] = float("nan")
    with pytest.raises(UserError, match=rf"^a\.safetensors: {name} is not finite \(NaN or infinite in 1 of"):
        check_weights(generator, "a.safetensors")
