"""Mistakes in the protocol, each small and one that could be made; `draftwire chaos` has to find them."""

from typing import Any, Final

from tests.harness.mutants import Edit, Mutant

import draftwire.codecs.frame
import draftwire.nodes.controller.node
import draftwire.nodes.device.entries
import draftwire.nodes.device.node
import draftwire.nodes.target.node
from draftwire.nodes.device.journal import Journal, Page
from draftwire.nodes.device.node import DeviceNode
from draftwire.nodes.device.running import Running
from draftwire.nodes.speculation.sampling import Coupled
from draftwire.nodes.target.cached import Cached
from draftwire.nodes.target.node import TargetNode
from draftwire.nodes.target.residency import Residency
from draftwire.nodes.target.work import Work
from draftwire.runtime.link.model import Link
from draftwire.runtime.session.ahead import Ahead
from draftwire.runtime.session.device import DeviceSession
from draftwire.runtime.session.hints import BlockHints
from draftwire.runtime.session.planning import Planning
from draftwire.runtime.session.target import TargetSession


def one(
    name: str, breaks: str, owner: Any, function: str, *changes: tuple[str, str], also: tuple[Any, ...] = ()
) -> Mutant:
    """A mutant of one function."""
    edit = Edit(owner=owner, name=function, changes=changes, also=also)
    return Mutant(name=name, breaks=breaks, edits=(edit,))


