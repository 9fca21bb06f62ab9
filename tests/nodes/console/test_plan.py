"""`draftwire plan` answers for a link of one's own, and reprints the paper."""

import argparse
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.harness.tables import usual_set

from draftwire.codecs.frame import encode_frame
from draftwire.codecs.limits import MAX_GAMMA
from draftwire.codecs.messages import Incarnation, SparseLogits
from draftwire.codecs.tables import table_set_bytes
from draftwire.nodes.console.paper_tables import PAPER_L, PAPER_TABLE_I, table_i, table_ii
from draftwire.nodes.console.plan import Advice, add_arguments, advise, run
from draftwire.nodes.console.plan_ids import advise_ids
from draftwire.nodes.models.tables import load_tables, shipped_tables
from draftwire.nodes.speculation.cost import (
    Compute,
    LinkEstimate,
    as2,
    best_length,
    draft_cost_of_k,
    full_row_cost,
)
from draftwire.nodes.speculation.frames import row_bits, true_frames, zipf_rows
from draftwire.nodes.speculation.pipeline import flow, pipelined_plans, synchronous
from draftwire.runtime.errors import ConfigurationError
from draftwire.runtime.link import LinkSpec

MEASURED_LADDER = "3=.28,32=.34,320=.354"
A_LINK = ("--c", ".07", "--rate", "5mbit", "--rtt", "2ms")


def plan(*words: str) -> int:
    parser = argparse.ArgumentParser(prog="draftwire plan")
    add_arguments(parser)
    return run(parser.parse_args(words))


def plan_json(capsys: pytest.CaptureFixture[str], *words: str) -> Any:
    assert plan(*words, "--json") == 0
    return json.loads(capsys.readouterr().out)


def advice(**changes: Any) -> Advice:
    values: dict[str, Any] = {"alphas": {3: 0.7, 320: 0.8}, "c": 0.07, "rate_bps": 1e6, "rtt_s": 0.005}
    return advise(**(values | changes))


# The paper --------------------------------------------------------------------------------------------------


def test_table_i_is_the_papers_but_for_its_ties() -> None:
    """All 15 cells agree; where S = 1 exactly we say so, and the paper stars one of two."""
    differing = {
        (alpha, cost): (cell, PAPER_TABLE_I[alpha][cost])
        for alpha, row in table_i().items()
        for cost, cell in row.items()
        if cell != PAPER_TABLE_I[alpha][cost]
    }
    assert differing == {(0.4, 0.4): ("1=", "1"), (0.6, 0.6): ("1=", "1*")}


def test_table_ii_has_the_papers_l() -> None:
    """Column L, to the digits printed; S only where the paper gives alpha."""
    for k, row in table_ii().items():
        assert row["L"] == pytest.approx(PAPER_L[k], abs=5e-5)
        assert (len(row) > 1) is (k in (3, 32_000))


def test_paper_prints_ours_beside_theirs(capsys: pytest.CaptureFixture[str]) -> None:
    """Both tables come out whole in 80 columns, ties and stars marked."""
    assert plan("--paper") == 0
    out = capsys.readouterr().out
    for text in ("14 (14)", "1* (1*)", "1= (1*)", "1= (1)", "0.0723", "0.439"):
        assert text in out
    assert "…" not in out and max(map(len, out.splitlines())) <= 80


def test_paper_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    """The same figures for programs."""
    tables = plan_json(capsys, "--paper")
    assert tables["table_i"]["ours"]["0.8"]["0.01"] == tables["table_i"]["paper"]["0.8"]["0.01"] == "14"
    assert tables["table_ii"]["paper"]["L"]["320"] == 0.0723


def test_paper_takes_no_other_figures(capsys: pytest.CaptureFixture[str]) -> None:
    """Figures that would be ignored are refused."""
    assert plan("--paper", "--rate", "5mbit") == 2
    assert "leave out --rate" in capsys.readouterr().err


# A link of one's own ----------------------------------------------------------------------------------------


def test_the_papers_side_is_the_papers_model() -> None:
    """L, gamma* and S of each K are what eq. (11) and (21) say."""
    b_full = full_row_cost(vocab_size=32_000, rate_bps=1e6, target_step_s=0.0445)
    for rung in advice().rungs:
        cost = draft_cost_of_k(k=rung.k, vocab_size=32_000, c=0.07, b_full=b_full)
        assert rung.paper_l == cost
        assert rung.paper_gamma == best_length(alpha=rung.alpha, draft_cost=cost)
        assert rung.paper_speculates is (as2(alpha=rung.alpha, draft_cost=cost) > 0)


