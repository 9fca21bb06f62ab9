"""What is promised, and how it is held against a run: with each token shown, each second, and at rest.

This looks into nodes from outside, at what they keep to themselves where they say nothing of it.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from draftwire.codecs.limits import MAX_GAMMA
from draftwire.codecs.messages import Acceptance, Finish, Incarnation
from draftwire.nodes.console.chaos.disk import MortalJournal
from draftwire.nodes.console.chaos.models import rows_behind, rows_of
from draftwire.nodes.console.chaos.outcome import Broken
from draftwire.nodes.console.chaos.standing import Standing
from draftwire.nodes.console.chaos.users import Told, User
from draftwire.nodes.console.chaos.wire import Wire
from draftwire.nodes.console.chaos.world import AHEAD, World
from draftwire.nodes.device.running import Running
from draftwire.nodes.models.prefix import common_prefix
from draftwire.nodes.speculation.noise import PhiloxNoise
from draftwire.nodes.speculation.sampling import sample_target, target_distribution
from draftwire.nodes.target.served import Served
from draftwire.runtime.link import LinkStatistics
from draftwire.runtime.session.request import Request
from draftwire.runtime.session.states import Target
from draftwire.runtime.transport.base import PEER_QUEUE_MESSAGES

PROMISES: Final = {
    "text": "where drafts are hints the text is that of the target alone, whatever happens",
    "stands": "what a test of drafts came to, and what a request fixes, stands, whoever goes on with it",
    "once": "each position is shown once, in order, and what was shown never changes",
    "kept": "what a journal has brought to disk is never lost, and is what was shown",
    "leans": "a message that must be remembered leaves when all it leans on is on disk",
    "prefix": "the device's log is the beginning of the base station's, and equal to it at rest",
    "kv": "what a context has computed is what its node believes, and none is used or held too long",
    "bounded": "queues, sessions, memory, run-ahead, connections and tasks stay within their bounds",
    "bytes": "of messages and bytes, what came in was delivered or dropped, or is queued",
    "ends": "every request ends within a time of the last fault, and none is ended that could go on",
    "epochs": "an epoch never repeats with other drafts, and tries only grow",
    "trace": "the same schedule gives the same run, message by message",
    "no_bug": "nothing raises, or is logged as an error, that is not meant for people",
}
"""Name -> the promise, as a sentence."""

MOST_QUEUED: Final = PEER_QUEUE_MESSAGES
"""Messages of one peer that wait to be received."""

MOST_TO_SEND: Final = 8
"""That a session wants to send at one moment."""

MOST_TASKS: Final = {"target": 6, "controller": 1, "channel": 6}
"""Node -> tasks, at the channel beside one a connection."""

TASKS_OF_DEVICE: Final = 2
"""Its own, and its user's."""

MOST_CONNECTIONS: Final = 4
"""Of one device at the channel: see nodes/channel/places.py."""


