"""The Python interface.

    async with draftwire.connect() as device:
        async for token in device.generate("Why is the sky blue?", max_new_tokens=64):
            print(token.text, end="", flush=True)

`connect_all` gives all devices of a topology that has several in one process.
"""

import asyncio
import secrets
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from draftwire.codecs.limits import MAX_TOKENS
from draftwire.codecs.messages import Finish, Origin, Sampling
from draftwire.nodes.console.answer_telling import MOST_PROMPT, AnswerTelling
from draftwire.nodes.console.assemble import build_devices
from draftwire.nodes.console.given import real, whole, whole_ones
from draftwire.nodes.console.keys import node_keys, transport_with
from draftwire.nodes.console.launch import Launched, launched, on_this_host
from draftwire.nodes.console.reports import reporter_of
from draftwire.nodes.console.starting import device_logger, run_beside, whichever_fails_first
from draftwire.nodes.device.account import Account
from draftwire.nodes.device.checks import InvalidRequestError, acceptance_of, check_hints, check_text
from draftwire.nodes.device.entries import Entry, new_id
from draftwire.nodes.device.journal import Journal
from draftwire.nodes.device.node import DeviceNode
from draftwire.nodes.models.pacing import Compute
from draftwire.nodes.models.tokenizer import TextStream, Tokenizer
from draftwire.runtime.config import SamplingSettings, Topology, load_topology
from draftwire.runtime.link import LinkSpec
from draftwire.runtime.reporting import Reporter
from draftwire.runtime.security import Role
from draftwire.runtime.session.request import Request, Taken

