"""The requests that a BS holds: by device and number, no more than it may, and none longer than it must.

A closed request stays for a while as a tombstone, so that a late copy of its Open opens nothing. One whose
device has vanished costs memory, so it is forgotten: the device has all that is final of it in its own log.
Where all places are taken, a device with two requests more than another gives a place up to it.
"""

from collections.abc import Callable, Iterator

from draftwire.codecs.messages import Finish
from draftwire.nodes.target.residency import Shares
from draftwire.nodes.target.served import Served


class Requests:
    """At most `most`, tombstones included; `forgot` hears of each that goes although nobody closed it, and
    `left` of each that is held no longer, to free its memory.
    """

    def __init__(
        self,
        *,
        most: int,
        forget_s: float,
        forgot: Callable[[Served, float], None],
        left: Callable[[Served], None],
    ) -> None:
        self.most = most
        self._forget_s, self._forgot, self._left = forget_s, forgot, left
        self._served: dict[tuple[str, int], Served] = {}

    def __iter__(self) -> Iterator[Served]:
        """Those held now; it is safe to add and drop meanwhile."""
        return iter(list(self._served.values()))

    def get(self, name: str, number: int) -> Served | None:
        """A device's request; None: it is not held."""
        return self._served.get((name, number))

    def holds(self, served: Served) -> bool:
        """Whether this very one is held still."""
        return self.get(served.name, served.number) is served

    def add(self, served: Served) -> None:
        """Hold it, in the place of one of the same device and number that is closed."""
        before = self.get(served.name, served.number)
        self._served[served.name, served.number] = served
        if before is not None:
            self._left(before)

    def drop(self, served: Served) -> None:
        """Hold it no longer, and free its memory."""
        if self.holds(served):
            del self._served[served.name, served.number]
        self._left(served)

    def has_room(self, device: str, now_s: float) -> bool:
        """Whether there is a place for one more request of the device, or `make_room` makes one."""
        return len(self._served) < self.most or self._who_leaves(device, now_s) is not None

    def make_room(self, device: str, now_s: float) -> None:
        """Let one go if all places are taken."""
        leaves = self._who_leaves(device, now_s) if len(self._served) >= self.most else None
        if leaves is not None:
            self._let_go(leaves, now_s)

    def _who_leaves(self, device: str, now_s: float) -> Served | None:
        """One that is closed, else the longest parked, else the newest of a device that has too many."""
        idle = [served for served in self._served.values() if _idle(served, now_s)]
        if idle:
            return min(idle, key=lambda served: (not served.closed, served.session.heard_s))
        alive = [served for served in self._served.values() if not served.closed]
        shares = Shares(served.name for served in alive)
        excess = [shares.excess(served.name, device) for served in alive]
        most = max(excess, default=0)
        greedy = [served for served, one in zip(alive, excess, strict=True) if one == most]
        return greedy[-1] if most >= 2 else None

    def forget(self, now_s: float) -> None:
        """Let those go whose device has not been heard of for `forget_s`."""
        for served in self:
            if now_s >= self._forgotten_s(served) and not served.computing:
                self._let_go(served, now_s)

    def under_way(self, now_s: float) -> int:
        """How many there are of which a device still waits for more, or for the end."""
        return sum(_under_way(served, now_s) for served in self._served.values())

    def next_deadline_s(self, now_s: float) -> float | None:
        """When after `now_s` a session wants its timer, or is to be forgotten, if there is any."""
        deadlines = [self._forgotten_s(served) for served in self._served.values()]
        for served in self._served.values():
            due_s = None if served.session.parked(now_s) else served.session.next_deadline_s()
            deadlines += [] if due_s is None else [due_s]
        return min((one_s for one_s in deadlines if one_s > now_s), default=None)

    def _forgotten_s(self, served: Served) -> float:
        return served.session.heard_s + self._forget_s

    def _let_go(self, served: Served, now_s: float) -> None:
        self.drop(served)
        if not served.closed:
            self._forgot(served, now_s)


def _idle(served: Served, now_s: float) -> bool:
    return (served.closed or served.session.parked(now_s)) and not served.computing


def _under_way(served: Served, now_s: float) -> bool:
    over = served.closed or served.session.finish is Finish.CANCELLED
    return not over and not served.session.parked(now_s)


__all__ = ["Requests"]
