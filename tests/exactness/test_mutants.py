"""The proof has teeth: each of these mistakes, planted in the real code, moves the law of the text.

Every mutant runs where tests/exactness/test_enumeration.py finds the correct code exact. `-s` prints how far
each one is off (total variation).
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.harness import pair as harness
from tests.harness.enumerate import EnumeratingNoise, explore
from tests.harness.links import behind_its_rows, behind_the_last_block, lossy
from tests.harness.pair import Direction, SessionPair, World, total_variation
from tests.harness.worlds import CAUGHT, Text, law_of_target, request, world

from draftwire.codecs.messages import Commit, Draft, Message, Open, Opened, Origin, Plan, SparseLogits
from draftwire.codecs.quantize import WEIGHT_SUM, quantize
from draftwire.codecs.rows import Row
from draftwire.nodes.device import drafter
from draftwire.nodes.speculation import sampling
from draftwire.nodes.speculation.noise import Key, Noise, Purpose
from draftwire.nodes.target.verifier import Verdict
from draftwire.runtime.session.device import DeviceSession
from draftwire.runtime.session.request import Block, DraftWork, Request, Timing
from draftwire.runtime.session.states import Device, Target
from draftwire.runtime.session.target import Step, TargetSession

WITHIN = world(3, seed=21)


class Impatient(TargetSession):
    """A BS that gives up blocks that bind, too. Exact as long as nothing else goes wrong; see below."""

    _now_s = 0.0

    def step(self, now_s: float) -> Step | None:
        self._now_s = now_s
        return super().step(now_s)

    def next_deadline_s(self) -> float | None:
        waits = self.state is Target.WAITING and self._may_run_ahead()
        return self._waits_since_s + self._planning.patience_s if waits else super().next_deadline_s()

    def _alone_now(self) -> bool:
        waited = self._now_s >= self._waits_since_s + self._planning.patience_s
        return super()._alone_now() or (waited and self._tested_epoch >= self._awaited_epoch)


def distance(
    scenario: Callable[[EnumeratingNoise], SessionPair], tokens: int, within: World = WITHIN
) -> float:
    """Total variation between the law of the text and the target's."""

    def run(noise: EnumeratingNoise) -> Text:
        pair = scenario(noise)
        pair.run(until_s=120)
        return pair.output

    return total_variation(explore(run), law_of_target(within, request(tokens)))


def plain(noise: EnumeratingNoise) -> SessionPair:
    """Two tokens, K = 2, gamma = 2, a perfect link."""
    return SessionPair(WITHIN, request(2), noise, plan=(2, 2))


def assert_caught(name: str, tv: float) -> None:
    """The mutant is seen, and how clearly."""
    print(f"{name}: TV {tv:.6f}")
    assert tv > CAUGHT


def test_plain_scenario_is_exact_without_a_mutant() -> None:
    """The scenario that most mutants run in is exact by itself."""
    assert distance(plain, 2) < 1e-12


def test_inverted_acceptance_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """u p < q instead of u q < p."""

    def accepted(
        self: object,
        p: sampling.Rows,
        ids: Sequence[int],
        weights: Sequence[int],
        keys: Sequence[Key],
        noise: Noise,
    ) -> int:
        for i, (x, weight, key) in enumerate(zip(ids, weights, keys, strict=True)):
            if not noise.accepts(key, weight / WEIGHT_SUM, max(1, round(float(p[i][x]) * WEIGHT_SUM))):
                return i
        return len(ids)

    monkeypatch.setattr(sampling.Rejection, "accepted", accepted)
    assert_caught("accept test inverted", distance(plain, 2))


def test_p_in_place_of_the_residual_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """A correction drawn from p itself."""
    monkeypatch.setattr(sampling, "residual", lambda p, row: p)
    assert_caught("residual replaced by p", distance(plain, 2))


