"""What is remembered by name, within bounds."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Name = TypeVar("Name", bound=Hashable)
State = TypeVar("State")


class Recent(Generic[Name, State]):
    """States by name, made when first asked for; the least recently used are forgotten."""

    def __init__(self, make: Callable[[], State], most: int) -> None:
        self._make, self._most = make, most
        self._states = OrderedDict[Name, State]()

    def __getitem__(self, name: Name) -> State:
        if name in self._states:
            self._states.move_to_end(name)
        else:
            self._states[name] = self._make()
            if len(self._states) > self._most:
                self._states.popitem(last=False)
        return self._states[name]

    def known(self, name: Name) -> State | None:
        """Where it has been asked for before; that does not count as use."""
        return self._states.get(name)

    def __len__(self) -> int:
        return len(self._states)


__all__ = ["Recent"]