OLD_AT_DEVICE = "case Commit() | SparseLogitsRequest() | Pong() if message.incarnation != self._incarnation:"
DEVICE: Final = (
    one(
        "commits_not_deduplicated",
        "a Commit that comes again is appended again",
        DeviceSession,
        "_on_commit",
        ("news = max(0, end - len(self.log))", "news = len(commit.ids)"),
    ),
    one(
        "old_incarnation_taken_by_device",
        "Commits of an earlier life of the log are taken",
        DeviceSession,
        "receive",
        (OLD_AT_DEVICE, "case Pong() if message.incarnation != self._incarnation:"),
    ),
    one(
        "rows_request_ignored",
        "rows that the base station lacks are not sent again",
        DeviceSession,
        "_on_rows_wanted",
        ("self._send_rows(only=position)", "pass"),
    ),
    Mutant(
        name="epochs_restart",
        breaks="a device's next life begins with epoch 0 again",
        edits=(
            Edit(
                owner=DeviceNode,
                name="_answer",
                changes=(("draft_epoch=entry.record.draft_epoch", "draft_epoch=0"),),
            ),
            Edit(
                owner=draftwire.nodes.device.entries,
                name="_later",
                changes=((" and record.draft_epoch >= before.draft_epoch", ""),),
            ),
        ),
    ),
    one(
        "try_not_counted",
        "a device's next life opens with the same try",
        DeviceSession,
        "_open",
        ("self.device_try += 1", "self.device_try = max(1, self.device_try)"),
    ),
    one(
        "try_forgotten",
        "a device's next life counts its tries from 1 again",
        DeviceNode,
        "_answer",
        ("device_try=entry.record.device_try", "device_try=0"),
    ),
    one(
        "record_behind_draft",
        "a Draft leaves before its epoch is in the journal",
        Running,
        "frames",
        ("isinstance(one, Open) or (isinstance(one, Draft) and not hints)", "isinstance(one, Open)"),
    ),
    one(
        "journal_not_synced",
        "an Open or a Draft leaves before the journal is on disk",
        Page,
        "keep",
        ("self._unsynced = True", "pass"),
    ),
    one(
        "outstanding_not_kept",
        "the journal does not say which block is out",
        DeviceNode,
        "_answer",
        ("outstanding=entry.record.outstanding", "outstanding=None"),
    ),
    one(
        "shown_before_written",
        "tokens are shown, then written",
        DeviceNode,
        "_drive",
        ("self._flush(running, tokens)", "self._flush(running)"),
        (
            "            yield taken\n",
            "            yield taken\n        if page is not None and tokens:\n"
            "            page.keep(tokens, session.record, leaves=False, rests=True)\n",
        ),
    ),
    one(
        "open_not_repeated",
        "an Open that is lost is not said again",
        DeviceSession,
        "on_timer",
        ("    self._send_open()", "    pass"),
    ),
    one(
        "draft_not_repeated",
        "a Draft that is lost is not said again",
        DeviceSession,
        "on_timer",
        ("            self._send_draft()\n", ""),
    ),
    one(
        "hello_only_once",
        "a device that opens again says no Hello",
        DeviceSession,
        "_send_open",
        ("self._out.append(self._hello)", "self._out.extend([self._hello] if self.device_try == 1 else [])"),
    ),
    one(
        "redrawn_by_the_newest_plan",
        "a block is drawn again with the K in force now",
        DeviceSession,
        "work",
        ("plan=wanted.plan", "plan=self.plan or wanted.plan"),
    ),
    one(
        "wrong_path_goes_on",
        "a path that the log has left is drafted on, in its epoch",
        Ahead,
        "follow",
        ("alive = False", "alive = len(self._ids) > len(grown)"),
    ),
    one(
        "torn_line_stays",
        "a journal's torn last line is not cut off",
        Journal,
        "_read",
        ("os.ftruncate(file, end)", "pass"),
    ),
)
BS: Final = (
    one(
        "rejection_forgotten",
        "a new life of the base station does not wait for the block that the last one tested",
        TargetSession,
        "_awaited_by",
        ("return opened.draft_epoch if opened.outstanding and not self.request.hints else 0", "return 0"),
    ),
    one(
        "rows_not_asked_for",
        "the base station waits for rows without asking",
        TargetSession,
        "on_timer",
        ("if lacking:", "if False:"),
    ),
    one(
        "run_ahead_unbounded",
        "the base station decodes on, whatever its device has heard",
        TargetSession,
        "_may_run_ahead",
        ("return len(self.log) - self.known < self._ahead", "return True"),
    ),
    one(
        "repeated_commit_begins_late",
        "a Commit that is repeated lacks its first token",
        TargetSession,
        "_commit",
        ("self.log.tokens[self.known :]", "self.log.tokens[self.known + (self._repeats > 0) :]"),
        ("self.log.origins[self.known :]", "self.log.origins[self.known + (self._repeats > 0) :]"),
    ),
    one(
        "accepted_off_by_one_when_repeated",
        "a Commit that is repeated tells one accepted draft more",
        TargetSession,
        "_commit",
        ("accepted=self._accepted", "accepted=self._accepted + (self._repeats > 0)"),
    ),
    one(
        "cache_believes_too_much",
        "the target's cache believes in drafts that were rejected",
        Cached,
        "of",
        (
            "self._alike = common_prefix(self._tokens, log.tokens, known=self._alike)",
            "self._alike = min(len(self._tokens), len(log.tokens))",
        ),
    ),
    one(
        "released_twice",
        "memory that is given back twice counts twice",
        Residency,
        "release",
        ("self._held.pop(key)", "self._held[key]"),
    ),
    one(
        "tombstone_forgotten",
        "a request that is closed is forgotten at once",
        Work,
        "_attend",
        ("served.verdict = None", "served.verdict = None\n        self._requests.drop(served)"),
    ),
    one(
        "boot_not_changed",
        "every life of the base station has one boot number",
        TargetNode,
        "_next_incarnation",
        ("boot=self._boot", "boot=0"),
    ),
    one(
        "noise_by_epoch",
        "coupled drafts are held against a pick by their epoch",
        Coupled,
        "outcome",
        (
            "return sample_target(p[i], drafted.seed, drafted.start + i, noise)",
            "return sample_target(p[i], drafted.seed, drafted.start + i + 1000 * drafted.draft_epoch, noise)",
        ),
    ),
    one(
        "pins_forgotten",
        "a controller's order overrules the gamma that a request fixes",
        Planning,
        "_fitted",
        ("plan.gamma if request.gamma is None else request.gamma", "plan.gamma"),
    ),
    Mutant(
        name="old_rows_taken",
        breaks="a correction is drawn by a row of another epoch",
        edits=(
            Edit(
                owner=BlockHints,
                name="row",
                changes=(
                    (
                        "self._rows.get((draft_epoch, position))",
                        "next((row for (_, at), row in self._rows.items() if at == position), None)",
                    ),
                ),
            ),
            Edit(owner=BlockHints, name="offer", changes=(("if key[0] >= draft.draft_epoch", ""),)),
            Edit(
                owner=BlockHints,
                name="offer_rows",
                changes=(
                    ("if any(key[0] > epoch for key in self._rows):", "if False:"),
                    ("{key: row for key, row in self._rows.items() if key[0] == epoch}", "dict(self._rows)"),
                ),
            ),
            Edit(
                owner=BlockHints,
                name="refuse_row",
                changes=(
                    (
                        "del self._rows[draft_epoch, position]",
                        "self._rows.pop((draft_epoch, position), None)",
                    ),
                ),
            ),
            Edit(
                owner=TargetSession,
                name="_row",
                changes=(
                    ("if row is not None and row.weight_of(step.ids[i]) != step.weights[i]:", "if False:"),
                ),
            ),
        ),
    ),
)
OTHERS: Final = (
    one(
        "copies_counted_as_delivered",
        "a message that arrives twice counts as delivered twice",
        Link,
        "statistics",
        (
            "delivered=self._number - self._queued - self._dropped.total()",
            "delivered=self._number - self._queued - self._dropped.total() + self._duplicated",
        ),
    ),
    one(
        "crc_unchecked",
        "frames that were damaged are decoded",
        draftwire.codecs.frame,
        "decode_frame",
        ("if named != actual:", "if False:"),
        also=(draftwire.nodes.device.node, draftwire.nodes.target.node, draftwire.nodes.controller.node),
    ),
)
ALL: Final = (*DEVICE, *BS, *OTHERS)

__all__ = ["ALL"]