def test_rows_behind_the_step_make_a_larger_k_affordable() -> None:
    """At 1 Mbit/s the paper's frames want K = 3; true frames hide 320 entries behind the target's step."""
    found = advice()
    assert found.paper_best.k == 3
    assert found.true_best.k == 320


def test_a_long_round_trip_leaves_the_target_alone() -> None:
    """The paper's model sees no round trip; true frames do."""
    found = advice(rtt_s=0.3)
    assert found.paper_best.paper_speculates
    assert found.true_best.gamma == 0
    assert all(rung.true and rung.true.gamma >= 1 and rung.true.speedup < 1 for rung in found.rungs)


def test_certain_acceptance_drafts_the_longest_block() -> None:
    """alpha = 1 has no best length, so the block's limit decides."""
    assert advice(alphas={3: 1.0}).rungs[0].paper_gamma == MAX_GAMMA


@pytest.mark.parametrize(("k", "bits_an_entry"), [(3, 24), (32, 17), (320, 13), (3200, 8)])
def test_rows_are_measured(k: int, bits_an_entry: float) -> None:
    """A row takes what our codec takes: more than the choice of K ids out of V, less than indices would."""
    choice = (math.lgamma(32_001) - math.lgamma(k + 1) - math.lgamma(32_001 - k)) / math.log(2)
    assert choice < row_bits(k=k, vocab_size=32_000) < k * bits_an_entry


def test_frames_grow_with_what_they_carry() -> None:
    """Draft and Commit by their tokens, rows by K and number; a Draft's size knows nothing of K."""
    frames = true_frames(vocab_size=49_152)
    assert frames.draft_bits(3, 4) == frames.draft_bits(320, 4) < frames.draft_bits(3, 5)
    assert frames.commit_bits(0) < frames.commit_bits(4)
    assert frames.rows_bits(32, 1) < frames.rows_bits(32, 2) < frames.rows_bits(320, 2)
    assert frames.rows_in_one


def test_a_block_of_rows_is_as_long_as_said() -> None:
    """The size predicted for a SparseLogits is that of a frame encoded whole, to the padding of a byte."""
    rows = zipf_rows(k=320, vocab_size=32_000, count=4)
    message = SparseLogits(incarnation=Incarnation(boot=1, counter=1), draft_epoch=1, start=9, rows=rows)
    on_link = LinkSpec().bytes_on_link(len(encode_frame(message, session=1, sequence=1)))
    assert true_frames(vocab_size=32_000).rows_bits(320, 4) == pytest.approx(8 * on_link, abs=16)


def test_rows_may_be_spelt_with_a_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--tables: V is the set's, rows are as large as it says, and what is printed names it."""
    usual = usual_set(49_152)
    tables = replace(usual, rungs=tuple(replace(rung, row_bits=4 * rung.k) for rung in usual.rungs))
    (tmp_path / "some.tables").write_bytes(table_set_bytes(tables))
    asked = ("--alpha-of-k", MEASURED_LADDER, "--c", ".07", "--rate", "100kbit", "--rtt", "2ms")
    named = (*asked, "--tables", str(tmp_path / "some.tables"))
    plain = plan_json(capsys, *asked, "--vocab", "49152", "--tables", "none")
    spelt = plan_json(capsys, *named)
    assert (plain["tables"], spelt["tables"]) == ("", tables.hash.hex())
    assert [rung["paper_l"] for rung in spelt["rungs"]] == [rung["paper_l"] for rung in plain["rungs"]]
    assert spelt["rungs"][2]["true"]["speedup"] > 1.03 * plain["rungs"][2]["true"]["speedup"]
    assert plan(*named) == 0
    assert f"tables {tables.hash.hex()}, usual, seed 0" in capsys.readouterr().out
    assert plan(*asked, "--tables", "none") == 0
    assert "plain, of random ids" in capsys.readouterr().out


