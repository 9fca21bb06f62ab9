"""What rows cost is known for each spelling: plain ones, and those of every set of tables."""

from dataclasses import replace

import pytest
from tests.harness.tables import usual_set
from tests.nodes.controller.world import VOCAB_SIZE, World, play

from draftwire.codecs.control import ANY_REQUEST
from draftwire.codecs.tables import TableSet, by_tag
from draftwire.nodes.controller.adaptive import AdaptivePolicy
from draftwire.nodes.controller.belief import Belief
from draftwire.nodes.controller.policy import PlanValues
from draftwire.nodes.speculation.frames import row_bits, true_frames


def policy() -> AdaptivePolicy:
    return AdaptivePolicy(vocab_size=VOCAB_SIZE)


def belief_of(plan: PlanValues) -> Belief:
    assert plan.belief is not None
    return plan.belief


def a_set(*, vocab_size: int = VOCAB_SIZE, seed: int = 0) -> TableSet:
    """One whose rows are about half as large as plain ones; sets of other seeds have other hashes."""
    usual = usual_set(vocab_size, seed=seed)
    return replace(usual, rungs=tuple(replace(rung, row_bits=5 * rung.k + 12) for rung in usual.rungs))


def rows_bits(*, tables: TableSet | None, row_scale: float = 1.0) -> list[float]:
    frames = true_frames(vocab_size=VOCAB_SIZE, tables=tables, row_scale=row_scale)
    return [frames.rows_bits(k, 4) for k in (8, 32, 100, 320)]


def believed_bits(belief: Belief) -> list[float]:
    return [belief.frames.rows_bits(k, 4) for k in (8, 32, 100, 320)]


def test_a_plain_device_and_one_with_tables_are_both_known() -> None:
    """Under one policy, with steps in turn, rows of each have their own sizes, at K that were hardly sent."""
    one, tables = policy(), a_set()
    one.table_sets = by_tag([tables])
    worlds = {None: World(device="a", row_scale=0.8), tables: World(device="b", row_scale=1.1, tables=tables)}
    courses = {key: play(world, one, 40) for key, world in worlds.items()}
    last = {}
    for _ in range(40):
        for key, course in courses.items():
            last[key] = belief_of(next(course).decided)
    assert believed_bits(last[None]) == pytest.approx(rows_bits(tables=None, row_scale=0.8), rel=0.04)
    assert believed_bits(last[tables]) == pytest.approx(rows_bits(tables=tables, row_scale=1.1), rel=0.04)
    assert (last[None].tables, last[tables].tables) == ("", tables.hash.hex())


def test_a_device_that_spells_otherwise_is_followed_at_once_and_back() -> None:
    """A BS that restarts without the set: the next plan has plain sizes; later the set's are as they were."""
    one, tables = policy(), a_set()
    one.table_sets = by_tag([tables])
    world = World(row_scale=1.2, tables=tables, seed=4)
    into = {20: lambda w: setattr(w, "tables", None), 40: lambda w: setattr(w, "tables", tables)}
    beliefs = [belief_of(step.decided) for step in play(world, one, 42, at=into)]
    assert believed_bits(beliefs[19]) == pytest.approx(rows_bits(tables=tables, row_scale=1.2), rel=0.04)
    assert beliefs[20].tables == "" and beliefs[20].row_scale in (1.0, pytest.approx(1.2))
    assert believed_bits(beliefs[39]) == pytest.approx(rows_bits(tables=None, row_scale=1.2), rel=0.04)
    assert believed_bits(beliefs[40]) == pytest.approx(rows_bits(tables=tables, row_scale=1.2), rel=0.04)


def test_a_set_that_this_end_does_not_have_is_learnt_from_plain_sizes() -> None:
    """One missing here, and one of another vocabulary: rows count as plain ones of a scale that is learnt."""
    foreign = a_set(vocab_size=2 * VOCAB_SIZE)
    for tables, known in ((a_set(seed=1), [a_set(seed=2)]), (a_set(), []), (foreign, [foreign])):
        one = policy()
        one.table_sets = by_tag(known)
        world = World(tables=tables, pinned_k=32)
        belief = belief_of([step.decided for step in play(world, one, 30)][-1])
        assert belief.tables == tables.hash.hex() and belief.rung_bits == ()
        assert belief.row_scale < 0.5
        assert believed_bits(belief)[1] == pytest.approx(rows_bits(tables=tables)[1], rel=0.05)


