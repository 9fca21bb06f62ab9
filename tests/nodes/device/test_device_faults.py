"""The device node and what goes wrong: refusals, an absent BS, garbage from one, a draft model that fails."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import structlog
from numpy.typing import NDArray
from structlog.testing import LogCapture
from tests.harness.cell import BS, VOCAB_SIZE, cell, hello, request, run, text

from draftwire.codecs.control import ANY_DEVICE, ANY_REQUEST, PlanOrder
from draftwire.codecs.errors import Refusal
from draftwire.codecs.messages import (
    Cancel,
    Commit,
    Finish,
    Hello,
    Incarnation,
    Opened,
    Origin,
    Plan,
    Reason,
    StepTimes,
    Welcome,
)
from draftwire.nodes.device.checks import InvalidRequestError
from draftwire.nodes.device.node import DraftFailedError, RequestRefusedError
from draftwire.nodes.models.base import Context
from draftwire.nodes.models.synthetic import SyntheticModel
from draftwire.runtime.session.log import TokenLog
from draftwire.runtime.session.request import Request, Timing
from draftwire.runtime.session.states import Target

OF_NUMPY: Any = np.int64(2)


def test_a_controller_that_talks_nonsense_changes_nothing() -> None:
    """Orders that can't be met, garbage and other messages are counted; the last plan stays in force."""

    async def main() -> None:
        async with cell(k=None) as bs:
            nonsense = await bs.impostor("target", address="ipc://controller")
            nonsense.say(b"\0garbage")
            nonsense.say(hello())
            unknown = PlanOrder(device="nobody", request=77, k=1, gamma=1, min_draft=1)
            nonsense.say(unknown)
            nonsense.say(PlanOrder(device=ANY_DEVICE, request=ANY_REQUEST, k=3, gamma=4, min_draft=4))
            await text(await bs.device(), request())
            assert {one.plan.k for one in bs.reports} == {3}
            assert bs.target.refused == {Refusal.TRUNCATED: 1, Refusal.KIND: 1}

    run(main())


@pytest.mark.parametrize(
    ("changes", "reason", "values"),
    [
        ({"protocol_version": 1}, "PROTOCOL_VERSION", ("1", "6")),
        ({"noise_version": 3}, "NOISE_VERSION", ("3", "2")),
        ({"vocab_size": 128}, "VOCABULARY", ("128", "64")),
        ({"fingerprint": bytes(range(8))}, "VOCABULARY", ("0001020304050607", hello().fingerprint.hex())),
    ],
)
def test_a_hello_that_disagrees(changes: dict[str, Any], reason: str, values: tuple[str, str]) -> None:
    """The request ends with the reason and both values; an honest device beside it is served."""

    async def main() -> None:
        async with cell() as bs:
            odd, honest = await bs.device("odd", **changes), await bs.device("honest")
            with pytest.raises(RequestRefusedError) as caught:
                await text(odd, request())
            assert caught.value.reason == reason
            assert all(value in str(caught.value) for value in values)
            assert len(await text(honest, request())) == 40

    run(main())


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        (request(()), ("prompt", "at least one")),
        (request((1, 64)), ("prompt", "64", "0 to 63")),
        (request((1, -1)), ("prompt", "-1", "0 to 63")),
        (request(max_new_tokens=0), ("max_new_tokens", "0", "from 1")),
        (request(max_new_tokens=10**7), ("max_new_tokens", "10000000", "to 262144")),
        (request((1,) * 1_000_000, max_new_tokens=100_000), ("prompt", "1000000", "262144", "shorten")),
        (request(seed=-1), ("seed", "-1", "from 0")),
        (request((1, True)), ("prompt", "True is no whole number")),
        (request((1, OF_NUMPY)), ("prompt", "np.int64(2) is no whole number")),
        (request(seed=OF_NUMPY), ("seed", "np.int64(2)")),
        (request(k=True), ("k", "True")),
        (request(gamma=False), ("gamma", "False")),
        (request(max_new_tokens=OF_NUMPY), ("max_new_tokens", "np.int64(2)")),
        (request(temperature=np.float64(0.5)), ("temperature", "np.float64(0.5) is no number")),
        (replace(request(), stop=("caf\udce9",)), ("stop", "character 3", "no text", "UTF-8")),
        (replace(request(), stop=(OF_NUMPY,)), ("stop", "np.int64(2) is no text")),
        (replace(request(), stop=("x",) * 99), ("stop", "99 texts")),
    ],
)
def test_requests_that_cannot_begin(wanted: Request, words: tuple[str, ...]) -> None:
    """A request that can be known to be wrong raises before a byte is sent, naming field, value, remedy."""

    async def main() -> None:
        async with cell() as bs:
            with pytest.raises(InvalidRequestError) as caught:
                await text(await bs.device(), wanted)
            assert all(word in str(caught.value) for word in words), str(caught.value)
            assert not bs.sessions()

    run(main())


