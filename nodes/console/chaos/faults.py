"""What happens to a run, as data: who the nodes are, what they are asked, and which faults come when.

A Schedule is all there is to a run of `draftwire chaos`: the same one gives the same run, event by event. It
is drawn from a seed (swarm.py), can be written down and read back, and shrunk (shrink.py).
"""

from dataclasses import dataclass
from enum import StrEnum

from draftwire.codecs.messages import Acceptance


class Kind(StrEnum):
    """Of faults."""

    DROP = "drop"
    "messages of a leg are lost, each with probability `amount`"
    DUPLICATE = "duplicate"
    "messages of a leg come twice, each with probability `amount`"
    REORDER = "reorder"
    "messages of a leg are held for up to 10 s, most for less than a second, each with probability `amount`"
    CORRUPT = "corrupt"
    "of messages of a leg a few bits are flipped, each with probability `amount`"
    PARTITION = "partition"
    "nothing passes a leg, in its one direction"
    COLLAPSE = "collapse"
    "the radio link has `amount` bit/s both ways"
    STALL = "stall"
    "a node stands still, as a stopped process does: it hears, says and computes nothing until it goes on"
    CRASH = "crash"
    "a node dies at `moment`, with all that it has not on disk, and is started again after `for_s`"
    SLOW = "slow"
    "a node's model takes `amount` times as long"
    CLOCK = "clock"
    "a node's own clock jumps `amount` s ahead, as after a laptop's sleep; its wall clock, too, or back"
    FULL = "full"
    "a node's messages are dropped by its own queue, as if the peer took none"
    DISK = "disk"
    "nothing can be written into the device's journal"


class Leg(StrEnum):
    """A direction of a connection between two nodes."""

    UP = "up"
    "from the device towards the base station, over the channel where there is one"
    DOWN = "down"
    REPORTS = "reports"
    "from the base station to its controller"
    PLANS = "plans"


class Moment(StrEnum):
    """When a node dies, from `at_s` on."""

    NOW = "now"
    AFTER_PASS = "after_pass"
    "its model has computed, nothing is done with it yet: verified, but no Commit has left"
    BEFORE_SEND = "before_send"
    "with the next message ready to leave, which does not"
    AFTER_SEND = "after_send"
    "with the next message gone"
    IN_RECOVERY = "in_recovery"
    "as the next Open (of the base station) or Opened (of the device) comes: while it is taken up again"
    WRITING = "writing"
    "of a device: while it writes into its journal, which is torn there"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One thing that happens."""

    kind: Kind
    at_s: float
    "from the first request on, in virtual seconds"
    for_s: float = 0.0
    "how long it lasts; of a CRASH: until the node is started again"
    node: str = ""
    "`target`, `channel`, `controller`, or a device's name; empty where the fault is of a leg or of the link"
    leg: Leg | None = None
    "of all devices' connections; None where the fault is of a node or of the link"
    moment: Moment = Moment.NOW
    amount: float = 0.0
    "see Kind"

    @property
    def over_s(self) -> float:
        """When it is over, a CRASH at a later moment than now aside."""
        return self.at_s + self.for_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """What runs, before anything happens to it."""

    devices: int = 1
    "called device-1 and so on"
    requests: int = 1
    "of each device, one after the other"
    tokens: int = 16
    "of each request"
    acceptance: Acceptance = Acceptance.REJECTION
    temperature: float = 1.0
    k: int | None = 4
    "None: the controller's"
    gamma: int | None = 3
    "None: the controller's; 0: the target alone"
    link: str = "rate 1mbit delay 20ms"
    "words of both directions; empty: no channel stands between"
    journal: bool = True
    "whether devices keep one, so that a request outlives its device"
    kv_tokens: int | None = None
    "tokens of all sessions that the base station has memory for; None: no bound"
    draft_is_target: bool = False
    "then all that is drafted is accepted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """A run."""

    seed: int
    "of everything that is drawn in it"
    scenario: Scenario
    faults: tuple[Fault, ...] = ()
    "by `at_s`"


__all__ = ["Fault", "Kind", "Leg", "Moment", "Scenario", "Schedule"]
