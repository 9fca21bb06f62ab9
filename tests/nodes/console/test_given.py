"""Numbers that a program gives."""

import numpy as np
import pytest

from draftwire.nodes.console import given
from draftwire.nodes.device.checks import InvalidRequestError


def test_ids_become_pythons_own() -> None:
    """Of whatever library they are; a bool stays one, for whoever refuses it."""
    found = given.whole_ones("prompt", [1, np.int64(2), True])
    assert found == (1, 2, True) and [type(one) for one in found] == [int, int, bool]
    assert given.whole_ones("prompt", []) == ()
    with pytest.raises(InvalidRequestError, match=r"prompt.*1\.5 is no whole number"):
        given.whole_ones("prompt", [1, 1.5])  # type: ignore[list-item]


def test_pythons_own_are_not_looked_at_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """A long prompt of them costs a glance."""

    def never(key: str, value: object) -> int:
        raise AssertionError(f"{key}: {value!r} was looked at")

    monkeypatch.setattr(given, "whole", never)
    assert given.whole_ones("prompt", [3] * 1000) == (3,) * 1000
