"""One fixed message of each kind, and how a message is written down in tests/codecs/golden/*.json."""

from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from enum import IntEnum
from typing import Any

from draftwire.codecs.blocks import block_sections
from draftwire.codecs.control import (
    ANY_DEVICE,
    ANY_REQUEST,
    COUPLED,
    REJECTION,
    Event,
    LinkOrder,
    LinkState,
    PlanOrder,
    Register,
    RowsReport,
    StepReport,
)
from draftwire.codecs.frame import AnyMessage
from draftwire.codecs.hashes import ids_hash, log_hash, rows_hash
from draftwire.codecs.messages import (
    Acceptance,
    Cancel,
    Close,
    Commit,
    Draft,
    Finish,
    Hello,
    Incarnation,
    Open,
    Opened,
    Origin,
    PendingBlock,
    Ping,
    Plan,
    Pong,
    Reason,
    Refused,
    Sampling,
    SparseLogits,
    SparseLogitsRequest,
    StepTimes,
    Welcome,
)
from draftwire.codecs.probes import Echo, Probe
from draftwire.codecs.quantize import quantize
from draftwire.codecs.rows import Row
from draftwire.codecs.tables import TableSets
from draftwire.codecs.weights import Profile

SESSION, SEQUENCE = 0x01020304, 0x0A0B0C0D

LIFE = Incarnation(boot=0xB0070001, counter=7)
PLAN = Plan(number=5, k=8, gamma=3, min_draft=3)
BLOCKWISE = Plan(number=6, k=8, gamma=3, min_draft=3, blockwise=True)
AHEAD = Plan(number=7, k=32, gamma=16, min_draft=2, early_stop=True, uplink_bps=2_500_000)
"Of drafts that are hints: the device draws ahead."
PATH = log_hash([1, 2, 3])

# Logs of whole numbers: quantising them takes no rounding that could differ between machines.
SMALL_ROWS = (
    quantize(
        [5, 17, 300, 301, 302, 4000, 31998, 31999], [0, -1, -2, -2, -2, -7, -9, -9], vocab_size=32000, tail=21
    ),
    quantize(range(8), [0] * 8, vocab_size=32000, tail=0),
    quantize(range(31992, 32000), [-20, -20, -20, 0, -20, -20, -20, -20], vocab_size=32000),
)
LARGE_ROWS = tuple(
    quantize(
        range(first, 30000, step),
        [-(i % 11) for i in range(len(range(first, 30000, step)))],
        vocab_size=32000,
        tail=40 + first % 2,
    )
    for first, step in ((0, 200), (199, 200))
)
DENSE_ROWS = tuple(
    quantize(range(12), [-((7 * i + shift) % 12) for i in range(12)], vocab_size=12, profile=Profile.DENSE)
    for shift in (0, 5)
)

BLOCKS: dict[str, tuple[Row, ...]] = {
    "plain_small": SMALL_ROWS,
    "plain_large": LARGE_ROWS,
    "dense": DENSE_ROWS,
}


def sparse_logits(rows: tuple[Row, ...]) -> SparseLogits:
    """Rows in their message."""
    return SparseLogits(incarnation=LIFE, draft_epoch=2, start=40, rows=rows)


def draft(ids: tuple[int, ...], weights: tuple[int, ...], digest: bytes) -> Draft:
    """A block of these ids."""
    return Draft(
        incarnation=LIFE,
        draft_epoch=2,
        known=39,
        start=40,
        path_hash=PATH,
        plan=PLAN,
        ids=ids,
        weights=weights,
        rows_hash=digest,
        token_s=0.0031,
    )


def hints(ids: tuple[int, ...], *, start: int, path: Sequence[int], last: bool) -> Draft:
    """These ids of a path, behind the tokens of `path`."""
    return Draft(
        incarnation=LIFE,
        draft_epoch=3,
        known=39,
        start=start,
        path_hash=log_hash(path),
        plan=AHEAD,
        ids=ids,
        weights=(),
        rows_hash=ids_hash(ids),
        token_s=0.0031,
        last=last,
    )