def test_a_device_not_heard_of_is_taken_to_have_the_set_that_fits() -> None:
    """The first one of this vocabulary; what a device then says of itself counts, request by request."""
    one, tables = policy(), a_set()
    one.table_sets = by_tag([a_set(vocab_size=2 * VOCAB_SIZE), tables, a_set(seed=1)])
    assert belief_of(one.plan("x", ANY_REQUEST)).tables == tables.hash.hex()
    world = World(device="x")
    for step in play(world, one, 3):
        assert belief_of(step.decided).tables == ""
    assert belief_of(one.plan("x", ANY_REQUEST)).tables == ""
    assert belief_of(one.plan("y", ANY_REQUEST)).tables == tables.hash.hex()
    assert belief_of(policy().plan("x", ANY_REQUEST)).tables == ""


def test_rows_below_the_first_rung_count_as_plain() -> None:
    """They travel plain whatever was agreed, so they say nothing of rows spelt with the set."""
    one, tables = policy(), replace(a_set(), rungs=a_set().rungs[3:])
    one.table_sets = by_tag([tables])
    world = World(tables=tables, row_scale=1.3, pinned_k=2)
    belief = belief_of([step.decided for step in play(world, one, 20)][-1])
    assert belief.tables == tables.hash.hex() and belief.row_scale == 1.0
    assert belief.plain_scale == pytest.approx(1.3, rel=0.04)


def test_small_rows_of_a_device_with_tables_have_the_scale_of_plain_ones() -> None:
    """In one forecast: K below the set's first rung by plain rows seen, K above it by rows of the set."""
    one, tables = policy(), replace(a_set(), rungs=a_set().rungs[3:])
    one.table_sets = by_tag([tables])
    first = tables.rungs[0].k
    world = World(tables=tables, row_scale=0.6, pinned_k=first - 1)
    assert first > 1

    def larger(w: World) -> None:
        w.pinned_k, w.row_scale = 2 * first, 1.4

    belief = belief_of([step.decided for step in play(world, one, 80, at={40: larger})][-1])
    assert belief.tables == tables.hash.hex()
    assert belief.plain_scale == pytest.approx(0.6, rel=0.06)
    assert belief.row_scale == pytest.approx(1.4, rel=0.06)
    for k, scale in ((first - 1, belief.plain_scale), (first, belief.row_scale), (320, belief.row_scale)):
        expected = row_bits(k=k, vocab_size=VOCAB_SIZE, tables=tables)
        assert belief.row_bits(k) == pytest.approx(scale * expected)
    assert Belief.from_fields(belief.fields()) == belief


def test_plain_rows_of_a_device_that_agreed_on_a_set_leave_the_set_s_sizes_alone() -> None:
    """Its Welcome was lost, say: what came plain is plain for the next plan, until it has heard."""
    one, tables = policy(), a_set()
    one.table_sets = by_tag([tables])
    world = World(agreed=tables, pinned_k=320)
    into = {20: lambda w: setattr(w, "tables", tables)}
    beliefs = [belief_of(step.decided) for step in play(world, one, 26, at=into)]
    assert {belief.tables for belief in beliefs[1:19]} == {""}
    assert believed_bits(beliefs[18]) == pytest.approx(rows_bits(tables=None), rel=0.04)
    assert beliefs[-1].tables == tables.hash.hex()
    assert beliefs[-1].row_scale == pytest.approx(1.0, abs=0.051)


def test_a_set_is_guessed_only_where_a_size_is_one_vocabulary() -> None:
    """Of a device not heard of: two sets of one tokenizer are no doubt, of two tokenizers they are."""
    usual = a_set()
    for other, guess in ((a_set(seed=1), usual.hash.hex()), (replace(usual, fingerprint=b"another!"), "")):
        one = policy()
        one.table_sets = by_tag([usual, other])
        assert belief_of(one.plan("x", ANY_REQUEST)).tables == guess