def test_rows_are_spelt_with_the_shipped_set_where_nothing_is_said(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As nodes spell them: for its own V or none; plain for another V, with `none`, or if it is missing."""
    shipped = load_tables(shipped_tables())
    asked = ("--alpha-of-k", MEASURED_LADDER, *A_LINK)
    for words, hash_ in (
        ((), shipped.hash.hex()),
        (("--vocab", str(shipped.vocab_size)), shipped.hash.hex()),
        (("--vocab", "32000"), ""),
        (("--tables", "none"), ""),
    ):
        assert plan_json(capsys, *asked, *words)["tables"] == hash_, words
    assert plan(*asked) == 0
    said = capsys.readouterr().out
    assert f"tables {shipped.hash.hex()}" in said and f"V = {shipped.vocab_size}; --tables none" in said
    monkeypatch.setattr("draftwire.nodes.console.plan.shipped_tables", lambda: Path("missing.tables"))
    assert plan_json(capsys, *asked)["tables"] == ""


def test_tables_that_do_not_fit_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Another V, no set at all, or with --paper: what is wrong is named."""
    (tmp_path / "some.tables").write_bytes(table_set_bytes(usual_set(100)))
    (tmp_path / "no.tables").write_bytes(b"no")
    asked = ("--alpha", ".5", *A_LINK)
    assert plan(*asked, "--tables", str(tmp_path / "some.tables"), "--vocab", "32000") == 2
    assert "V = 32000, but the tables are for V = 100" in capsys.readouterr().err
    for name in ("no.tables", "none.tables"):
        with pytest.raises(ConfigurationError, match=f"--tables: .*{name}"):
            plan(*asked, "--tables", str(tmp_path / name))
    assert plan("--paper", "--tables", "smollm2") == 2


def test_whole_rows_can_be_sent_and_half_rows_not() -> None:
    """K = V is a dense row; between 4096 and V there is no such row, and the paper's side still answers."""
    half, whole = advice(alphas={5000: 0.5, 32_000: 0.5}, rate_bps=50e6).rungs
    assert half.true is None and half.paper_gamma >= 1
    assert whole.true is not None
    with pytest.raises(ValueError, match="give one up to 4096, or V = 32000"):
        advice(alphas={5000: 0.5})


def test_a_ladder_is_printed_side_by_side(capsys: pytest.CaptureFixture[str]) -> None:
    """A row for each K, both verdicts, in 80 columns."""
    assert plan("--alpha-of-k", MEASURED_LADDER, *A_LINK) == 0
    out = capsys.readouterr().out
    lines = out.splitlines()
    assert [line.split()[0] for line in lines if line.split()[1:2] in (["0.28"], ["0.34"], ["0.354"])] == [
        "3",
        "32",
        "320",
    ]
    assert any(line.startswith("Paper's model: K = 32, gamma = 2") for line in lines)
    assert any(line.startswith("True frames:   K = 320, gamma = 2") for line in lines)
    assert "…" not in out and max(map(len, lines)) <= 80
    assert "One alpha" not in out


def test_one_alpha_serves_every_k_and_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    """--alpha fills the ladder up to V, and the output warns what that means."""
    assert plan("--alpha", ".6", "--vocab", "2000", *A_LINK) == 0
    assert "One alpha for every K" in capsys.readouterr().out
    found = plan_json(capsys, "--alpha", ".6", "--vocab", "2000", *A_LINK)
    assert [rung["k"] for rung in found["rungs"]] == [3, 32, 320, 2000]


def test_json_has_both_verdicts(capsys: pytest.CaptureFixture[str]) -> None:
    """Programs get the plan, and what it rests on."""
    found = plan_json(capsys, "--alpha-of-k", MEASURED_LADDER, *A_LINK)
    assert found["paper"]["k"] == 32 and found["paper"]["gamma"] == 2
    assert found["true"]["k"] == 320 and found["true"]["speedup"] > 1
    assert found["true"]["tokens_per_s"] == pytest.approx(
        found["true"]["tokens_per_step"] / found["true"]["step_s"]
    )


def test_units_are_those_of_tc(capsys: pytest.CaptureFixture[str]) -> None:
    """5mbit and 5000kbit are one rate; a target step may be given in any unit of time."""
    other = ("--c", ".07", "--rate", "5000kbit", "--rtt", "2000us", "--target-step", "0.0445s")
    assert plan_json(capsys, "--alpha", ".6", *A_LINK) == plan_json(capsys, "--alpha", ".6", *other)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("", "--c is missing: give --alpha, --c, --rate and --rtt, or --paper alone"),
        ("--c .1 --rate 5mbit --rtt 2ms", "give either --alpha A or --alpha-of-k"),
        (
            "--alpha .5 --alpha-of-k 3=.4 --c .1 --rate 5mbit --rtt 2ms",
            "give either --alpha A or --alpha-of-k",
        ),
        ("--alpha 1.5 --c .1 --rate 5mbit --rtt 2ms", "alpha is 1.5"),
        ("--alpha .5 --c -1 --rate 5mbit --rtt 2ms", "draft_step_s is -"),
        ("--alpha .5 --c .1 --rate fast --rtt 2ms", "--rate: 'fast'"),
        ("--alpha .5 --c .1 --rate 0 --rtt 2ms", "--rate is 0, an outage"),
        ("--alpha .5 --c .1 --rate 5mbit --rtt 20", "--rtt: '20' has no unit; write for instance 20ms"),
        ("--alpha .5 --c .1 --rate 5mbit --rtt 2ms --target-step 0ms", "target_step_s is 0"),
        ("--alpha .5 --c .1 --rate 5mbit --rtt 2ms --vocab 0", "vocab_size is 0"),
        ("--alpha-of-k 3=x --c .1 --rate 5mbit --rtt 2ms", "--alpha-of-k has '3=x'"),
        ("--alpha-of-k 3 --c .1 --rate 5mbit --rtt 2ms", "--alpha-of-k has '3'"),
        ("--alpha-of-k 3=.4,3=.5 --c .1 --rate 5mbit --rtt 2ms", "K = 3 twice"),
        ("--alpha-of-k 0=.4 --c .1 --rate 5mbit --rtt 2ms", "k is 0"),
        ("--alpha-of-k 40000=.4 --c .1 --rate 5mbit --rtt 2ms --vocab 32000", "k is 40000"),
    ],
)
def test_a_wrong_argument_is_one_line_and_2(
    words: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The line names the option or value and the remedy; nothing is printed to standard output."""
    assert plan(*words.split()) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("draftwire plan: ") and says in err
    assert err.count("\n") == 1


# Ids only ---------------------------------------------------------------------------------------------------

FAR = ("--alpha", ".5", "--c", ".07", "--rate", "20mbit", "--rtt", "100ms")


def test_ids_alone_are_planned_for_where_asked(capsys: pytest.CaptureFixture[str]) -> None:
    """Each kind's best plan by the models of in turns and pipelined; rows are planned for as before."""
    found = plan_json(capsys, *FAR, "--acceptance", "coupled")
    alone, coupled, pipelined = found.pop("ids_only")["plans"]
    assert found == plan_json(capsys, *FAR) == plan_json(capsys, *FAR, "--acceptance", "rejection")
    assert (alone["name"], alone["speedup"], alone["passes_per_token"]) == ("target alone", 1.0, 1.0)
    assert coupled["min_draft"] == coupled["gamma"] and coupled["speedup"] < 0.7
    assert pipelined["min_draft"] < pipelined["gamma"] and pipelined["speedup"] > 1.05
    assert pipelined["drafted_per_token"] > 1 > pipelined["passes_per_token"]
    assert plan(*FAR, "--acceptance", "auto") == 0
    out = capsys.readouterr().out
    assert "Ids only, if picks are equal with 0.5" in out and "pipelined: gamma" in out
    assert "in turns:  the target waits" in out and "pipelined: the device drafts on" in out
    assert "auto would take coupled" in out
    near = ("--alpha", ".8", "--c", ".05", "--rate", "50mbit", "--rtt", "1ms", "--acceptance", "auto")
    assert plan_json(capsys, *near)["auto"] in ("rejection", "coupled")
    assert plan_json(capsys, *FAR, "--acceptance", "auto")["auto"] == "coupled"


def test_the_best_plans_of_ids_alone_are_the_best() -> None:
    """No plan in turns is faster, and no pipelined one by more than what counts as equal."""
    compute = Compute(draft_step_s=0.003, target_step_s=0.045)
    link = LinkEstimate(uplink_bps=1e6, downlink_bps=1e6, rtt_s=0.02)
    ids = advise_ids(alpha=0.6, compute=compute, link=link, vocab_size=32_000)
    frames, survives = true_frames(vocab_size=32_000, rows=False), [0.6**k for k in range(MAX_GAMMA + 1)]
    for gamma in range(1, MAX_GAMMA + 1):
        one = synchronous(gamma=gamma, survives=survives, compute=compute, link=link, frames=frames)
        assert one.tokens_per_s <= ids.coupled.flow.tokens_per_s
    for gamma, min_draft in pipelined_plans(16):
        one = flow(
            gamma=gamma, min_draft=min_draft, survives=survives, compute=compute, link=link, frames=frames
        )
        assert one.tokens_per_s <= 1.004 * ids.pipelined.flow.tokens_per_s


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--alpha-of-k", "3=.2", *A_LINK], "give --alpha, not --alpha-of-k"),
        (["--paper"], "--paper prints fixed tables: leave out --acceptance"),
    ],
)
def test_ids_alone_have_one_alpha(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """That of equal picks, which no K changes."""
    assert plan(*words, "--acceptance", "coupled") == 2
    assert said in capsys.readouterr().err
