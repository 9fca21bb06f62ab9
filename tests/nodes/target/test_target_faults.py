"""The target node and what goes wrong: models that fail, messages that are wrong, devices that mean harm."""

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.harness.cell import (
    VOCAB_SIZE,
    cell,
    greedy,
    hello,
    open_for,
    request,
    run,
    text,
)

from draftwire.codecs.control import Event, PlanOrder, Register
from draftwire.codecs.errors import Refusal
from draftwire.codecs.frame import encode_frame
from draftwire.codecs.messages import (
    Close,
    Draft,
    Incarnation,
    Message,
    Opened,
    Ping,
    Plan,
    Pong,
    Reason,
    Refused,
    SparseLogits,
    Welcome,
)
from draftwire.codecs.quantize import quantize
from draftwire.nodes.device.node import RequestRefusedError
from draftwire.nodes.models.base import Context
from draftwire.nodes.models.synthetic import SyntheticModel

LIFE = Incarnation(boot=7, counter=1)


@dataclass
class Faulty:
    """The synthetic target, until a log holds token 63 twice at its start: then `fault` has the word."""

    fault: Callable[[NDArray[np.float32]], NDArray[np.float32]]
    vocab_size: int = VOCAB_SIZE
    context_length: int = 500
    support: None = None

    def open(self) -> Context:
        """A context that may fail."""
        inner = SyntheticModel(vocab_size=VOCAB_SIZE, seed=1).open()
        fault = self.fault

        class _Faulty:
            def logits(self, tokens: Sequence[int], rows: int) -> NDArray[np.float32]:
                logits = inner.logits(tokens, rows)
                return fault(logits) if list(tokens[:2]) == [63, 63] and len(tokens) > 4 else logits

            def close(self) -> None:
                pass

        return _Faulty()


