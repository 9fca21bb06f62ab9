"""Which policy a name means, and what a wrong name is told."""

import sys
from pathlib import Path

import pytest

from draftwire.codecs.control import ANY_REQUEST
from draftwire.nodes.controller.choice import BUILT_IN, METHODS, make_policy
from draftwire.nodes.controller.policy import FixedPolicy, PlanValues
from draftwire.runtime.config import POLICIES, ControllerSettings
from draftwire.runtime.errors import ConfigurationError

MODULE = """
class Whole:
    def observe(self, report): pass
    def plan(self, device, request): return "a plan"

def made(): return Whole()
ready = Whole()
number = 5

class Half:
    def observe(self, report): pass

class Choosy(Whole):
    def __init__(self, k): pass

def breaks(): raise OSError("no such table")
"""


@pytest.fixture(autouse=True)
def _module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module of somebody's own, as PYTHONPATH would reach it."""
    (tmp_path / "my_policies.py").write_text(MODULE)
    (tmp_path / "my_broken.py").write_text("import no_such_module_at_all")
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("my_policies", "my_broken"):
        monkeypatch.delitem(sys.modules, name, raising=False)


@pytest.mark.parametrize("name", POLICIES)
def test_built_in_policies(name: str) -> None:
    """Each name that [controller] knows makes a policy that plans before it has seen anything."""
    assert set(POLICIES) == set(BUILT_IN)
    plan = make_policy(name).plan("device-1", ANY_REQUEST)
    assert 1 <= plan.k and 0 <= plan.min_draft <= plan.gamma


@pytest.mark.parametrize("attribute", ["Whole", "made", "ready"])
def test_a_policy_of_ones_own(attribute: str) -> None:
    """A class, a function that makes one, and an object with the two methods all do."""
    name = f"my_policies:{attribute}"
    assert ControllerSettings(policy=name).policy == name
    policy = make_policy(name)
    assert str(policy.plan("d", 1)) == "a plan"
    assert all(callable(getattr(policy, method)) for method in METHODS)


def test_a_policy_of_this_package() -> None:
    """Names of draftwire's own modules are no exception; what needs arguments says so."""
    with pytest.raises(ConfigurationError, match="callable without arguments"):
        make_policy("draftwire.nodes.controller.policy:FixedPolicy")
    assert FixedPolicy(PlanValues(1, 1, 1)).plan("d", 1) == PlanValues(1, 1, 1)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("no_such_module:Policy", ("no_such_module", "can't be imported", "PYTHONPATH")),
        ("my_broken:Policy", ("my_broken", "no_such_module_at_all")),
        ("my_policies:Policy", ("my_policies has no 'Policy'", "behind the colon")),
        ("my_policies:number", ("my_policies:number is a int", "observe(report) and plan(device, request)")),
        ("my_policies:Half", ("no method 'plan'", "observe(report) and plan(device, request)")),
        ("my_policies:Choosy", ("raised TypeError", "without arguments")),
        ("my_policies:breaks", ("raised OSError: no such table",)),
    ],
)
def test_what_is_no_policy(name: str, words: tuple[str, ...]) -> None:
    """One sentence that names controller.policy, what is wrong, and what to write."""
    with pytest.raises(ConfigurationError) as caught:
        make_policy(name)
    assert caught.value.key == "controller.policy"
    said = str(caught.value)
    assert "\n" not in said
    for word in words:
        assert word in said, said
