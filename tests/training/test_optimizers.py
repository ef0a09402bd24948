import pytest
import torch
from torch import nn

from lib_rimo.errors import UserError
from lib_rimo.training.config.optimizer_names import check_optimizer
from lib_rimo.training.config.options import TrainingOptions
from lib_rimo.training.optimizers import make_optimizer

SELF_TUNING = ("Prodigy", "DAdaptAdam", "DAdaptAdan", "DAdaptLion")


def after_steps(name, rates, arguments=(), steps=1):
    """The weights of a layer per rate after steps with the same gradients, and what was said."""
    torch.manual_seed(0)
    parameters = [nn.Parameter(torch.randn(4, 4)) for _ in rates]
    starts = [parameter.detach().clone() for parameter in parameters]
    groups = [{"params": [p], "lr": rate} for p, rate in zip(parameters, rates, strict=True)]
    said = []
    options = TrainingOptions(optimizer_type=name, optimizer_args=list(arguments))
    optimizer = make_optimizer(options, groups, said.append)
    for step in range(steps):
        torch.manual_seed(step + 1)
        for parameter in parameters:
            parameter.grad = torch.randn(4, 4)
        optimizer.step()
    assert [group["lr"] for group in optimizer.param_groups] == list(rates)
    return [(p - s).detach() for p, s in zip(parameters, starts, strict=True)], said


@pytest.mark.parametrize("name", SELF_TUNING)
@pytest.mark.parametrize("rates", [(0.1, 1.0), (1.0, 0.1)])
def test_groups_of_self_tuning_optimizers_move_by_their_own_rates(name, rates):
    alike, _ = after_steps(name, (1.0, 1.0), ["d0=0.1"])
    apart, _ = after_steps(name, rates, ["d0=0.1"])
    for rate, all_of_it, moved in zip(rates, alike, apart, strict=True):
        assert moved.abs().max() > 0
        torch.testing.assert_close(moved, rate * all_of_it, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("name", ["DAdaptAdaGrad", "DAdaptSGD"])
def test_those_that_cannot_are_refused(name):
    with pytest.raises(UserError, match="knows one learning rate for all"):
        after_steps(name, (1.0, 0.1))


def test_adafactor_uses_the_rates_only_where_told_to():
    manual = ("relative_step=False", "scale_parameter=False", "warmup_init=False")
    slow, said = after_steps("AdaFactor", (1e-4,), manual)
    fast, _ = after_steps("AdaFactor", (1e-1,), manual)
    assert said == []
    torch.testing.assert_close(fast[0], 1000 * slow[0], rtol=2e-2, atol=1e-6)
    _, said = after_steps("AdaFactor", (1e-3,))
    assert len(said) == 1
    assert "relative_step=False" in said[0].text()


@pytest.mark.parametrize("name", ["LBFGS", "AdaHessian", "Muon", "BSAM"])
def test_those_that_need_more_than_a_gradient_are_refused(name):
    with pytest.raises(UserError, match="needs more than each gradient"):
        check_optimizer(name)
