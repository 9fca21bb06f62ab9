"""Control-plane messages: their checks, and each way in which a body is refused."""

from dataclasses import fields, replace
from typing import Any

import numpy as np
import orjson
import pytest
from tests.codecs.golden_cases import CASES

from draftwire.codecs.control import (
    CONTROL_KINDS,
    Event,
    LinkOrder,
    LinkState,
    PlanOrder,
    Register,
    RowsReport,
    decode_control,
    encode_control,
)
from draftwire.codecs.control_fields import FIELDS
from draftwire.codecs.errors import LocalError, Refusal, WireError
from draftwire.codecs.limits import MAX_CONTROL_BYTES, MAX_LINK_LENGTH, MAX_LISTED_DEVICES
from draftwire.runtime.transport.base import MAX_PEER_NAME_BYTES

REPORT: Any = CASES["step_report"]
ORDER: Any = CASES["plan_order"]
ROWS: Any = CASES["rows_report"]


@pytest.mark.parametrize("message", CONTROL_KINDS, ids=lambda message: message.__name__)
def test_every_field_is_checked(message: type[Any]) -> None:
    """No field of a control message goes without a check of its value, and no check without a field."""
    assert list(FIELDS[message.__name__]) == [field.name for field in fields(message)]


def test_a_list_of_another_length_is_named() -> None:
    """Of a RowsReport's lists the error names the one that is wrong; none is all right for the last."""
    for name in ("alphas", "high", "gap", "filled", "coupled"):
        with pytest.raises(LocalError) as caught:
            replace(ROWS, **{name: getattr(ROWS, name)[:1]})
        assert caught.value.field == name
    assert replace(ROWS, coupled=()).coupled == ()


def deep(levels: int) -> Any:
    return {"deeper": deep(levels - 1)} if levels else 1


@pytest.mark.parametrize(
    "message, fields",
    [
        (REPORT, {"device": ""}),
        (REPORT, {"device": "x" * 129}),
        (REPORT, {"request": -1}),
        (REPORT, {"step": 1.0}),
        (REPORT, {"accepted": True}),
        (REPORT, {"plan": None}),
        (REPORT, {"step_s": float("nan")}),
        (REPORT, {"hold_s": -0.1}),
        (REPORT, {"rows_at_s": float("inf")}),
        (REPORT, {"alone": 1}),
        (REPORT, {"asked_at_s": "soon"}),
        (REPORT, {"asked_bytes": -1}),
        (REPORT, {"ended_at_s": None}),
        (REPORT, {"pinned_k": 0}),
        (REPORT, {"pinned_gamma": 33}),
        (REPORT, {"pinned_min_draft": 33}),
        (REPORT, {"acceptance": "auto"}),
        (REPORT, {"acceptance": 1}),
        (REPORT, {"tokens": -1}),
        (REPORT, {"asked_drafted": None}),
        (ROWS, {"low": (0.5,)}),
        (ROWS, {"high": (0.5, -0.1)}),
        (ROWS, {"filled": 0.5}),
        (ROWS, {"gap": (0.5, True)}),
        (ROWS, {"ladder": (4, 8)}),
        (ROWS, {"ladder": (0, 4, 8)}),
        (ROWS, {"ladder": tuple(range(1, 34)), "alphas": ((0.0,) * 33,) * 2}),
        (ROWS, {"alphas": ((0.5, 0.625, 0.6875),)}),
        (ROWS, {"alphas": ((0.5, 0.625, 0.6875), (0.5, 0.5))}),
        (ROWS, {"rows_at_s": None}),
        (ROWS, {"coupled": (0.5,)}),
        (ROWS, {"coupled": (0.5, 0.5, 0.5)}),
        (ROWS, {"coupled": (0.5, -0.5)}),
        (ROWS, {"coupled": None}),
        (ORDER, {"k": 0}),
        (ORDER, {"gamma": 33}),
        (ORDER, {"min_draft": 5}),
        (ORDER, {"early_stop": True}),
        (ORDER, {"blockwise": 1}),
        (ORDER, {"uplink_bps": 2**32}),
        (ORDER, {"uplink_bps": 1e6}),
        (ORDER, {"patience_s": -1.0}),
        (ORDER, {"patience_s": float("inf")}),
        (ORDER, {"acceptance": "AUTO"}),
        (ORDER, {"preferred": True}),
        (ORDER, {"preferred": None}),
        (CASES["register"], {"role": 7}),
        (CASES["register"], {"vocab_size": 1}),
        (CASES["link_order"], {"uplink": 5}),
        (CASES["link_order"], {"downlink": "x" * 4097}),
        (CASES["link_state"], {"downlink": None}),
        (CASES["link_order"], {"device": ""}),
        (CASES["link_order"], {"device": 7}),
        (CASES["link_state"], {"refused": 1}),
        (CASES["link_state"], {"devices": "phone-1"}),
        (CASES["link_state"], {"devices": ("",)}),
        (CASES["link_state"], {"devices": ("x",) * (MAX_LISTED_DEVICES + 1)}),
        (CASES["event"], {"fields": []}),
        (CASES["event"], {"fields": {1: 2}}),
        (CASES["event"], {"fields": {"x": float("nan")}}),
        (CASES["event"], {"fields": {"x": 2**64}}),
        (CASES["event"], {"fields": {"x": ...}}),
        (CASES["event"], {"fields": deep(9)}),
        (CASES["event"], {"at_s": 10**400}),
    ],
    ids=lambda value: str(value)[:40] if isinstance(value, dict) else type(value).__name__,
)
def test_messages_check_themselves(message: Any, fields: dict[str, Any]) -> None:
    """A control message with a field of the wrong type or out of range can't be built."""
    with pytest.raises(LocalError):
        replace(message, **fields)