def test_cutting_after_sampling_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawn from the full row; the row that is sent keeps the top K - 1 and the drawn id."""

    def draw_block(work: DraftWork, wanted: Request, context: Any, **others: Any) -> Block:
        tokens, rows = list(work.tokens), list[Row]()
        for _ in range(work.length):
            logits = context.logits(tokens, 1)[0].astype(np.float64)
            full = quantize(np.arange(len(logits)), logits, vocab_size=len(logits))
            key = Key(wanted.seed, work.draft_epoch, len(tokens), Purpose.DRAFT)
            drawn = sampling.draw(full, key, others["noise"])
            kept = sorted({int(np.argmax(logits)), drawn})
            rows.append(quantize(kept, logits[kept], vocab_size=len(logits)))
            tokens.append(drawn)
        ids = tuple(tokens[len(work.tokens) :])
        return Block(
            draft_epoch=work.draft_epoch, start=len(work.tokens), plan=work.plan, ids=ids, rows=tuple(rows)
        )

    monkeypatch.setattr(harness, "draw_block", draw_block)
    assert_caught("K cut after sampling", distance(plain, 2))


def test_p_after_a_lost_row_is_caught() -> None:
    """The row of a rejected draft is lost (p = 0.3), and the BS draws from p in its place."""

    class DrawsFromP(SessionPair):
        def _correct(self) -> None:
            super()._correct()
            target, verdict = self.target, self._verdict
            if target is None or verdict is None or target.state is not Target.ROW_WAIT or self.now_s < 1.0:
                return
            position = len(verdict.step.tokens) + verdict.accepted
            token = sampling.sample_target(verdict.p, self.request.seed, position, self.noise)
            target.settled(verdict.step, verdict.accepted, token, self.now_s)

    def scenario(noise: EnumeratingNoise) -> SessionPair:
        link = lossy(noise, of=SparseLogits, probability=0.3)
        return DrawsFromP(WITHIN, request(2), noise, plan=(2, 2), link=link)

    assert_caught("p drawn after a lost row", distance(scenario, 2))


def _until_zero(work: DraftWork, wanted: Request, context: Any, **others: Any) -> Block:
    """A block whose length hangs on what was drawn: it ends behind a token 0."""
    whole = drafter.draw_block(work, wanted, context, **others)
    end = whole.ids.index(0) + 1 if 0 in whole.ids else len(whole.ids)
    return Block(
        draft_epoch=whole.draft_epoch,
        start=whole.start,
        plan=whole.plan,
        ids=whole.ids[:end],
        rows=whole.rows[:end],
    )


def test_longest_block_wins_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two blocks are drawn, each may stop early, and the longer one counts, not the newer."""

    def longer(work: DraftWork, wanted: Request, context: Any, **others: Any) -> Block:
        newer = DraftWork(
            tokens=work.tokens, draft_epoch=work.draft_epoch + 1000, length=work.length, plan=work.plan
        )
        first = _until_zero(work, wanted, context, **others)
        second = _until_zero(newer, wanted, context, **others)
        best = max(first, second, key=lambda block: len(block.ids))
        return Block(
            draft_epoch=work.draft_epoch, start=best.start, plan=best.plan, ids=best.ids, rows=best.rows
        )

    monkeypatch.setattr(harness, "draw_block", longer)
    assert_caught("longest block wins", distance(plain, 2))


def test_adaptive_length_with_a_late_block_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """Length decided by drawn ids, and a link that takes longer for two ids than the BS waits."""
    monkeypatch.setattr(harness, "draw_block", _until_zero)

    def link(direction: Direction, message: Message, index: int) -> Sequence[float]:
        return (0.9 if isinstance(message, Draft) and len(message.ids) > 1 else 0.0,)

    def scenario(noise: EnumeratingNoise) -> SessionPair:
        timing = Timing(patience_s=0.5)
        return SessionPair(
            WITHIN, request(2), noise, plan=(2, 2), link=link, timing=timing, target_class=Impatient
        )

    assert_caught("adaptive length and a time limit", distance(scenario, 2))


def test_giving_up_a_repeated_draft_is_caught() -> None:
    """The first copy is lost, the second waits behind its own rows, and the BS's patience ends meanwhile."""
    within = world(3, seed=7)

    def scenario(target_class: type[TargetSession]) -> Callable[[EnumeratingNoise], SessionPair]:
        def make(noise: EnumeratingNoise) -> SessionPair:
            link = behind_its_rows()
            timing = Timing(patience_s=2.0)
            return SessionPair(
                within, request(3), noise, plan=(2, 2), link=link, timing=timing, target_class=target_class
            )

        return make

    assert distance(scenario(TargetSession), 3, within) < 1e-12
    assert_caught("a repeated Draft given up", distance(scenario(Impatient), 3, within))


class Forgetful(TargetSession):
    """A BS that does not wait for a block that an earlier life of it may have rejected."""

    def _awaited_by(self, opened: Open) -> int:
        return 0


def test_forgetting_a_rejection_is_caught() -> None:
    """The BS restarts, target-only now, while a correction waits for its row."""

    def scenario(target_class: type[TargetSession]) -> Callable[[EnumeratingNoise], SessionPair]:
        def make(noise: EnumeratingNoise) -> SessionPair:
            link = lossy(noise, of=SparseLogits, probability=1.0, first=1)
            pair = SessionPair(
                WITHIN, request(2), noise, plan=(2, 2), link=link, target_class=target_class
            )

            def restart() -> None:
                pair.restart_target()
                pair.plan = Plan(number=1, k=2, gamma=0, min_draft=0)

            pair.at(0.2, restart)
            return pair

        return make

    assert distance(scenario(TargetSession), 2) < 1e-12
    assert_caught("a rejection forgotten by a restart", distance(scenario(Forgetful), 2))


