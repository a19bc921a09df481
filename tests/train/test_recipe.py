# ruff: noqa: E402
import dataclasses

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from nas.errors import TrainingError, UsageError
from nas.model.blocks import NORM_MOMENTUM
from nas.train import Schedule
from nas.train.average import Average
from nas.train.optimisers import RMSprop, make
from nas.train.recipe import GROWTH, RECIPES, Recipe, recipe


@pytest.mark.parametrize(
    ("preset", "sizes", "randaugment", "mixup"),
    [
        ("s", (171, 214, 257, 300), (5, 20 / 3, 25 / 3, 10), (0, 0, 0, 0)),
        ("m", (192, 256, 320, 384), (5, 25 / 3, 35 / 3, 15), (0, 0.2 / 3, 0.4 / 3, 0.2)),
        ("xl", (192, 256, 320, 384), (5, 10, 15, 20), (0, 0.5 / 3, 1 / 3, 0.5)),
    ],
)
def test_growth_is_that_of_efficientnetv2s_code(preset, sizes, randaugment, mixup):
    """google/automl, efficientnetv2/main_tf2.py: sizes and linspaces over four stages; dropout
    stays."""
    test_size = {"s": 384, "m": 480, "xl": 512}[preset]
    plan = RECIPES[f"efficientnetv2-{preset}"].plan(test_size)
    assert tuple(step.size for step in plan) == sizes
    assert [step.randaugment for step in plan] == pytest.approx(randaugment)
    assert [step.mixup for step in plan] == pytest.approx(mixup)
    assert len({step.dropout for step in plan}) == 1
    assert [step.end for step in plan] == [0.25, 0.5, 0.75, 1]


def test_in_the_papers_table_dropout_grows_too():
    plan = recipe("mnasnet", "paper-s").plan(384)
    assert [step.dropout for step in plan] == pytest.approx(
        [0.1, 0.1 + 0.2 / 3, 0.1 + 0.4 / 3, 0.3]
    )
    assert plan[-1].size == 300


def test_without_growth_there_is_one_stage_at_the_networks_size():
    assert [(step.end, step.size) for step in Recipe().plan(224)] == [(1.0, 224)]


def test_published_rates():
    """EfficientNet: 0.016 per 256 images, warmed up for 5 epochs, times 0.97 every 2.4, over 350
    epochs."""
    chosen = recipe("efficientnet", "", "batch_size=512")
    schedule = chosen.schedule(51200)  # 100 steps an epoch
    assert schedule.steps == 35000
    assert schedule.lr_at(500) == pytest.approx(0.032 * 0.97 ** (5 // 2.4))
    assert schedule.lr_at(24000) == pytest.approx(0.032 * 0.97**100)
    assert schedule.lr_at(0) == pytest.approx(0.032 / 501)


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_makes_a_schedule_and_prints_what_differs(name):
    chosen = RECIPES[name]
    assert chosen.schedule(1000).steps >= 1
    again = recipe("default", "", str(chosen))
    assert dataclasses.asdict(again) == {
        key: pytest.approx(value, rel=1e-4) if isinstance(value, float) else value
        for key, value in dataclasses.asdict(chosen).items()
    }


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (("fbnt",), r"no recipe named 'fbnt'. Did you mean 'fbnet'\?"),
        (("fbnet", "q"), r"no preset of progressive learning named 'q'. Known: l, m, paper-l"),
        (("default", "", "lr=fast"), "recipe lr must be a number, not 'fast'"),
        (("default", "", "steps=1.5"), "recipe steps must be a whole number, not '1.5'"),
        (
            ("default", "", "momentun=1"),
            r"no recipe setting named 'momentun'. Did you mean 'momentum'\?",
        ),
        (
            ("default", "", "ema=0.9"),
            "weights are averaged one way: --set average=0 or --set ema=0",
        ),
        (("default", "", "randaugment=31"), "recipe randaugment must be 0 to 30, not 31"),
        (
            ("default", "", "optimiser=adam"),
            r"no recipe optimiser named 'adam'. Did you mean 'adamw'\?",
        ),
        (("default", "", "decay=linear"), "no recipe decay named 'linear'"),
    ],
)
def test_bad_settings_are_one_line(call, message):
    with pytest.raises(UsageError, match=message) as found:
        recipe(*call)
    assert "\n" not in str(found.value)