SEED_BITS = 63
"""As many as a topology file can write."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """One token of an answer."""

    text: str
    "what it adds to the text; empty while a character is incomplete, and for special tokens"
    id: int
    position: int
    "in the log: the prompt's tokens come before"
    origin: Origin
    "ACCEPTED, CORRECTED, BONUS, or ALONE (by the target itself)"


class Generation:
    """An answer under way: iterate it for its tokens, once. `account` and `finish` are complete then."""

    def __init__(
        self,
        node: DeviceNode,
        request: Request,
        tokenizer: Tokenizer,
        *,
        downlink: LinkSpec | None = None,
        journal: Journal | None = None,
        kept: Entry | None = None,
        prompt: str = "",
        telling: AnswerTelling | None = None,
    ) -> None:
        """`kept`: a request of the journal that goes on; without it, one with this prompt begins.

        `telling`: who tells an observer of it.
        """
        self.request = request
        self.account = Account(vocab_size=tokenizer.vocab_size, downlink=downlink)
        self.journal = journal
        self.id = new_id() if kept is None else kept.id
        "its name in the journal, if there is one, and for an observer"
        self.resumed_tokens = 0 if kept is None else len(kept.output)
        "how many the journal had when it went on; these are not iterated again"
        self._stream = TextStream(tokenizer)
        self.text = self._stream.push(() if kept is None else kept.output)
        "of all tokens so far"
        self._node, self._prompt, self._telling = node, prompt, telling
        self._kept, self._iterated = kept is not None, False

    @property
    def finish(self) -> Finish:
        """Why it ended; RUNNING before that."""
        return self.account.finish

    def keep(self) -> None:
        """Write the request into its journal, where there is one; iterating does, if this has not.

        Raises InvalidRequestError where it can't begin, JournalError where it can't be written.
        """
        if self.journal is not None and not self._kept:
            self._node.enter(self.request, self.journal, id=self.id, text=self._prompt)
            self._kept = True

    def __aiter__(self) -> AsyncGenerator[Token, None]:
        """The tokens, each once, as they become final.

        Leaving early cancels the request at the BS; one of a journal stays open. Raises RequestRefusedError
        where it cannot go on, ChildFailedError if a node started here has ended, InvalidRequestError at a
        second time.
        """
        if self._iterated:
            raise InvalidRequestError(
                "this answer has been iterated already",
                remedy="use what it holds (`text`, `account`), ask anew, or go on with `resume` if a journal "
                "has it",
            )
        self._iterated = True
        return self._tokens()

    async def _tokens(self) -> AsyncGenerator[Token, None]:
        telling, origin = self._telling, Origin.ALONE
        if telling is not None:
            telling.asked(self)
        try:
            async with aclosing(self._answer()) as answer:
                async for taken in answer:
                    text, origin = self._stream.push([taken.token]), taken.origin
                    self.text += text
                    if telling is not None:
                        telling.token(text, origin)
                    yield Token(text=text, id=taken.token, position=taken.position, origin=origin)
            held_back = self._stream.finish()
            self.text += held_back
        except BaseException as error:
            if telling is not None:
                telling.ended(self, error)
            raise
        if telling is not None:
            telling.token(held_back, origin)
            telling.ended(self, None)

    def _answer(self) -> AsyncGenerator[Taken, None]:
        if self.journal is None:
            return self._node.answer(self.request, account=self.account)
        self.keep()
        entry = self.journal.entry(self.id)
        return self._node.resume(entry, journal=self.journal, account=self.account)


class ConnectedDevice:
    """A device on its link."""

    def __init__(
        self,
        node: DeviceNode,
        tokenizer: Tokenizer,
        compute: Compute,
        defaults: SamplingSettings,
        *,
        downlink: LinkSpec | None = None,
        max_waste: float | None = None,
        reporter: Reporter | None = None,
    ) -> None:
        """`reporter`: tells an observer of each answer; None: there is none."""
        self.name = node.name
        "as the base station knows it"
        self.tokenizer = tokenizer
        self.compute = compute
        self._node, self._defaults, self._downlink = node, defaults, downlink
        self._max_waste, self._reporter = max_waste, reporter

    @property
    def context_length(self) -> int:
        """Most tokens of a prompt and its answer: what the draft model can have and a message can carry.

        The target may have fewer.
        """
        return min(self._node.context_length, MAX_TOKENS)

    def busy(self) -> str:
        """Why a request waits for room at the base station, in its words; empty: none does."""
        return self._node.busy

    @asynccontextmanager
    async def dependent_on(self, nodes: Launched) -> AsyncIterator[None]:
        """While the block runs, answers raise ChildFailedError as soon as a node they need has ended."""

        async def watch() -> None:
            self._node.give_up(await nodes.lost())

        watching = asyncio.create_task(watch(), name="watch nodes")
        try:
            yield
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)

    def generate(
        self,
        prompt: str | Sequence[int],
        *,
        chat: bool = True,
        max_new_tokens: int | None = None,
        temperature: float | None = None,
        top_k: int | None = None,
        top_p: float | None = None,
        seed: int | None = None,
        stop: Sequence[str] = (),
        k: int | None = None,
        gamma: int | None = None,
        acceptance: str | None = None,
        min_draft: int | None = None,
        max_waste: float | None = None,
        journal: Journal | None = None,
        shown: str | None = None,
    ) -> Generation:
        """Answer a prompt: a text (with the model's chat template unless `chat` is off) or token ids.

        What is left out is the topology's [sampling]; without a seed there, each request draws its own.
        `k` and `gamma` fix the entries of a row and the drafted tokens a step (0: the target alone); left
        out, the controller chooses, unless the BS fixes them. With both fixed, the same seed and prompt give
        the same text; with acceptance "coupled" they do whatever is fixed or not. Token for token that holds
        of a target in float32.

        `acceptance`: "rejection", "coupled" (only ids travel) or "auto". Where only ids travel, `min_draft`
        fixes how many drafted tokens a free target waits for (0: none; gamma or more: all), and `max_waste`
        bounds the drafted tokens thrown away for each token of the output; left out, it is [device]'s.

        `shown`: what an observer is told was asked, where `prompt` is not what a person wrote.

        With a `journal` the request can be gone on with after the end of this process, see `resume`. Raises
        ValueError for values that can't be. Whole numbers may be numpy's.
        """
        if isinstance(prompt, str):
            check_text(prompt, key="prompt")
        ids = self.tokenizer.encode_prompt(prompt, chat=chat) if isinstance(prompt, str) else list(prompt)
        defaults = self._defaults
        if seed is None:
            seed = secrets.randbits(SEED_BITS) if defaults.seed is None else defaults.seed
        if max_new_tokens is None:
            max_new_tokens = defaults.max_new_tokens
        temperature = real("temperature", defaults.temperature if temperature is None else temperature)
        rule = acceptance_of(defaults.acceptance if acceptance is None else acceptance, key="acceptance")
        min_draft = None if min_draft is None else whole("min_draft", min_draft)
        max_waste = None if max_waste is None else real("max_waste", max_waste)
        check_hints(rule, temperature, only={"min_draft": min_draft, "max_waste": max_waste})
        if max_waste is None:
            max_waste = self._max_waste
        request = Request(
            prompt=whole_ones("prompt", ids),
            sampling=Sampling(
                temperature=temperature,
                top_k=whole("top_k", defaults.top_k if top_k is None else top_k),
                top_p=real("top_p", defaults.top_p if top_p is None else top_p),
            ),
            seed=whole("seed", seed),
            max_new_tokens=whole("max_new_tokens", max_new_tokens),
            stop=tuple(stop),
            k=None if k is None else whole("k", k),
            gamma=None if gamma is None else whole("gamma", gamma),
            min_draft=min_draft,
            acceptance=rule,
            max_waste=max_waste,
        )
        return Generation(
            self._node,
            request,
            self.tokenizer,
            downlink=self._downlink,
            journal=journal,
            prompt=prompt if isinstance(prompt, str) else "",
            telling=self._telling(shown or prompt),
        )

    def resume(self, journal: Journal, id: str) -> Generation:
        """Go on with an open request of a journal: its text begins with the tokens that the journal has.

        Raises ConfigurationError for a request that is not open, or that another device, draft model or
        vocabulary began.
        """
        entry = journal.entry(id)
        self._node.check_entry(entry)
        return Generation(
            self._node,
            entry.request,
            self.tokenizer,
            downlink=self._downlink,
            journal=journal,
            kept=entry,
            telling=self._telling(entry.text or entry.request.prompt),
        )

    def _telling(self, prompt: str | Sequence[int]) -> AnswerTelling | None:
        """Of one answer; what was asked in ids is told as their text."""
        if self._reporter is None:
            return None
        if not isinstance(prompt, str):
            ids, size = [int(one) for one in prompt[:MOST_PROMPT]], self.tokenizer.vocab_size
            prompt = self.tokenizer.decode([one for one in ids if 0 <= one < size])
        return AnswerTelling(self._reporter, device=self.name, compute=self.compute, prompt=prompt)


@asynccontextmanager
async def connect(
    config: Topology | Path | str | None = None,
    *,
    launch: bool | None = None,
    record: Path | None = None,
    capture: Path | None = None,
    progress: Callable[[str], None] = lambda text: None,
) -> AsyncIterator[ConnectedDevice]:
    """A device of the system that `config` describes, for as long as the block runs.

    `launch`: whether to start target, controller and channel on this host, at addresses of their own; by
    default, yes without a config and no with one: then they run already, here or elsewhere. `record`: a file
    that nodes started here append their events to (runtime/telemetry.py). `capture`: one that a channel
    started here appends its frames to; `progress` is told where that has ended early. Raises a
    DraftwireError, or UnsupportedModelError, where a node can't be had.
    """
    topology = _topology(config)
    topology = replace(topology, device=replace(topology.device, count=1))
    launch = config is None if launch is None else launch
    async with connect_all(
        topology, launch=launch, record=record, capture=capture, progress=progress
    ) as devices:
        yield devices[0]


@asynccontextmanager
async def connect_all(
    config: Topology | Path | str,
    *,
    launch: bool = False,
    record: Path | None = None,
    capture: Path | None = None,
    progress: Callable[[str], None] = lambda text: None,
) -> AsyncIterator[tuple[ConnectedDevice, ...]]:
    """All devices that [device] describes, in the order of their names; they share one draft model.

    Each has its connection and asks by itself; the rest is as with `connect`.
    """
    topology = _topology(config)
    async with AsyncExitStack() as stack:
        nodes = None
        if launch:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="draftwire-"))
            topology = on_this_host(replace(topology, observer=None), Path(folder))
            nodes = await stack.enter_async_context(
                launched(topology, record=record, capture=capture, progress=progress)
            )
        keys = node_keys(topology, Role.DEVICE)
        transport = transport_with(keys, topology)
        stack.push_async_callback(transport.close)
        reporter = reporter_of(topology, Role.DEVICE, keys, logger=device_logger())
        if reporter is not None:
            await stack.enter_async_context(reporter.telling(transport))
        loading = asyncio.ensure_future(
            asyncio.to_thread(
                build_devices,
                topology,
                transport=transport,
                logger=device_logger(),
                progress=progress,
            )
        )
        if nodes is not None:
            await whichever_fails_first(loading, asyncio.ensure_future(nodes.ready()))
        built, tokenizer = await loading
        devices = list[ConnectedDevice]()
        for node, compute in built:
            stack.callback(compute.close)
            await run_beside(node, stack)
            device = ConnectedDevice(
                node,
                tokenizer,
                compute,
                topology.sampling,
                downlink=_downlink(topology, node.name),
                max_waste=topology.device.max_waste,
                reporter=reporter,
            )
            if nodes is not None:
                await stack.enter_async_context(device.dependent_on(nodes))
            devices.append(device)
        yield tuple(devices)


def _topology(config: Topology | Path | str | None) -> Topology:
    if config is None:
        return Topology.default()
    return config if isinstance(config, Topology) else load_topology(config)


def _downlink(topology: Topology, name: str) -> LinkSpec | None:
    """What a device's answers come by at first; None: there is no channel."""
    channel = topology.channel
    return None if channel is None else channel.for_device(name).downlink_schedule.steps[0].link


__all__ = ["ConnectedDevice", "Generation", "Token", "connect", "connect_all"]