CASES: dict[str, AnyMessage] = {
    "hello": Hello(protocol_version=6, noise_version=2, vocab_size=49152, fingerprint=bytes(range(8))),
    "hello_tables": Hello(
        protocol_version=6,
        noise_version=2,
        vocab_size=49152,
        fingerprint=bytes(range(8)),
        tables=(bytes(range(16, 24)), bytes(range(32, 40))),
    ),
    "welcome": Welcome(boot=0xB0070001),
    "welcome_tables": Welcome(boot=0xB0070001, tables=bytes(range(32, 40))),
    "refused": Refused(
        reason=Reason.SUPERSEDED, device_try=3, detail="try 3 is over, try 4 is being served – ≠"
    ),
    "open": Open(
        device_try=3,
        seed=0x0123456789ABCDEF,
        sampling=Sampling(temperature=0.7, top_k=50, top_p=0.95),
        max_new_tokens=256,
        stop=("\n\n", "Ende"),
        prompt_length=2,
        tokens=(1, 262_143, 65_536),
        draft_epoch=2,
        outstanding=True,
        pinned_k=320,
        pinned_gamma=0,
        life=0x11FE0001,
    ),
    "open_auto": Open(
        device_try=1,
        seed=2,
        sampling=Sampling(temperature=1),
        max_new_tokens=8,
        stop=(),
        prompt_length=2,
        tokens=(1, 2),
        draft_epoch=0,
        pinned_gamma=16,
        pinned_min_draft=32,
        acceptance=Acceptance.AUTO,
    ),
    "open_coupled": Open(
        device_try=4,
        seed=2,
        sampling=Sampling(temperature=1),
        max_new_tokens=8,
        stop=(),
        prompt_length=2,
        tokens=(1, 2, 3),
        draft_epoch=3,
        pinned_min_draft=0,
        acceptance=Acceptance.COUPLED,
    ),
    "open_free": Open(
        device_try=1,
        seed=1,
        sampling=Sampling(temperature=0),
        max_new_tokens=1,
        stop=(),
        prompt_length=1,
        tokens=(1,),
        draft_epoch=0,
    ),
    "opened": Opened(device_try=3, incarnation=LIFE, known=3, log_hash=PATH, pending=None, plan=PLAN),
    "opened_pending": Opened(
        device_try=3,
        incarnation=LIFE,
        known=3,
        log_hash=PATH,
        pending=PendingBlock(
            draft_epoch=2, start=40, length=3, plan=BLOCKWISE, rows_hash=rows_hash(SMALL_ROWS)
        ),
        plan=PLAN,
    ),
    "opened_coupled": Opened(
        device_try=4,
        incarnation=LIFE,
        known=3,
        log_hash=PATH,
        pending=None,
        plan=AHEAD,
        acceptance=Acceptance.COUPLED,
    ),
    "draft": draft(
        (5, 0, 31995),
        (SMALL_ROWS[0].weight_of(5), SMALL_ROWS[1].weight_of(0), SMALL_ROWS[2].weight_of(31995)),
        rows_hash(SMALL_ROWS),
    ),
    "draft_greedy": draft((5, 6), (), ids_hash((5, 6))),
    "draft_path": hints((5, 6), start=40, path=(1, 2, 3), last=False),
    "draft_path_goes_on": hints((7,), start=42, path=(1, 2, 3, 5, 6), last=True),
    "draft_nothing_more": hints((), start=43, path=(1, 2, 3, 5, 6, 7), last=True),
    "sparse_logits_plain": sparse_logits(SMALL_ROWS),
    "sparse_logits_one": SparseLogits(incarnation=LIFE, draft_epoch=3, start=41, rows=SMALL_ROWS[:1]),
    "sparse_logits_large": sparse_logits(LARGE_ROWS),
    "sparse_logits_dense": sparse_logits(DENSE_ROWS),
    "sparse_logits_request": SparseLogitsRequest(incarnation=LIFE, draft_epoch=2, positions=(40, 42)),
    "commit": Commit(
        incarnation=LIFE,
        position=40,
        log_hash=log_hash([1, 2, 3, 5, 0, 77]),
        ids=(5, 0, 77),
        origins=(Origin.ACCEPTED, Origin.ACCEPTED, Origin.CORRECTED),
        tested_epoch=2,
        accepted=2,
        seen=3,
        plan=PLAN,
        times=StepTimes(hold_s=0.05, step_s=0.0445, wait_s=0.000001),
        finish=Finish.STOP,
    ),
    "commit_missing": Commit(
        incarnation=LIFE,
        position=40,
        log_hash=log_hash([1, 2, 3, 9]),
        ids=(9,),
        origins=(Origin.ALONE,),
        tested_epoch=2,
        accepted=0,
        seen=0,
        plan=AHEAD,
        times=StepTimes(hold_s=0.0, step_s=0.0445, wait_s=0.0),
        missing=True,
    ),
    "ping": Ping(incarnation=LIFE, known=39, stamp=2**63 + 1),
    "pong": Pong(incarnation=LIFE, stamp=2**63 + 1),
    "cancel": Cancel(incarnation=LIFE, known=39),
    "close": Close(incarnation=LIFE, known=43),
    "probe": Probe(stamp=2**63 + 2, padding=5, reply_padding=1400),
    "echo": Echo(stamp=2**63 + 2, clock_s=1790000000.125, padding=3),
    "refused_impostor": Refused(
        reason=Reason.IDENTITY, detail="the key of phone-2 can't speak for phone-1", device_try=0
    ),
    "step_report": StepReport(
        device="phone-1",
        request=9,
        step=4,
        plan=PLAN,
        position=40,
        drafted=3,
        seen=3,
        accepted=2,
        computed=4,
        step_s=0.0445,
        wait_s=0.0,
        hold_s=0.05,
        draft_bytes=79,
        rows_bytes=120,
        draft_at_s=12.5,
        rows_at_s=None,
        alone=False,
        temperature=1.0,
        device_step_s=0.0031,
        asked_at_s=12.4,
        asked_bytes=90,
        ended_at_s=12.55,
        echo_s=None,
        echo_bytes=0,
        pinned_k=320,
        pinned_gamma=None,
        acceptance=REJECTION,
        tokens=3,
        asked_drafted=3,
    ),
    "step_report_coupled": StepReport(
        device="phone-1",
        request=10,
        step=5,
        plan=AHEAD,
        position=43,
        drafted=2,
        seen=4,
        accepted=4,
        computed=3,
        step_s=0.0445,
        wait_s=0.0,
        hold_s=0.0445,
        draft_bytes=152,
        rows_bytes=52,
        draft_at_s=12.6,
        rows_at_s=None,
        alone=False,
        temperature=1.0,
        device_step_s=0.0031,
        asked_at_s=12.5,
        asked_bytes=90,
        ended_at_s=12.65,
        echo_s=None,
        echo_bytes=0,
        pinned_k=None,
        pinned_gamma=16,
        acceptance=COUPLED,
        tokens=3,
        asked_drafted=1,
        pinned_min_draft=0,
    ),
    "rows_report": RowsReport(
        device="phone-1",
        request=9,
        step=4,
        temperature=1.0,
        k=8,
        ladder=(1, 4, 8),
        alphas=((0.5, 0.625, 0.6875), (0.25, 0.5, 0.5)),
        low=(0.6875, 0.5),
        high=(0.75, 0.5),
        gap=(0.25, 0.125),
        filled=(0.03125, 0.0),
        rows_bytes=120,
        draft_at_s=12.5,
        rows_at_s=12.53,
        tables="2021222324252627",
        coupled=(0.625, 0.46875),
    ),
    "plan_order": PlanOrder(device="phone-1", request=9, k=320, gamma=4, min_draft=4, blockwise=True),
    "plan_order_coupled": PlanOrder(
        device="phone-1",
        request=ANY_REQUEST,
        k=32,
        gamma=16,
        min_draft=2,
        early_stop=True,
        uplink_bps=2_500_000,
        patience_s=0.0625,
        acceptance=COUPLED,
        preferred=True,
    ),
    "plan_order_any": PlanOrder(device=ANY_DEVICE, request=ANY_REQUEST, k=32, gamma=2, min_draft=2),
    "register": Register(role="device", name="phone-1", vocab_size=49152),
    "link_order": LinkOrder(uplink="rate 5mbit delay 20ms 3ms", downlink=None),
    "link_order_device": LinkOrder(uplink=None, downlink="rate 1mbit", device="phone-1"),
    "link_state_devices": LinkState(
        uplink="rate 5mbit", downlink="rate 1mbit", refused=None, devices=("phone-1", "phone-2/ä")
    ),
    "link_state": LinkState(
        uplink="rate 5mbit delay 20ms 3ms", downlink="rate 20mbit delay 2ms", refused="rate: 5 what? – ≠"
    ),
    "event": Event(node="bs", at_s=1.5, fields={"event": "step", "ids": [5, 0], "ok": True, "ä": None}),
}


def described(value: Any) -> Any:
    """A value as JSON: bytes in hexadecimal, enumerations by name, arrays as lists, classes as objects."""
    if is_dataclass(value):
        return {field.name: described(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, IntEnum):
        return value.name
    if isinstance(value, tuple | list):
        return [described(item) for item in value]
    return value.tolist() if hasattr(value, "tolist") else value


def sections(block: bytes, tables: TableSets) -> dict[str, int]:
    """The bit at which each section of a block begins, counted from the block's first bit."""
    found = block_sections(block, tables=tables)
    return {name: start for name, start, _ in found} | {"end": found[-1].end}