def test_growth_names():
    assert set(GROWTH) == {"s", "m", "l", "xl", "paper-s", "paper-m", "paper-l"}


def test_rmsprop_is_tensorflows():
    """tf.keras RMSprop of old (ApplyRMSProp with momentum): ms from 1, eps under the root, rate
    inside the momentum."""
    rng = np.random.default_rng(0)
    weights, ms, mom = rng.normal(size=(3, 2)), np.ones((3, 2)), np.zeros((3, 2))
    given = torch.nn.Parameter(torch.tensor(weights))
    optimiser = RMSprop([{"params": [given], "weight_decay": 0.1}], 0.0, momentum=0.9, eps=1e-3)
    for step in range(5):
        lr, gradient = 0.1 / (step + 1), rng.normal(size=(3, 2))
        optimiser.param_groups[0]["lr"] = lr
        given.grad = torch.tensor(gradient)
        optimiser.step()
        whole = gradient + 0.1 * weights
        ms = 0.9 * ms + 0.1 * whole**2
        mom = 0.9 * mom + lr * whole / np.sqrt(ms + 1e-3)
        weights = weights - mom
    np.testing.assert_allclose(given.detach().numpy(), weights, rtol=1e-12)


@pytest.mark.parametrize("name", ["adamw", "rmsprop", "sgd"])
def test_each_optimiser_goes_downhill_and_spares_vectors_the_decay(name):
    net = torch.nn.Linear(4, 2)
    optimiser = make(net, Schedule(steps=1, optimiser=name, lr=0.01))
    assert [group["weight_decay"] for group in optimiser.param_groups] == [1e-4, 0.0]
    before = net(torch.ones(1, 4)).pow(2).sum()
    for _ in range(3):
        optimiser.zero_grad()
        net(torch.ones(1, 4)).pow(2).sum().backward()
        optimiser.step()
    assert net(torch.ones(1, 4)).pow(2).sum() < before


def test_the_exponential_average_forgets_slowly_and_starts_fast():
    net = torch.nn.Linear(1, 1, bias=False)
    average = Average(net, Schedule(steps=10, ema=0.999))
    wanted = 0.0
    for step in range(4):
        with torch.no_grad():
            net.weight.fill_(step)
        average.after(step)
        decay = min(0.999, (2 + step) / (11 + step))
        wanted = step if step == 0 else decay * wanted + (1 - decay) * step
    assert average.mean[0].item() == pytest.approx(wanted)
    with average.shown():
        assert net.weight.item() == pytest.approx(wanted)
    assert net.weight.item() == 3


def test_two_averages_at_once_are_refused():
    with pytest.raises(TrainingError, match=r"averaged one way: average=0.1 or ema=0.9, not both"):
        Schedule(steps=1, average=0.1, ema=0.9)


@pytest.mark.parametrize("name", ["default", "efficientnet", "uninet"])
def test_an_optimiser_set_on_any_recipe_has_its_own_epsilon(name):
    """Loshchilov and Hutter's 1e-8, not the .001 that MnasNet's RMSProp has under its root."""
    net = torch.nn.Linear(2, 2)
    for optimiser, eps in (("adamw", 1e-8), ("rmsprop", 1e-3)):
        schedule = recipe(name, "", f"optimiser={optimiser}").schedule(100)
        assert [group["eps"] for group in make(net, schedule).param_groups] == [eps, eps]
    schedule = recipe(name, "", "optimiser=adamw,eps=1e-4").schedule(100)
    assert make(net, schedule).param_groups[0]["eps"] == 1e-4


def test_norms_remember_a_hundred_steps_in_mnasnets_and_efficientnets_recipes():
    """A decay of .99 (tensorflow/tpu, models/official/mnasnet and efficientnet): .01 in torch."""
    for name in RECIPES:
        fast = name in ("default", "fbnet", "uninet")
        assert RECIPES[name].norm_momentum == (NORM_MOMENTUM if fast else 0.01)
