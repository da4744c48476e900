"""The head against the same arithmetic in numpy."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from virnucpro.classify import Head

DNA_WIDTH, PROTEIN_WIDTH, HIDDEN = 768, 2560, 512


@pytest.fixture(scope="module")
def head() -> Head:
    torch.manual_seed(2)
    made = Head(DNA_WIDTH + PROTEIN_WIDTH, HIDDEN)
    for parameter in made.parameters():
        nn.init.normal_(parameter, std=0.1)
    made.bn1.running_mean = torch.randn(HIDDEN)
    made.bn1.running_var = torch.rand(HIDDEN) * 3
    # Variances of the order of epsilon, where another epsilon would be seen.
    made.bn1.running_var[:8] = 1e-5
    return made.eval()


def probabilities(
    head: Head, dna: NDArray[np.float64], protein: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Compute Linear, BatchNorm, ReLU, Linear and softmax in fp64."""
    w = {name: tensor.double().numpy() for name, tensor in head.state_dict().items()}
    x = np.concatenate([dna, protein], axis=1) @ w["hidden_layer.weight"].T + w["hidden_layer.bias"]
    x = (x - w["bn1.running_mean"]) / np.sqrt(w["bn1.running_var"] + 1e-5)
    x = np.maximum(x * w["bn1.weight"] + w["bn1.bias"], 0)
    x = np.exp(x @ w["output_layer.weight"].T + w["output_layer.bias"])
    found: NDArray[np.float64] = x / x.sum(axis=1, keepdims=True)
    return found


@torch.inference_mode()
def test_head_equals_numpy_at_the_published_size(head: Head) -> None:
    random = np.random.default_rng(0)
    dna = random.normal(scale=0.1, size=(40, DNA_WIDTH))
    protein = random.normal(scale=0.1, size=(40, PROTEIN_WIDTH))
    expected = probabilities(head, dna, protein)
    assert 0 < (expected[:, 1] > 0.5).mean() < 1
    logits = head(torch.from_numpy(np.concatenate([dna, protein], axis=1)).float())
    found = torch.softmax(logits, dim=1).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


def test_names_and_shapes_are_the_published_ones(head: Head) -> None:
    assert {name: tuple(tensor.shape) for name, tensor in head.state_dict().items()} == {
        "hidden_layer.weight": (512, 3328),
        "hidden_layer.bias": (512,),
        "bn1.weight": (512,),
        "bn1.bias": (512,),
        "bn1.running_mean": (512,),
        "bn1.running_var": (512,),
        "bn1.num_batches_tracked": (),
        "output_layer.weight": (2, 512),
        "output_layer.bias": (2,),
    }


def test_half_of_the_hidden_units_drop_out_in_training() -> None:
    assert Head(DNA_WIDTH + PROTEIN_WIDTH, HIDDEN).dropout.p == 0.5