def test_an_absent_bs_is_an_error_within_the_timing() -> None:
    """No BS: the answer ends after the time set for it, naming the address and what to do."""

    async def main() -> None:
        async with cell(serve=False) as bs:
            device = await bs.device(timing=Timing(reach_s=4.0))
            began_s = bs.clock.now_s()
            with pytest.raises(RequestRefusedError, match=f"{BS}.*start the target") as caught:
                await text(device, request())
            assert caught.value.reason == "ABSENT"
            assert 4.0 <= bs.clock.now_s() - began_s <= 4.0 + Timing().resend_most_s

    run(main())


def test_a_draft_model_that_fails_ends_one_request() -> None:
    """What the model raises is a typed error of that request, in one line; the next one is answered.

    The traceback goes into the log as an error, which is what `draftwire device` shows.
    """

    class Failing:
        vocab_size, context_length, support = VOCAB_SIZE, 500, None

        def open(self) -> Context:
            inner = SyntheticModel(vocab_size=VOCAB_SIZE, seed=1, noise=0.5).open()

            class _Failing:
                def logits(self, tokens: Sequence[int], rows: int) -> NDArray[np.float32]:
                    if tokens[0] == 63 and len(tokens) > 6:
                        raise RuntimeError("out of memory:\n  tried to get 5 GiB")
                    return inner.logits(tokens, rows)

                def close(self) -> None:
                    pass

            return _Failing()

    async def main() -> None:
        async with cell() as bs:
            device, captured = await bs.device(model=Failing()), LogCapture()
            device._log = structlog.wrap_logger(None, processors=[captured])
            unlucky = asyncio.create_task(text(device, request((63, 1))))
            assert len(await text(device, request())) == 40
            with pytest.raises(DraftFailedError, match="RuntimeError: out of memory: tried to get 5 GiB"):
                await unlucky
            (said,) = [one for one in captured.entries if one["event"] == "device.draft_failed"]
            assert (said["log_level"], said["exc_info"]) == ("error", True)
            await asyncio.sleep(1)
            assert Target.CLOSED in {session.state for session in bs.sessions()}
            assert not {Target.WAITING, Target.TESTING} & {session.state for session in bs.sessions()}

    run(main())


def test_garbage_from_the_bs() -> None:
    """Whatever a BS sends is counted by reason, and an answer from it later is still taken."""

    async def main() -> None:
        async with cell(serve=False) as bs:
            device, other = await bs.device("dev"), await bs.impostor("dev")
            wanted = request(max_new_tokens=3)
            asking = asyncio.create_task(text(device, wanted))
            assert isinstance(await other.hear(), Hello)
            opened = await other.endpoint.receive()
            number = int.from_bytes(opened.data[2:6], "big")
            life = Incarnation(boot=1, counter=1)
            other.say(b"", number)
            other.say(b"\xd3garbage which is long enough", number)
            other.say(hello(), number)
            other.say(Cancel(incarnation=life, known=3), number)
            other.say(PlanOrder(device="dev", request=1, k=1, gamma=1, min_draft=1), number)
            other.say(Welcome(boot=1), number)
            log = TokenLog(wanted.prompt)
            plan = Plan(number=1, k=4, gamma=0, min_draft=0)
            commit = _commit(life, log, 3, (1, 2, 3), plan)
            other.say(commit, number)  # before Opened: ignored
            other.say(
                Opened(
                    device_try=1,
                    incarnation=life,
                    known=3,
                    log_hash=log.hash_at(3),
                    pending=None,
                    plan=plan,
                ),
                number,
            )
            other.say(commit, number + 1)  # for a request that nobody made
            other.say(_commit(life, log, 3, (1, 64), plan), number)  # beyond the vocabulary
            other.say(_commit(life, log, 3, (9, 9), plan, wrong=True), number)
            other.say(commit, number)
            assert await asking == (1, 2, 3)
            assert device.refused == {
                Refusal.TRUNCATED: 1,
                Refusal.CHECKSUM: 1,
                Refusal.KIND: 3,
                Refusal.VOCABULARY: 1,
                Reason.UNKNOWN_REQUEST: 1,
            }

    run(main())


def _commit(
    life: Incarnation, log: TokenLog, position: int, ids: tuple[int, ...], plan: Plan, *, wrong: bool = False
) -> Commit:
    return Commit(
        incarnation=life,
        position=position,
        log_hash=bytes(8) if wrong else log.hash_with(position, ids),
        ids=ids,
        origins=(Origin.ALONE,) * len(ids),
        tested_epoch=0,
        accepted=0,
        seen=0,
        plan=plan,
        times=StepTimes(hold_s=0, step_s=0, wait_s=0),
        finish=Finish.RUNNING if wrong else Finish.LENGTH,
    )
