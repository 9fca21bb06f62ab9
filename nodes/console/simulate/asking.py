"""Who asks at a device: one request after the other, from its first on until the time is over."""

import hashlib
import random
import struct
from collections.abc import Callable
from contextlib import aclosing
from itertools import count
from typing import Final

from draftwire.codecs.messages import Sampling
from draftwire.nodes.console.simulate.outcomes import RequestOutcome, Series, Tally
from draftwire.nodes.console.simulate.seeds import stream_of
from draftwire.nodes.device.account import Account
from draftwire.nodes.device.errors import RequestRefusedError
from draftwire.nodes.device.node import DeviceNode
from draftwire.runtime.clock import Clock
from draftwire.runtime.config import SamplingSettings
from draftwire.runtime.session.request import Request

PROMPT_TOKENS: Final = 32
"""A short question's."""

PAUSE_S: Final = 1.0
"""Behind a refusal, and up to as long again, drawn: so devices that were refused together come back one by
one."""

_TAKEN: Final = struct.Struct("<Id")
"""A token, and the virtual time at which the device took it."""

_OVER: Final = b"\xff" * 4
"""Behind a request's tokens: no token has this id."""

Ask = Callable[[str, int], Request]
"""(device, number of its request from 0 on) -> the request."""


def random_requests(
    sampling: SamplingSettings, *, seed: int, vocab_size: int, max_waste: float | None = None
) -> Ask:
    """Prompts of random ids, and a seed for each request; `sampling` says the rest, but for its own seed."""
    how = Sampling(temperature=sampling.temperature, top_k=sampling.top_k, top_p=sampling.top_p)

    def ask(device: str, number: int) -> Request:
        stream = stream_of(seed, "request", device, number)
        return Request(
            prompt=tuple(stream.randrange(vocab_size) for _ in range(PROMPT_TOKENS)),
            sampling=how,
            seed=stream.getrandbits(64),
            max_new_tokens=sampling.max_new_tokens,
            acceptance=sampling.acceptance.on_the_wire,
            max_waste=max_waste,
        )

    return ask


class User:
    """Of one device; `run` asks, the rest is what has come of it so far."""

    def __init__(
        self,
        node: DeviceNode,
        *,
        clock: Clock,
        ask: Ask,
        begins_s: float,
        pauses: random.Random,
        series: Series,
        keep_texts: bool,
    ) -> None:
        self.device = node.name
        self.begins_s = begins_s
        self.tally = Tally()
        self.series = series
        self.requests: list[RequestOutcome] = []
        self.active_s = begins_s
        "when a message or a request of the device was last heard of"
        self.account: Account | None = None
        "of the request under way"
        self._node, self._clock, self._ask, self._pauses = node, clock, ask, pauses
        self._texts = hashlib.blake2b(digest_size=16)
        self._ids: list[int] | None = [] if keep_texts else None
        self._taken_s: list[float] = []
        self._number = 0

    @property
    def steps(self) -> int:
        """Of all requests, the one under way included."""
        return self.tally.steps + (0 if self.account is None else self.account.steps)

    @property
    def texts(self) -> bytes:
        """A hash over all tokens so far, in order, when each was taken, and where requests end."""
        return self._texts.digest()

    async def run(self) -> None:
        """Ask for ever. Cancelled, it gives up the request under way; see `cut`."""
        await self._clock.sleep_until(self.begins_s)
        for self._number in count():
            request = self._ask(self._node.name, self._number)
            self.account = Account(vocab_size=self._node.hello.vocab_size)
            self.active_s = self._clock.now_s()
            try:
                async with aclosing(self._node.answer(request, account=self.account)) as answer:
                    async for taken in answer:
                        self._texts.update(_TAKEN.pack(taken.token, self._clock.now_s()))
                        if self._ids is not None:
                            self._ids.append(taken.token)
                            self._taken_s.append(self._clock.now_s())
            except RequestRefusedError as error:
                self.tally.refused[error.reason.lower()] += 1
                self._over(ended=False)
                pause_s = PAUSE_S * (1 + self._pauses.random())
                await self._clock.sleep_until(self._clock.now_s() + pause_s)
            else:
                self.tally.answered += 1
                self._over(ended=True)

    def cut(self) -> None:
        """The time is over: what the request under way has brought so far counts."""
        if self.account is not None:
            self.tally.cut += 1
            self._over(ended=False)

    def _over(self, *, ended: bool) -> None:
        account = self.account
        assert account is not None, "a request is under way"
        self.account = None
        self.tally.add(account)
        self.active_s = self._clock.now_s()
        self._texts.update(_OVER)
        if self._ids is not None:
            self.requests.append(
                RequestOutcome(
                    number=self._number,
                    ids=tuple(self._ids),
                    taken_s=tuple(self._taken_s),
                    seconds=account.ended_s - account.began_s,
                    steps=account.steps,
                    bytes_up=account.bytes_up,
                    bytes_down=account.bytes_down,
                    ended=ended,
                )
            )
            self._ids.clear()
            self._taken_s.clear()


__all__ = ["PAUSE_S", "PROMPT_TOKENS", "Ask", "User", "random_requests"]