class Checks:
    """Of one run."""

    def __init__(
        self, world: World, users: dict[str, User], wire: Wire, *, now_s: Callable[[], float]
    ) -> None:
        """`now_s`: from the first request on."""
        self.broken: list[Broken] = []
        self._world, self._users, self._wire, self._now_s = world, users, wire, now_s
        self._said = set[tuple[str, str]]()
        self._incarnations: dict[int, Incarnation | None] = {}
        "seed of a request -> the last life of the log that its device took tokens of"
        self._texts: dict[int, tuple[int, ...]] = {}
        self._standing = Standing(world.scenario)
        self._answered: dict[int, int] = {}
        "seed of a request that has been answered -> boot of the base station that knows it"
        self._lost: dict[int, set[int]] = {}
        "seed of a request -> places of tokens that a power cut took and that have not been shown again"

    def wrong(self, promise: str, what: str, *, who: str = "") -> None:
        """A promise is broken; of each, and of each `who`, the first time counts."""
        assert promise in PROMISES, promise
        if (promise, who) not in self._said:
            self._said.add((promise, who))
            self.broken.append(Broken(promise=promise, at_s=round(self._now_s(), 6), what=what))

    # -- with each token -----------------------------------------------------------------------------------

    def shown(self, told: Told, position: int, token: int, journal: MortalJournal | None) -> bool:
        """Whether it is new; called before it counts as shown."""
        place, whose = position - len(told.request.prompt), f"{told.device} {told.id}"
        if not 0 <= place <= len(told.ids):
            self.wrong("once", f"{whose}: position {place} was shown behind {len(told.ids)}", who=whose)
            return False
        again = place < len(told.ids)
        if again and told.ids[place] != token:
            what = f"{whose}: position {place} was {told.ids[place]}, and is shown as {token}"
            self.wrong("once", what, who=whose)
        lost = self._lost.get(told.request.seed, set())
        if again and place not in lost:
            self.wrong("once", f"{whose}: position {place} was shown twice, and no disk lost it", who=whose)
        lost.discard(place)
        if told.request.hints or told.request.gamma == 0 or told.acceptance is Acceptance.COUPLED:
            self._hold_against_text(told, place, token, whose)
        if journal is not None:
            self._hold_against_journal(told, place, token, journal, whose)
        self.look(only=told.device)
        return not again

    def _hold_against_text(self, told: Told, place: int, token: int, whose: str) -> None:
        text = self._texts.get(told.request.seed)
        if text is None:
            text = self._texts[told.request.seed] = text_of(told.request)
        undisturbed = text[place] if place < len(text) else "none"
        if undisturbed != token:
            self.wrong("text", f"{whose}: position {place} is {token}, undisturbed {undisturbed}", who=whose)

    def _hold_against_journal(
        self, told: Told, place: int, token: int, journal: MortalJournal, whose: str
    ) -> None:
        kept = journal._requests._output.get(told.id, [])
        shown = [*told.ids[:place], token, *told.ids[place + 1 :]]
        if kept[: place + 1] != shown[: place + 1]:
            what = f"{whose}: its journal has {kept}, and {shown} was shown"
            self.wrong("kept", what, who=whose)

    def cut(self, device: str, kept: Mapping[str, int]) -> None:
        """A power cut has left so many tokens of each request: those behind them may come once more."""
        for told in self._users[device].told:
            self._lost[told.request.seed] = set(range(kept.get(told.id, 0), len(told.ids)))

    def over(self, told: Told) -> None:
        """All of it has been shown that will be."""
        whose = f"{told.device} {told.id}"
        if told.ended and len(told.ids) != told.request.max_new_tokens:
            what = f"{whose}: it ended with {len(told.ids)} of {told.request.max_new_tokens} tokens"
            self.wrong("ends", what, who=whose)
        if told.ended and self._world.target is not None:
            self._answered[told.request.seed] = self._world.target._boot

    def tested(self, outcomes: object) -> None:
        """What a pass of the base station came to."""
        target = self._world.target
        if target is None:
            return
        if wrong := self._standing.tested(target._requests, outcomes):
            self.wrong("stands", wrong, who=wrong.partition(":")[0])
        scenario, places = self._world.scenario, target.settings.max_sessions
        for served in target._requests if scenario.devices * scenario.requests <= places else ():
            if served.computing and self._answered.get(served.session.request.seed) == target._boot:
                whose = f"{served.name} {served.number}"
                self.wrong("kv", f"{whose}: it has been answered, and is computed again", who=whose)

    # -- at any time ---------------------------------------------------------------------------------------

    def look(self, *, only: str | None = None) -> None:
        """All that holds at every moment; `only`: of this device, and of what it shares with others."""
        for running, name in self._running():
            if only is None or name == only:
                self._look_at_device(name, running)
        target = self._world.target
        if target is not None:
            for served in target._requests:
                if only is None or served.name == only:
                    self._look_at_served(served)
            self._look_at_memory()
        if only is None:
            self._look_at_queues()
            self._look_at_channel()
            self._look_at_ledger()
            self._look_at_tasks()

    def _running(self) -> Iterator[tuple[Running, str]]:
        for name, node in self._world.device.items():
            for running in node._running.values():
                yield running, name

    def _look_at_device(self, name: str, running: Running) -> None:
        session = running.session
        self._incarnations[session.request.seed] = session.incarnation
        if len(running.inbox) > MOST_QUEUED:
            self.wrong("bounded", f"{name}: {len(running.inbox)} messages wait for a request", who=name)
        if len(session._out) > MOST_TO_SEND:
            self.wrong("bounded", f"{name}: {len(session._out)} messages want to leave", who=name)
        if forgotten := self._standing.forgotten(name, running.number, session.log.tokens):
            self.wrong("stands", f"{name}: {forgotten}", who=name)
        target = self._world.target
        served = None if target is None else target._requests.get(name, running.number)
        if served is not None and served.session.incarnation == session.incarnation:
            held, known = served.session.log.tokens, session.log.tokens
            if held[: len(known)] != known:
                self.wrong("prefix", f"{name}: its log is {known}, the base station's {held}", who=name)

    def _look_at_served(self, served: Served) -> None:
        session, whose = served.session, f"{served.name} {served.number}"
        if session.rows_held > MAX_GAMMA or len(session._out) > MOST_TO_SEND:
            what = f"{whose}: {session.rows_held} rows held, {len(session._out)} messages want to leave"
            self.wrong("bounded", what, who=whose)
        plan, asked = session.plan, session.request
        if asked.k not in (None, plan.k) or (asked.gamma is not None and plan.gamma not in (0, asked.gamma)):
            what = f"{whose}: it is served by {plan}, and asked for K {asked.k}, gamma {asked.gamma}"
            self.wrong("stands", what, who=whose)
        gamma = self._world.scenario.gamma
        ahead, most = len(session.log) - session.known, AHEAD + (MAX_GAMMA if gamma is None else gamma)
        if ahead > most or not 0 <= session.known <= len(session.log):
            what = f"{whose}: the log has {len(session.log)} tokens, {session.known} of them known"
            self.wrong("bounded", what, who=whose)
        context = served.context
        if context is not None and not served.computing:
            computed = list(getattr(context, "tokens", ()))
            alike = common_prefix(computed, session.log.tokens)
            if served.cached_tokens != alike or getattr(context, "closed", False):
                believed = served.cached_tokens
                what = f"{whose}: its context has {alike} tokens of the log, {believed} are believed"
                self.wrong("kv", what, who=whose)
            budget = self._world.scenario.kv_tokens
            if budget is not None and len(computed) > served.claim.size:
                what = f"{whose}: its context has {len(computed)} tokens, {served.claim.size} were reserved"
                self.wrong("kv", what, who=whose)

    def _look_at_memory(self) -> None:
        target, model = self._world.target, self._world.models["target"]
        assert target is not None
        residency, requests = target._contexts.residency, list(target._requests)
        if len(requests) > target.settings.max_sessions:
            self.wrong("bounded", f"{len(requests)} sessions, {target.settings.max_sessions} may be")
        held = sum(claim.size for claim in residency._held.values())
        budget = residency.budget
        if residency.reserved != held or (budget is not None and held > budget):
            what = f"{residency.reserved} tokens are reserved, {held} held, the budget is {budget}"
            self.wrong("bounded", what)
        contexts = sum(one.context is not None for one in requests)
        computing = sum(one.computing for one in requests)
        if not contexts <= len(model.contexts) <= contexts + max(computing, target._work._passes):
            what = f"target: {len(model.contexts)} contexts are open, its sessions have {contexts}"
            self.wrong("kv", what)

    def _look_at_queues(self) -> None:
        for endpoint in self._wire.endpoints:
            waiting = endpoint.statistics().waiting
            if waiting > MOST_QUEUED * (len(self._users) + 1):
                self.wrong("bounded", f"{endpoint.address}: {waiting} messages wait")

    def _look_at_channel(self) -> None:
        channel = self._world.channel
        if channel is None or channel._downstream is None:
            return
        counts = channel.statistics()
        each = {f"{name} {direction.value}": one for (name, direction), one in counts.links.items()}
        each |= {f"past {direction.value}": one for direction, one in counts.past.items()}
        for name, link in each.items():
            if not is_even(link):
                self.wrong("bytes", f"channel, {name}: {link}", who=name)
        if counts.connections > MOST_CONNECTIONS * len(self._users):
            self.wrong("bounded", f"channel: {counts.connections} connections of {len(self._users)} devices")

    def _look_at_ledger(self) -> None:
        ledger = self._wire.ledger
        if not ledger.is_even():
            self.wrong("bytes", f"messages: {dict(ledger.messages)}, bytes: {dict(ledger.size_bytes)}")
        counts = [one.statistics() for one in self._wire.endpoints]
        unsent = [data for one in self._wire.endpoints for data in getattr(one, "_unsent", ())]
        there = sum(one.received for one in counts) + len(unsent)
        there_bytes = sum(one.received_bytes for one in counts) + sum(map(len, unsent))
        handed, handed_bytes = ledger.messages["handed"], ledger.size_bytes["handed"]
        if (there, there_bytes) != (handed, handed_bytes):
            what = f"{handed} messages, {handed_bytes} bytes were handed over; {there}, {there_bytes} arrived"
            self.wrong("bytes", what)

    def _look_at_tasks(self) -> None:
        tasks = Counter(str(getattr(one, "whose", "")) for one in asyncio.all_tasks() if not one.cancelling())
        channel = self._world.channel
        for name, count in tasks.items():
            most = MOST_TASKS.get(name, TASKS_OF_DEVICE)
            if name == "channel" and channel is not None and channel._downstream is not None:
                most += channel.statistics().connections
            if name and count > most:
                self.wrong("bounded", f"{name}: {count} tasks, {most} may be", who=name)

    def rests(self) -> bool:
        """Whether nothing is on its way, and no session at the base station has anything to do or to say."""
        held = self._wire.ledger.messages["held"]
        if held or any(one.statistics().waiting for one in self._wire.endpoints):
            return False
        channel, target = self._world.channel, self._world.target
        if channel is not None and any(one.queued for one in channel.statistics().links.values()):
            return False
        if any(True for _ in self._running()):
            return False
        if target is None:
            return True
        clock_s = target._clock.now_s()
        return all(one.closed or one.session.parked(clock_s) for one in target._requests)

    # -- at rest -------------------------------------------------------------------------------------------

    def rest(self) -> None:
        """What holds when every request is over, and nothing is on its way."""
        self.look()
        for name, model in self._world.models.items():
            if name != "target" and model.contexts:
                self.wrong("kv", f"{name}: {len(model.contexts)} contexts are open at rest", who=name)
        by_seed = {told.request.seed: told for user in self._users.values() for told in user.told}
        for served in () if self._world.target is None else self._world.target._requests:
            session = served.session
            told = by_seed[session.request.seed]
            last = session.incarnation == self._incarnations.get(session.request.seed)
            if not (last and told.ended):
                continue
            text = (*told.request.prompt, *told.ids)
            if session.finish is not Finish.CANCELLED and tuple(session.log.tokens) != text:
                what = f"{told.device} {told.id}: {text} was shown, the base station has {session.log.tokens}"
                self.wrong("prefix", what, who=told.device)
            if session.state not in (Target.CLOSED, Target.FINISHED) or served.context is not None:
                self.wrong("kv", f"{told.device} {told.id}: it is over, and {session.state} holds memory")
        self._rest_of_queues()

    def _rest_of_queues(self) -> None:
        waiting = Counter[str]()
        for endpoint in self._wire.endpoints:
            waiting[endpoint.address] += endpoint.statistics().waiting
        if any(waiting.values()):
            self.wrong("bounded", f"at rest messages wait: {dict(waiting)}")
        channel = self._world.channel
        if channel is not None:
            queued = {key: one.queued for key, one in channel.statistics().links.items() if one.queued}
            if queued:
                self.wrong("bytes", f"at rest messages are on the link: {queued}")


def is_even(link: LinkStatistics) -> bool:
    """Whether nothing is missing of what a link was offered."""
    messages = link.offered == link.delivered + link.queued + sum(link.dropped.values())
    return messages and link.offered_bytes == link.delivered_bytes + link.queued_bytes + link.dropped_bytes


def text_of(request: Request) -> tuple[int, ...]:
    """What the target writes by itself, token by token: no session, no draft, no faults."""
    tokens, table, noise = list(request.prompt), rows_of(0.0), PhiloxNoise()
    for _ in range(request.max_new_tokens):
        p = target_distribution(rows_behind(table, tokens, 1)[0], request.sampling)
        greedy = request.sampling.greedy
        tokens.append(int(p.argmax()) if greedy else sample_target(p, request.seed, len(tokens), noise))
    return tuple(tokens[len(request.prompt) :])


__all__ = ["PROMISES", "Checks", "is_even", "text_of"]