def test_drafts_keyed_by_position_alone_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """A discarded tail delays the next block, which is drawn with the tail's own noise."""

    def keyed(seed: int, draft_epoch: int, position: int, purpose: Purpose) -> Key:
        return Key(seed, 0, position, purpose)

    def scenario(noise: EnumeratingNoise) -> SessionPair:
        link = behind_the_last_block()
        timing = Timing(patience_s=0.5)
        return SessionPair(
            WITHIN, request(3), noise, plan=(3, 2), link=link, timing=timing, target_class=Impatient
        )

    assert distance(scenario, 3) < 1e-12
    monkeypatch.setattr(drafter, "Key", keyed)
    assert_caught("drafts keyed by position alone", distance(scenario, 3))


class Credulous(DeviceSession):
    """Takes any Commit, whatever life of the log it belongs to, and asks for no hash."""

    def receive(self, message: Message, now_s: float) -> None:
        if isinstance(message, Opened):
            message = Opened(
                device_try=message.device_try,
                incarnation=message.incarnation,
                known=len(self.log),
                log_hash=self.log.hash_at(len(self.log)),
                pending=None,
                plan=message.plan,
                acceptance=message.acceptance,
            )
        if isinstance(message, Commit) and self.state is not Device.FINISHED:
            news = max(0, message.position + len(message.ids) - len(self.log))
            self.log.append(message.ids[len(message.ids) - news :], [Origin.ALONE] * news)
            if self.state is Device.OPENING:
                return
            message = Commit(
                incarnation=self._incarnation or message.incarnation,
                position=len(self.log),
                log_hash=self.log.hash_at(len(self.log)),
                ids=(),
                origins=(),
                tested_epoch=message.tested_epoch,
                accepted=0,
                seen=0,
                plan=message.plan,
                times=message.times,
                finish=message.finish,
            )
        super().receive(message, now_s)


def test_an_old_incarnations_commit_is_caught() -> None:
    """The BS gives a late block up, decodes alone, dies behind its slow Commit; a new BS tests the block.

    A device that takes the old Commit after its re-Open, and the rest from the new BS, mixes two lives.
    """

    def scenario(device_class: type[DeviceSession]) -> Callable[[EnumeratingNoise], SessionPair]:
        def make(noise: EnumeratingNoise) -> SessionPair:
            commits = drafts = 0

            def link(direction: Direction, message: Message, index: int) -> Sequence[float]:
                nonlocal commits, drafts
                if isinstance(message, Commit):
                    commits += 1
                    return (2.2,) if commits == 1 else (max(0.0, 3.1 - pair.now_s),)
                if isinstance(message, Draft):
                    drafts += 1
                    return (3.0,) if drafts == 1 else (0.0,)
                return (0.0,)

            timing = Timing(patience_s=0.4, resend_s=0.6)
            pair = SessionPair(
                WITHIN,
                request(2),
                noise,
                plan=(2, 1),
                link=link,
                timing=timing,
                device_class=device_class,
                target_class=Impatient,
            )
            pair.at(0.5, pair.restart_target)
            return pair

        return make

    assert distance(scenario(DeviceSession), 2) < 1e-12
    assert_caught("old incarnation's Commit taken", distance(scenario(Credulous), 2))


def test_residual_on_the_drafts_noise_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """The correction re-uses the number that the rejected draft was drawn with."""

    def correct(verdict: Verdict, row: Row, wanted: Request, noise: Noise) -> int:
        position = len(verdict.step.tokens) + verdict.accepted
        key = Key(wanted.seed, verdict.step.draft_epoch, position, Purpose.DRAFT)
        drafted = verdict.step.ids[verdict.accepted]
        return sampling.Rejection().correction(verdict.p, drafted, row, key, noise)

    monkeypatch.setattr(harness, "correct", correct)
    assert_caught("residual on the draft's noise", distance(plain, 2))


def test_acceptance_on_the_drafts_noise_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """The acceptance test re-uses the number that the draft was drawn with."""

    def accepted(
        self: object,
        p: sampling.Rows,
        ids: Sequence[int],
        weights: Sequence[int],
        keys: Sequence[Key],
        noise: Noise,
    ) -> int:
        shared = [Key(key.seed, key.draft_epoch, key.position, Purpose.DRAFT) for key in keys]
        for i, (x, weight, key) in enumerate(zip(ids, weights, shared, strict=True)):
            if not noise.accepts(key, float(p[i][x]), weight):
                return i
        return len(ids)

    monkeypatch.setattr(sampling.Rejection, "accepted", accepted)
    assert_caught("acceptance on the draft's noise", distance(plain, 2))


def test_a_flat_bonus_token_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sanity: a bonus token from a flat distribution."""

    def flat(p: NDArray[np.float64], seed: int, position: int, noise: Noise) -> int:
        return noise.draw_masses(Key(seed, 0, position, Purpose.TARGET), np.ones(len(p)))

    monkeypatch.setattr("draftwire.nodes.speculation.sampling.sample_target", flat)

    def short(noise: EnumeratingNoise) -> SessionPair:
        return SessionPair(WITHIN, request(2), noise, plan=(2, 1))

    assert_caught("flat bonus token", distance(short, 2))