def _raise(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    raise RuntimeError("out of memory:\n" + "x" * 5000)


FAULTS: dict[str, Callable[[NDArray[np.float32]], NDArray[np.float32]]] = {
    "raises": _raise,
    "nan": lambda logits: np.where(np.arange(logits.shape[1]) == 3, np.float32("nan"), logits),
    "inf": lambda logits: np.where(np.arange(logits.shape[1]) == 3, np.float32("inf"), logits),
    "no mass": lambda logits: np.full_like(logits, -np.inf),
    "shape": lambda logits: logits[:0],
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("gamma", [0, 4])
def test_a_target_that_fails_ends_one_request(fault: str, gamma: int) -> None:
    """A model that raises, or whose logits are no numbers, ends that request with a reason; others go on."""

    async def main() -> None:
        async with cell(gamma=gamma, model=Faulty(FAULTS[fault])) as bs:
            device, other = await bs.device("unlucky"), await bs.device("other")
            honest = asyncio.create_task(text(other, request(temperature=0.0)))
            with pytest.raises(RequestRefusedError, match="the target model failed") as caught:
                await text(device, request((63, 63, 1, 2)))
            assert caught.value.reason == "TARGET_FAILED"
            assert "\n" not in str(caught.value)
            assert len(str(caught.value)) < 1200
            assert bs.target.refused == {Reason.TARGET_FAILED: 1}
            assert await honest == greedy(bs.pair.target, (1, 2, 3), 40)
            assert len(await text(device, request())) == 40

    run(main())


def test_minus_infinity_is_a_number() -> None:
    """A target may rule ids out: -inf in a row is no failure."""

    def rule_out(logits: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.where(np.arange(logits.shape[1]) % 2 == 0, np.float32("-inf"), logits)

    async def main() -> None:
        async with cell(model=Faulty(rule_out)) as bs:
            tokens = await text(await bs.device(), request((63, 63, 1, 2)))
            assert all(token % 2 for token in tokens)

    run(main())


@pytest.mark.parametrize(
    ("opened", "reason", "words"),
    [
        (open_for(request((1,) * 300, max_new_tokens=201)), Reason.PROMPT_TOO_LONG, ("300", "201", "500")),
        (open_for(request((1,)), tokens=(1,) * 501), Reason.PROMPT_TOO_LONG, ("500", "shorten")),
        (open_for(request((1, 64))), Reason.VOCABULARY, ("64",)),
    ],
)
@pytest.mark.parametrize("again", [False, True])
def test_requests_beyond_the_target(
    opened: object, reason: Reason, words: tuple[str, ...], again: bool
) -> None:
    """Too long for the context, or an id beyond V: refused with the values, in a first Open or a later."""

    async def main() -> None:
        async with cell(model=Faulty(FAULTS["nan"])) as bs:
            peer, honest = await bs.greeted("odd"), await bs.device()
            if again:
                peer.say(open_for(request()))
                await peer.hear_of(Opened)
            peer.say(opened)  # type: ignore[arg-type]
            refused = await peer.hear_of(Refused)
            assert refused.reason is reason
            assert all(word in refused.detail for word in words)
            assert bs.target.refused == {reason: 1}
            assert len(await text(honest, request())) == 40

    run(main())


def _draft(**changes: object) -> Draft:
    fields: dict[str, object] = {
        "incarnation": LIFE,
        "draft_epoch": 1,
        "known": 3,
        "start": 3,
        "path_hash": bytes(8),
        "plan": Plan(number=1, k=8, gamma=4, min_draft=4),
        "ids": (1, 2),
        "weights": (5, 5),
        "rows_hash": bytes(8),
    }
    return Draft(**(fields | changes))  # type: ignore[arg-type]


ROW = quantize(np.arange(8), np.zeros(8), vocab_size=VOCAB_SIZE)


WRONG: dict[str, tuple[bytes | Message | PlanOrder | Register | Event, Refusal | Reason]] = {
    "empty": (b"", Refusal.TRUNCATED),
    "another protocol": (b"GET / HTTP/1.1\r\n\r\n", Refusal.VERSION),
    "damaged": (encode_frame(hello(), session=1, sequence=1)[:-1] + b"\x01", Refusal.CHECKSUM),
    "from a base station": (Welcome(boot=1), Refusal.KIND),
    "refusing": (Refused(reason=Reason.BUSY, detail=""), Refusal.KIND),
    "a pong": (Pong(incarnation=LIFE, stamp=1), Refusal.KIND),
    "an order": (PlanOrder(device="dev", request=9, k=1, gamma=0, min_draft=0), Refusal.KIND),
    "a registration": (Register(role="device", name="x", vocab_size=64), Refusal.KIND),
    "an event": (Event(node="x", at_s=0.0, fields={}), Refusal.KIND),
    "a draft for nothing": (_draft(), Reason.UNKNOWN_REQUEST),
    "rows for nothing": (
        SparseLogits(incarnation=LIFE, draft_epoch=1, start=3, rows=(ROW,)),
        Reason.UNKNOWN_REQUEST,
    ),
    "a ping for nothing": (Ping(incarnation=LIFE, known=1, stamp=1), Reason.UNKNOWN_REQUEST),
}


@pytest.mark.parametrize("what", WRONG)
def test_refusals_are_counted_by_reason(what: str) -> None:
    """Each wrong message is counted under its reason, and an honest device beside it sees nothing of it."""
    message, reason = WRONG[what]

    async def main() -> None:
        async with cell() as bs:
            device, peer = await bs.device(), await bs.greeted("odd")
            asking = asyncio.create_task(text(device, request(temperature=0.0)))
            for _ in range(3):
                peer.say(message)
                await asyncio.sleep(0.2)
            assert bs.target.refused == {reason: 3}
            assert await asking == greedy(bs.pair.target, (1, 2, 3), 40)

    run(main())


@pytest.mark.parametrize("seed", range(3))
def test_a_hostile_device_harms_nobody(seed: int) -> None:
    """Random valid and broken messages on an open request never stop the BS or change another's text."""
    rng = random.Random(seed)

    def any_draft() -> Draft:
        count = rng.randrange(33)
        return _draft(
            incarnation=Incarnation(boot=7, counter=rng.randrange(1, 4)),
            draft_epoch=rng.choice([0, 1, 2, 3, 2**32 - 1]),
            known=rng.choice([0, 3, 4, 2**32 - 1]),
            start=rng.choice([0, 3, 4, 2**32 - 1]),
            ids=tuple(rng.randrange(70) for _ in range(count)),
            weights=tuple(rng.randrange(1, 2**24) for _ in range(count)) if rng.random() < 0.8 else (),
        )

    def any_message() -> Message | bytes:
        wanted = request((1, 2, 3)[: rng.randrange(1, 4)], max_new_tokens=rng.choice([1, 40]))
        choices: list[Callable[[], Message | bytes]] = [
            any_draft,
            any_draft,
            lambda: SparseLogits(
                incarnation=LIFE,
                draft_epoch=rng.choice([1, 2, 2**32 - 1]),
                start=rng.choice([0, 3, 2**32 - 1]),
                rows=(ROW,) * rng.randrange(1, 33),
            ),
            lambda: open_for(wanted, device_try=rng.choice([0, 1, 2, 3]), draft_epoch=rng.choice([0, 2])),
            lambda: open_for(wanted, device_try=5, tokens=(*wanted.prompt, *range(rng.randrange(60)))),
            lambda: Ping(incarnation=LIFE, known=rng.choice([0, 5, 2**32 - 1]), stamp=2**64 - 1),
            lambda: rng.randbytes(rng.randrange(60)),
            lambda: Close(incarnation=Incarnation(boot=7, counter=rng.randrange(9)), known=0),
        ]
        return rng.choice(choices)()

    async def main() -> None:
        async with cell(patience_s=0.1) as bs:
            device, peer = await bs.device(), await bs.greeted("x" * 128)
            asking = asyncio.create_task(text(device, request(temperature=0.0, max_new_tokens=60)))
            for _ in range(400):
                peer.say(any_message(), number=rng.randrange(9, 12))
                await asyncio.sleep(rng.choice([0, 0, 0.01, 0.1]))
            assert await asking == greedy(bs.pair.target, (1, 2, 3), 60), f"seed {seed}"
            assert bs.serving is not None and not bs.serving.done()

    run(main())
