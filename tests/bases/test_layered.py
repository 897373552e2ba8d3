"""Small networks as encoders: torch's own modules as reference, codes found as entries, dtypes."""

from __future__ import annotations

import torch
from torch import nn

from steerlab.bases import Dictionary, Relu, TopK
from steerlab.bases.layered import Hidden, Layer, Layered

GENERATOR = torch.Generator().manual_seed(0)


def draw(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=GENERATOR)


def layer(linear: nn.Linear, norm: nn.LayerNorm) -> Layer:
    return Layer(linear.weight.detach().T, linear.bias.detach(), norm.weight.detach(), norm.bias.detach())


def network() -> nn.Sequential:
    made = nn.Sequential(
        *(nn.Linear(6, 9), nn.LayerNorm(9), nn.ReLU()),
        *(nn.Linear(9, 7), nn.LayerNorm(7), nn.ReLU()),
        *(nn.Linear(7, 20), nn.LayerNorm(20)),
    )
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(draw(*parameter.shape))
    return made


NETWORK = network()
HIDDEN = Hidden(layer(NETWORK[3], NETWORK[4]), Hidden(layer(NETWORK[0], NETWORK[1])))
LAST = layer(NETWORK[6], NETWORK[7])
X = draw(3, 5, 6)


def test_pre_activations_are_those_of_torchs_modules():
    encoder = Layered(LAST, Relu(), HIDDEN)
    assert (encoder.inputs(), encoder.atoms()) == (6, 20)
    expected = NETWORK(X).detach().relu()
    torch.testing.assert_close(encoder(X, draw(20, 6)), expected)


def test_counted_codes_are_found_as_entries():
    encoder = Layered(LAST, TopK(4), HIDDEN)
    values, index = encoder.entries(X, draw(20, 6))
    dense = torch.zeros(3, 5, 20).scatter(-1, index, values)
    assert values.shape == (3, 5, 4) and torch.equal(dense, encoder(X, draw(20, 6)))
    assert Layered(LAST, Relu(), HIDDEN).entries(X, draw(20, 6)) is None


def test_a_dictionary_of_it_edits_and_follows_the_dtype():
    sae = Dictionary(decoder=draw(20, 6), encoder=Layered(LAST, TopK(4), HIDDEN))
    moved = sae.moved(X.double(), lambda z: z * 2, keeps_zero=True)
    assert moved.dtype == torch.float64
    expected = X.double() + sae.encode(X.double()) @ sae.decoder.double()
    torch.testing.assert_close(moved, expected)
    assert not sae.encoder.is_local