def test_numbers_are_made_plain() -> None:
    """Whole numbers for seconds and numpy's numbers are taken, and travel as what the field is."""
    report = replace(REPORT, step_s=1, position=np.int64(4), wait_s=np.float64(0.5))
    assert encode_control(report) == encode_control(replace(REPORT, step_s=1.0, position=4, wait_s=0.5))
    assert type(report.position) is int
    assert type(report.step_s) is type(report.wait_s) is float


def test_too_much_telemetry_is_refused() -> None:
    """A body over 64 KiB is a local error where it is made, and refused where it arrives."""
    with pytest.raises(LocalError):
        encode_control(Event(node="bs", at_s=0.0, fields={"x": "y" * MAX_CONTROL_BYTES}))
    with pytest.raises(WireError) as caught:
        decode_control(CONTROL_KINDS[Event], b" " * (MAX_CONTROL_BYTES + 1))
    assert caught.value.reason is Refusal.TOO_LARGE


def test_the_longest_state_of_a_channel_fits() -> None:
    """A channel can always answer: the longest names and words, of the widest letters, are within 64 KiB."""
    words, name = "\U0001f4f1" * MAX_LINK_LENGTH, "\U0001f4f1" * (MAX_PEER_NAME_BYTES // 4)
    devices = (name,) * MAX_LISTED_DEVICES
    state = LinkState(uplink=words, downlink=words, refused=words, devices=devices)
    assert len(encode_control(state)) <= MAX_CONTROL_BYTES


def test_text_that_is_no_text() -> None:
    """A lone surrogate is a local error."""
    with pytest.raises(LocalError):
        encode_control(Register(role="device", name="\ud800", vocab_size=64))
    with pytest.raises(LocalError):
        encode_control(LinkOrder(uplink="rate \ud800", downlink=None))


def changed(message: Any, **keys: Any) -> bytes:
    return orjson.dumps({**orjson.loads(encode_control(message)), **keys})


def plan_keys(**keys: Any) -> dict[str, Any]:
    return {**orjson.loads(encode_control(REPORT))["plan"], **keys}


@pytest.mark.parametrize(
    "kind, body, reason",
    [
        (PlanOrder, b"", Refusal.JSON),
        (PlanOrder, b"[]", Refusal.JSON),
        (PlanOrder, b"\xff", Refusal.JSON),
        (PlanOrder, b"{}", Refusal.KEYS),
        (PlanOrder, changed(ORDER, extra=1), Refusal.KEYS),
        (PlanOrder, changed(ORDER, k="8"), Refusal.TYPE),
        (PlanOrder, changed(ORDER, k=8.0), Refusal.TYPE),
        (PlanOrder, changed(ORDER, k=True), Refusal.TYPE),
        (PlanOrder, changed(ORDER, k=None), Refusal.TYPE),
        (PlanOrder, changed(ORDER, k=0), Refusal.RANGE),
        (PlanOrder, changed(ORDER, min_draft=5), Refusal.RANGE),
        (PlanOrder, changed(ORDER, device=""), Refusal.RANGE),
        (PlanOrder, changed(ORDER, acceptance="auto"), Refusal.RANGE),
        (PlanOrder, changed(ORDER, acceptance=None), Refusal.TYPE),
        (PlanOrder, changed(ORDER, early_stop=True), Refusal.RANGE),
        (PlanOrder, changed(ORDER, preferred=True), Refusal.RANGE),
        (PlanOrder, changed(ORDER, blockwise=0), Refusal.TYPE),
        (PlanOrder, changed(ORDER, patience_s=1), Refusal.NOT_CANONICAL),
        (PlanOrder, changed(ORDER, device=None), Refusal.TYPE),
        (PlanOrder, changed(ORDER, device="x" * 129, request=0), Refusal.RANGE),
        (Register, b'{"role":"target","name":"","vocab_size":64}', Refusal.RANGE),
        (PlanOrder, encode_control(ORDER).replace(b":", b": "), Refusal.NOT_CANONICAL),
        (PlanOrder, encode_control(ORDER).replace(b'{', b'{"device":"x",'), Refusal.NOT_CANONICAL),
        (type(REPORT), changed(REPORT, plan=7), Refusal.JSON),
        (type(REPORT), changed(REPORT, plan={}), Refusal.KEYS),
        (type(REPORT), changed(REPORT, plan=plan_keys(number=1.0)), Refusal.TYPE),
        (type(REPORT), changed(REPORT, plan=plan_keys(min_draft=4)), Refusal.RANGE),
        (type(REPORT), changed(REPORT, plan=plan_keys(blockwise=1)), Refusal.TYPE),
        (type(REPORT), changed(REPORT, plan=plan_keys(number=True)), Refusal.TYPE),
        (type(REPORT), changed(REPORT, plan=plan_keys(blockwise=True, early_stop=True)), Refusal.RANGE),
        (type(REPORT), changed(REPORT, plan={"number": 5, "k": 8, "gamma": 3, "min_draft": 3}), Refusal.KEYS),
        (type(REPORT), changed(REPORT, step_s=1), Refusal.NOT_CANONICAL),
        (type(REPORT), changed(REPORT, alone=0), Refusal.TYPE),
        (type(REPORT), changed(REPORT, asked_at_s=1), Refusal.NOT_CANONICAL),
        (type(REPORT), changed(REPORT, pinned_k=1.0), Refusal.TYPE),
        (RowsReport, changed(ROWS, low=0.5), Refusal.TYPE),
        (RowsReport, changed(ROWS, low=["a", "b"]), Refusal.TYPE),
        (RowsReport, changed(ROWS, low=[0.5]), Refusal.RANGE),
        (RowsReport, changed(ROWS, low=[1, 0.5]), Refusal.NOT_CANONICAL),
        (RowsReport, changed(ROWS, ladder=[]), Refusal.RANGE),
        (RowsReport, changed(ROWS, coupled=[0.5]), Refusal.RANGE),
        (RowsReport, changed(ROWS, coupled=[0.5] * 3), Refusal.RANGE),
        (RowsReport, changed(ROWS, coupled=None), Refusal.TYPE),
        (RowsReport, changed(ROWS, low=[0.0] * 33), Refusal.RANGE),
        (LinkOrder, b'{"uplink":null}', Refusal.KEYS),
        (LinkOrder, b'{"uplink":null,"downlink":7}', Refusal.TYPE),
        (LinkOrder, b"[]", Refusal.JSON),
        (LinkOrder, b'{"uplink":null,"downlink":null,"device":null}', Refusal.NOT_CANONICAL),
        (LinkOrder, b'{"uplink":null,"downlink":null,"device":7}', Refusal.TYPE),
        (LinkOrder, b'{"device":"x","uplink":null,"downlink":null}', Refusal.NOT_CANONICAL),
        (LinkOrder, b'{"uplink":null,"downlink":null,"name":"x"}', Refusal.KEYS),
        (LinkState, b'{"uplink":"","downlink":"","refused":null,"devices":[]}', Refusal.NOT_CANONICAL),
        (LinkState, b'{"uplink":"","downlink":"","refused":null,"devices":null}', Refusal.TYPE),
        (LinkState, b'{"uplink":"","downlink":"","devices":["x"]}', Refusal.KEYS),
        (Event, b'{"node":"x","at_s":1.5,"fields":' + b'{"x":' * 99 + b"1" + b"}" * 100, Refusal.RANGE),
        (Event, b'{"node":"x","at_s":1.5,"fields":' + b'{"x":' * 2000 + b"1" + b"}" * 2001, Refusal.JSON),
        (Event, b'{"node":"x","at_s":1e999,"fields":{}}', Refusal.JSON),
        (Event, b'{"node":"x","at_s":1.5,"fields":{"x":18446744073709551616}}', Refusal.NOT_CANONICAL),
    ],
)  # fmt: skip
def test_refusals(kind: type, body: bytes, reason: Refusal) -> None:
    """Each way to be wrong has its reason."""
    with pytest.raises(WireError) as caught:
        decode_control(CONTROL_KINDS[kind], body)
    assert caught.value.reason is reason
