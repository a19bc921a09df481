"""The check of the evaluators' contract, and evaluators of other packages."""

import random
import sys
from importlib.metadata import EntryPoint

import pytest

from nas import catalog
from nas.errors import RunError, UsageError
from nas.study.evaluator import EvaluatorKind
from nas.testing.evaluators import check_evaluator
from nas.testing.toys import HashEvaluator


class Mine(HashEvaluator):
    """Followed in two parts."""

    followable = True

    def evaluate_in_parts(self, architecture, seed, on_part):
        on_part({"search_accuracy": 0.1})
        return self.evaluate(architecture, seed)


@pytest.mark.parametrize("mine", [HashEvaluator, Mine])
def test_a_users_evaluator_keeps_it_too(mine) -> None:
    check_evaluator(mine)


class Forgetful(HashEvaluator):
    def evaluate(self, architecture, seed):
        return {"accuracy": 1 / (2 + len(self.calls)), **super().evaluate(architecture, seed)}

    def describe_training(self):
        return {"threads": 1, "calls": len(self.calls)}


class Ordered(HashEvaluator):
    qualities = ("accuracy",)

    def evaluate(self, architecture, seed):
        self.calls.append(architecture.digest)
        return {"accuracy": 1 / len(self.calls)}


class Gambler(HashEvaluator):
    qualities = ("accuracy",)

    def evaluate(self, architecture, seed):
        return {"accuracy": random.random()}


class Eager(HashEvaluator):
    prepares = True


class Deaf(Mine):
    def evaluate_in_parts(self, architecture, seed, on_part):
        try:
            return super().evaluate_in_parts(architecture, seed, on_part)
        except Exception:
            return self.evaluate(architecture, seed)


class Leaking(Mine):
    def evaluate_in_parts(self, architecture, seed, on_part):
        on_part({"accuracy": 0.1})
        return self.evaluate(architecture, seed)


class Silent(Mine):
    evaluate_in_parts = HashEvaluator.evaluate_in_parts


class Threaded(HashEvaluator):
    def describe_training(self):
        return {"threads": 2}


class Promising(HashEvaluator):
    qualities = ("macro_f1",)


class Bare:
    """What the contract was once thought to be."""

    noisy = False

    def evaluate(self, architecture, seed):
        return {"accuracy": 0.5}


@pytest.mark.parametrize(
    ("faulty", "message"),
    [
        (Bare, "trains must be True or False, not None"),
        (Forgetful, "describe_training differs between two made alike"),
        (Ordered, "made anew, in another order, it gives"),
        (Gambler, "evaluate draws from a global random generator"),
        (Eager, "evaluate must raise RunError before prepare, and gave metrics"),
        (Deaf, "what on_part raises must end the evaluation, and it went on"),
        (Leaking, "a part gives accuracy: only search_ metrics steer"),
        (Silent, "followable is True, and evaluate_in_parts told 0 parts"),
        (Threaded, "describe_training gives 2 threads, and thread_count is 1"),
        (Promising, "evaluate gives no macro_f1, and qualities names it"),
    ],
)
def test_a_fault_is_caught(faulty, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_evaluator(faulty)


class Drifting(HashEvaluator):
    """Forgets what it prepared: a second preparation in the folder gives other metrics."""

    qualities = ("accuracy",)
    prepares = True

    def __init__(self):
        super().__init__()
        self.share = None

    def prepare(self, domain, folder, *, seed, watch=None):
        file = folder / "rows"
        self.share = 0.2 if file.exists() else 0.1
        file.touch()

    def evaluate(self, architecture, seed):
        if self.share is None:
            raise RunError("not ready")
        return {"accuracy": self.share}


def test_a_preparation_that_is_not_read_again_is_caught() -> None:
    message = "prepared from what the folder holds, it gives"
    with pytest.raises(AssertionError, match=message):
        check_evaluator(Drifting)


# -- kinds ----------------------------------------------------------------------------------------


def make(data, recipe, *, threads, depth=1):
    evaluator = HashEvaluator()
    evaluator.asked = (data, recipe, threads, depth)
    return evaluator


def open_data(spec, *, strict=False, groups=None, watch=None):
    return spec


THEIRS = EvaluatorKind(name="theirs", factory=make, open_data=open_data, settings=("depth",))


def test_a_kind_hands_on_what_its_evaluator_takes() -> None:
    assert THEIRS.make("data", "epochs=2", threads=3).asked == ("data", "epochs=2", 3, 1)
    assert THEIRS.make("data", settings={"depth": 4}).asked == ("data", "", 1, 4)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: THEIRS.make("data", settings={"dept": 4}),
            "no setting of evaluator 'theirs' named 'dept'. Did you mean 'depth'",
        ),
        (
            lambda: EvaluatorKind(name="bare", factory=make, open_data=open_data).make(
                "data", settings={"depth": 4}
            ),
            "evaluator 'bare' has no settings, so 'depth' means nothing: write 'bare'",
        ),
        (
            lambda: THEIRS.teacher("big.json", None, "data", 4.0, 0.5),
            "evaluator 'theirs' takes no --teacher: leave it out, or use --evaluator training",
        ),
    ],
)
def test_what_a_kind_does_not_take_is_refused(call, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        call()


@pytest.fixture
def theirs(monkeypatch):
    """Makes this module's names evaluators of another package, by entry-point name."""
    monkeypatch.setitem(sys.modules, "their_package", sys.modules[__name__])

    def install(name: str, attribute: str) -> None:
        point = EntryPoint(name, f"their_package:{attribute}", "nas.evaluators")
        own = {"nas.evaluators": [point]}
        monkeypatch.setattr(catalog, "entry_points", lambda group: own.get(group, []))

    return install


def test_an_evaluator_from_another_package(theirs) -> None:
    theirs("theirs", "THEIRS")
    assert catalog.evaluator("theirs:depth=4") is THEIRS


def test_two_evaluators_of_one_name_clash(theirs) -> None:
    theirs("supernet", "THEIRS")
    with pytest.raises(UsageError, match=r"two evaluators are named 'supernet': .*Uninstall one"):
        catalog.evaluator("training")


@pytest.mark.parametrize(("name", "attribute"), [("mine", "THEIRS"), ("theirs", "__name__")])
def test_an_entry_point_must_hold_a_kind_of_its_name(theirs, name: str, attribute: str) -> None:
    theirs(name, attribute)
    message = f"evaluator '{name}' must be an EvaluatorKind of that name, or a function, not "
    with pytest.raises(UsageError, match=message):
        catalog.evaluator(name)
