from itertools import pairwise

import pytest
import torch
from torch import nn

from brainldm import optimizers
from brainldm.ema import Ema
from brainldm.optimizers import OptimizerConfig

pytestmark = pytest.mark.unit


def test_the_rate_warms_up_and_decays_to_its_final_share():
    config = OptimizerConfig(learning_rate=1.0, warmup_images=100, final_share=0.1)
    rates = [optimizers.learning_rate(seen, 1000, config) for seen in range(0, 1001, 10)]
    assert rates[0] == pytest.approx(1 / 101) and max(rates) == rates[10] == 1.0
    assert all(later < earlier for earlier, later in pairwise(rates[10:]))
    assert rates[-1] == pytest.approx(0.1)


def step(module: nn.Module, optimizer: torch.optim.Optimizer, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    module(torch.randn(4, 3, generator=generator)).square().sum().backward()
    optimizer.step()
    optimizer.zero_grad()


def test_an_optimizer_goes_on_bit_for_bit_from_its_tensors():
    torch.manual_seed(0)
    module = nn.Linear(3, 2)
    optimizer = optimizers.build_adamw(module, OptimizerConfig(learning_rate=0.1))
    for seed in range(3):
        step(module, optimizer, seed)
    other = nn.Linear(3, 2)
    other.load_state_dict(module.state_dict())
    resumed = optimizers.build_adamw(other, OptimizerConfig(learning_rate=0.1))
    tensors = {name: tensor.clone() for name, tensor in optimizers.optimizer_tensors(optimizer).items()}
    optimizers.load_optimizer(resumed, tensors)
    for seed in range(3, 6):
        step(module, optimizer, seed)
        step(other, resumed, seed)
    assert torch.equal(module.weight, other.weight) and torch.equal(module.bias, other.bias)


def test_the_average_forgets_half_in_a_half_life():
    module = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(module.weight)
    ema = Ema(module, half_life_images=100)
    nn.init.ones_(module.weight)
    for _ in range(10):
        ema.update(module, images_seen=1_000_000, images_in_step=10)
    assert ema.tensors()["weight"].item() == pytest.approx(0.5)


def test_early_averages_forget_the_first_weights():
    module = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(module.weight)
    ema = Ema(module, half_life_images=1e9)
    nn.init.ones_(module.weight)
    for seen in range(10, 2000, 10):
        ema.update(module, images_seen=seen, images_in_step=10)
    assert ema.tensors()["weight"].item() > 0.99


def test_averages_are_applied_and_taken_back():
    module = nn.Linear(2, 2)
    before = module.weight.clone()
    ema = Ema(module, half_life_images=1)
    ema.load({name: torch.zeros_like(weight) for name, weight in module.named_parameters()})
    with pytest.raises(RuntimeError), ema.applied_to(module) as averaged:
        assert averaged is module and not module.weight.any()
        raise RuntimeError
    assert torch.equal(module.weight, before)


def test_a_frozen_part_is_neither_trained_nor_averaged():
    module = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    module[0].requires_grad_(False)
    assert set(Ema(module, 1).tensors()) == {"1.weight", "1.bias"}
    assert len(optimizers.build_adamw(module, OptimizerConfig()).param_groups[0]["params"]) == 2
