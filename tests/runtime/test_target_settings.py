"""[target] of a topology: memory, and the weights of devices."""

import pytest

from draftwire.runtime.config import parse_topology, to_toml
from draftwire.runtime.errors import ConfigurationError


def test_a_weight_holds_for_a_name_and_below_it() -> None:
    """A device has its own weight, else its key's, else 1; a file written from it says the same."""
    text = '[target]\nkv_budget_mb = 500\n[target.weights]\nphone = 2\n"phone/3" = 0.5\n'
    topology = parse_topology(text)
    assert topology.target.kv_budget_mb == 500
    names = ("phone", "phone/1", "phone/3", "other")
    assert [topology.target.weight_of(name) for name in names] == [2.0, 2.0, 0.5, 1.0]
    assert parse_topology(to_toml(topology)) == topology
    assert parse_topology("").target.kv_budget_mb is None


@pytest.mark.parametrize(
    ("text", "key", "remedy"),
    [
        ("[target]\nkv_budget_mb = 0", "target.kv_budget_mb", "from 1 to"),
        ("[target]\nweights = 2", "target.weights", "[target.weights]"),
        ("[target.weights]\nphone = 0", "target.weights.phone", "from 0.01 to 100"),
        ("[target.weights]\nphone = 'much'", "target.weights.phone", '"phone" = 2.0'),
        ("[target.weights]\n'a b' = 1", "target.weights.a b", "letters, digits"),
    ],
)
def test_what_will_not_do_is_named(text: str, key: str, remedy: str) -> None:
    """The key and what to write instead."""
    with pytest.raises(ConfigurationError) as caught:
        parse_topology(text)
    assert caught.value.key == key
    assert remedy in caught.value.remedy
