"""What is checked of the messages that devices send: epochs, tries, and that a journal was there first."""

from collections.abc import Callable, Mapping

from draftwire.codecs.bodies import KINDS
from draftwire.codecs.frame import decode_frame
from draftwire.codecs.messages import Draft, Open
from draftwire.nodes.console.chaos.faults import Leg
from draftwire.nodes.console.chaos.lives import Life
from draftwire.nodes.console.chaos.users import User

_OPEN, _DRAFT = KINDS[Open], KINDS[Draft]


class DeviceTap:
    """Of all devices of a run."""

    def __init__(self, users: Mapping[str, User], *, wrong: Callable[[str, str], None]) -> None:
        """`wrong` hears which promise is broken, and how."""
        self._users, self._wrong = users, wrong
        self._tries: dict[tuple[str, int], tuple[int, int]] = {}
        "device and request -> the life that opened it last, and its newest try"
        self._blocks: dict[tuple[str, int, int], tuple[object, ...]] = {}
        "device, request, epoch -> what was drafted in it, where drafts bind"
        self._paths: dict[tuple[str, int, object, int, int], int] = {}
        "device, request, incarnation, epoch, position -> the id, where drafts are hints"

    def __call__(self, life: Life, leg: Leg, data: bytes) -> None:
        """A message leaves."""
        kind = data[1]
        if leg is not Leg.UP or kind not in (_OPEN, _DRAFT) or life.name not in self._users:
            return
        frame = decode_frame(data)
        if isinstance(frame.message, Open):
            self._opens(life, frame.session, frame.message)
        elif isinstance(frame.message, Draft):
            self._drafts(life, frame.session, frame.message)

    def _opens(self, life: Life, number: int, opened: Open) -> None:
        key = (life.name, number)
        whose, newest = self._tries.get(key, (-1, 0))
        newer = opened.device_try > newest
        if not newer and not (whose == life.number and opened.device_try == newest):
            what = f"{life.name}: life {life.number} opens with try {opened.device_try} behind {newest}"
            self._wrong("epochs", what)
        self._tries[key] = (life.number, max(newest, opened.device_try))
        self._on_disk(life, f"Open of try {opened.device_try}")

    def _drafts(self, life: Life, number: int, draft: Draft) -> None:
        if draft.weights:
            said = (draft.start, draft.path_hash, draft.ids, draft.weights, draft.rows_hash, draft.plan)
            before = self._blocks.setdefault((life.name, number, draft.draft_epoch), said)
            if before != said:
                self._wrong("epochs", f"{life.name}: epoch {draft.draft_epoch} was {before}, and is {said}")
            self._on_disk(life, f"Draft of epoch {draft.draft_epoch}")
            return
        for position, token in enumerate(draft.ids, draft.start):
            place = (life.name, number, draft.incarnation, draft.draft_epoch, position)
            if self._paths.setdefault(place, token) != token:
                what = f"{life.name}: epoch {draft.draft_epoch} has two tokens at {position}"
                self._wrong("epochs", what)

    def _on_disk(self, life: Life, what: str) -> None:
        journal = self._users[life.name].journal
        if journal is not None and journal.unsynced:
            self._wrong("leans", f"{life.name}: {what} leaves, {journal.unsynced} bytes are not on disk")


__all__ = ["DeviceTap"]
