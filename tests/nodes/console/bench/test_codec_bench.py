"""`draftwire bench codec`: other layouts, the source model, its figures, and the command."""

import json
import re
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.text import Annotation
from numpy.typing import NDArray
from rich.console import Console
from tests.harness.tables import growing, in_order, permutation, usual_set

from draftwire.codecs.blocks import HEADER_BITS, encode_ranked, encode_rows
from draftwire.codecs.tables import Rung, Table, TableSet, table_set_bytes
from draftwire.codecs.weights import Profile
from draftwire.nodes.console.bench.codec import EPILOG
from draftwire.nodes.console.bench.codec_figure import LABELLED, LINES, OURS, bits_figure, draw
from draftwire.nodes.console.bench.codec_goals import ENOUGH_ROWS, GOALS, goals_of
from draftwire.nodes.console.bench.codec_measure import QUICK, Effort, measure
from draftwire.nodes.console.bench.codec_others import (
    COMPRESSORS,
    LAYOUTS,
    compressed_bits,
    deflate,
    paper_entry_bits,
    zstd,
)
from draftwire.nodes.console.bench.codec_show import DOCUMENT_ROWS, markdown, show
from draftwire.nodes.console.bench.codec_source import (
    best_costs,
    entropy_bits,
    kinds_of,
    source_bits,
    spelt_tables,
)
from draftwire.nodes.console.bench.codec_text import (
    CONTEXT,
    GAMMA,
    WINDOW,
    Block,
    Passage,
    Sample,
    Text,
    read,
    shipped_text,
    stretches,
    text_of_file,
)
from draftwire.nodes.console.bench.codec_times import quantize_times, times
from draftwire.nodes.console.cli import main
from draftwire.nodes.models.catalogue import load_draft, load_target, load_tokenizer
from draftwire.runtime.errors import ConfigurationError

ROOT = Path(__file__).parents[4]
V = 1000
SHORT = Effort(positions=0, timed_blocks=2, rounds=2, compressed_blocks=2)


def zipf_sample(*, positions: int = 48, vocab_size: int = V, columns: int = 320, seed: int = 0) -> Sample:
    """Rows whose likeliest ids are low, and a target that agrees with the draft but for noise."""
    rng = np.random.default_rng(seed)
    logits = -1.2 * np.log(np.arange(vocab_size) + 1) + rng.normal(0, 0.7, (positions, vocab_size))
    target = logits + rng.normal(0, 0.5, logits.shape)
    p = np.exp(target) / np.exp(target).sum(axis=1, keepdims=True)
    order = np.argsort(-logits, axis=1)
    q = np.take_along_axis(np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True), order, axis=1)
    order = order[:, :columns]
    scores = np.take_along_axis(logits, order, axis=1)
    return Sample(
        vocab_size=vocab_size,
        ids=order.astype(np.int32),
        scores=(scores - scores.max(axis=1, keepdims=True)).astype(np.float32),
        p=np.take_along_axis(p, order, axis=1).astype(np.float32),
        left_out={k: q[:, k:].sum(axis=1) for k in (3, 8, 32, 320) if k <= columns},
    )


# The text and the pair ------------------------------------------------------------------------------------


def test_the_shipped_text_is_of_the_shipped_vocabulary() -> None:
    """It has thousands of answer tokens, each an id of the shipped pair, with a prompt in front."""
    tokenizer = load_tokenizer("smollm2", end="target")
    text = shipped_text(tokenizer)
    assert sum(map(len, text.passages)) > 6000
    assert all(0 <= token < tokenizer.vocab_size for one in text.passages for token in one.tokens)
    assert all(one.start > 8 and len(one) >= 1 for one in text.passages)
    assert "<|im_start|>" not in tokenizer.decode(text.passages[0].tokens[text.passages[0].start :])


def test_the_shipped_text_is_refused_for_another_vocabulary() -> None:
    """A pair of another vocabulary needs a text of its own, and is told the option."""
    with pytest.raises(ConfigurationError, match="vocabulary") as caught:
        shipped_text(load_tokenizer("synthetic:V=64", end="target"))
    assert caught.value.key == "--text"


@pytest.mark.parametrize("positions", [4, 8, 24, 40, 1000])
def test_stretches_are_whole_blocks_from_all_passages(positions: int) -> None:
    """As many positions as were asked for, or all that whole blocks hold; never more than one block apart."""
    lengths = (3, 5, 13, 30, 9)
    text = Text(says="", passages=tuple(Passage(tokens=tuple(range(10 + n)), start=10) for n in lengths))
    found = stretches(text, positions)
    all_blocks = sum(n // GAMMA * GAMMA for n in lengths)
    assert sum(map(len, found)) == min(positions, all_blocks)
    assert all(len(one) % GAMMA == 0 and one.start >= 10 for one in found)
    taken = [len(one) for one in found]
    assert max(taken) - GAMMA <= min(max(taken), 4) or positions >= 40
    assert all(one.tokens == tuple(range(len(one.tokens))) for one in found)


def test_a_text_file_is_cut_into_windows_that_measure_each_token_once(tmp_path: Path) -> None:
    """Behind the first tokens, every one is measured, none twice, and each has context in front."""
    path, tokenizer = tmp_path / "text.txt", load_tokenizer("synthetic:V=64,seed=1", end="target")
    path.write_text("The quick brown fox jumps over the lazy dog. " * 80)
    tokens = tokenizer.encode_prompt(path.read_text(), chat=False)
    text = text_of_file(path, tokenizer)
    assert len(tokens) > 2 * WINDOW
    assert [token for one in text.passages for token in one.tokens[one.start :]] == tokens[CONTEXT:]
    assert all(one.start == CONTEXT and len(one.tokens) <= WINDOW for one in text.passages)


def test_a_text_that_is_too_short_or_missing_is_refused(tmp_path: Path) -> None:
    """The message names the option and says what to do."""
    tokenizer, path = load_tokenizer("synthetic:V=64", end="target"), tmp_path / "short.txt"
    path.write_text("a")
    for wrong in (path, tmp_path / "missing.txt"):
        with pytest.raises(ConfigurationError) as caught:
            text_of_file(wrong, tokenizer)
        assert caught.value.key == "--text" and str(caught.value).count(wrong.name) == 1


def test_reading_keeps_the_top_of_each_row_and_what_the_target_has_there() -> None:
    """Position by position, as both models answer when asked for that position alone."""
    draft, target = load_draft("synthetic:V=64,seed=3"), load_target("synthetic:V=64,seed=3")
    rng = np.random.default_rng(5)
    tokens = tuple(rng.integers(64, size=90).tolist())
    sample = read(draft, target, [Passage(tokens=tokens, start=10)], ks=(3, 8))
    assert len(sample) == 80 and sample.vocab_size == 64
    for position in (0, 63, 64, 79):
        logits = draft.open().logits(tokens[: 10 + position], 1)[0].astype(np.float64)
        answer = target.open().logits(tokens[: 10 + position], 1)[0].astype(np.float64)
        top = np.argsort(-logits)[:8]
        p, q = np.exp(answer - answer.max()), np.exp(logits - logits.max())
        assert sample.ids[position].tolist() == top.tolist()
        assert sample.scores[position] == pytest.approx(logits[top] - logits[top[0]], abs=1e-5)
        assert sample.p[position] == pytest.approx((p / p.sum())[top], rel=1e-5)
        for k in (3, 8):
            assert sample.left_out[k][position] == pytest.approx(1 - q[top[:k]].sum() / q.sum(), abs=1e-9)


def test_a_block_has_the_likeliest_ids_in_rising_order() -> None:
    """Each row of a block holds the first K of its position, and its weights are theirs."""
    sample = zipf_sample()
    block = sample.block(2, 8)
    assert (np.diff(block.ids, axis=1) > 0).all()
    for row, position in enumerate(range(2 * GAMMA, 3 * GAMMA)):
        assert set(block.ids[row].tolist()) == set(sample.ids[position, :8].tolist())
        best = int(block.scores[row].argmax())
        assert block.ids[row, best] == sample.ids[position, 0]
    assert block.exact.sum(axis=1) == pytest.approx(1)
    assert [row.ids.tolist() for row in block.rows()] == block.ids.tolist()


# Other layouts --------------------------------------------------------------------------------------------


def _block(vocab_size: int) -> Block:
    ids = np.array([[1, 5, vocab_size - 1]] * 2, np.int32)
    scores = np.log(np.array([[0.25, 0.5, 0.25]] * 2))
    return Block(vocab_size=vocab_size, ids=ids, scores=scores, p=np.zeros((2, 3)), tails=(63, 63))


def test_the_papers_layout_bit_by_bit() -> None:
    """The index in ceil(log2 V) bits, then the FP16 value, likeliest first, nothing between."""
    assert paper_entry_bits(1000) == 26 and paper_entry_bits(32000) == 31 and paper_entry_bits(49152) == 32
    half, quarter = f"{0x3800:016b}", f"{0x3400:016b}"
    entries = f"{5:010b}{half}{1:010b}{quarter}{999:010b}{quarter}" * 2
    data = LAYOUTS["packed"](_block(1000))
    assert "".join(f"{byte:08b}" for byte in data) == entries.ljust(8 * len(data), "0")


@pytest.mark.parametrize(("vocab_size", "index_bytes"), [(1000, 2), (65536, 2), (65537, 3), (262144, 3)])
def test_layouts_on_whole_bytes_hold_every_entry(vocab_size: int, index_bytes: int) -> None:
    """Columns and planes take 2 or 3 bytes an index and 2 a value: no entry is left out."""
    block = _block(vocab_size)
    for name in ("likeliest columns", "rising columns", "rising planes"):
        assert len(LAYOUTS[name](block)) == 6 * (index_bytes + 2)
    ids, values = block.ids.tobytes(), block.exact.astype(np.float16).tobytes()
    planes = LAYOUTS["rising planes"](block)
    assert sorted(planes) == sorted(
        [byte for i in range(0, len(ids), 4) for byte in ids[i : i + index_bytes]] + list(values)
    )


def test_compressors_can_be_undone_and_the_best_layout_counts() -> None:
    """What they make is whole; a figure is the least over layouts of all blocks together."""
    import zstandard

    blocks = [zipf_sample().block(number, 32) for number in range(3)]
    data = b"abcabcabc" * 50
    assert zlib.decompress(deflate(data), wbits=-15) == data
    assert zstandard.ZstdDecompressor().decompress(zstd(data), max_output_size=1000) == data
    entries = 3 * GAMMA * 32
    for compress in COMPRESSORS.values():
        totals = {
            name: 8 * sum(len(compress(layout(block))) for block in blocks) / entries
            for name, layout in LAYOUTS.items()
        }
        bits, best = compressed_bits(blocks, compress)
        assert bits == pytest.approx(min(totals.values())) == pytest.approx(totals[best])


# The source model -----------------------------------------------------------------------------------------


def test_the_source_model_by_hand() -> None:
    """Two tables that swap two ids: each row's bits are those of its best table, counted by hand."""
    tables = TableSet(
        vocab_size=4,
        fingerprint=bytes(8),
        label="",
        order=np.array([3, 2, 1, 0], np.int32),
        rungs=(
            Rung(
                k=1,
                tables=(
                    Table(front=np.array([0, 1], np.int32), head=1, widths=(0,)),
                    Table(front=np.array([1, 0], np.int32), head=1, widths=(0,)),
                ),
                tail_widths=(1,),
                row_bits=0,
            ),
        ),
    )
    kinds = kinds_of(tables.rungs[0], 4)
    assert [kind.tolist() for kind in kinds] == [[0, 1, 2, 2], [1, 0, 2, 2]]
    # Under table 0: place 0 in 3 rows of 4, place 2 or 3 in one; under table 1: place 1 in both rows.
    places = np.array([[0], [0], [0], [3], [1], [1]])
    costs = best_costs(places, kinds, np.array([0, 0, 0, 0, 1, 1]))
    in_head = -np.log2(3 / 4) - 2 * np.log2(7 / 8)
    in_tail = -np.log2(1 / 4) - np.log2(1 / 8) - np.log2(7 / 8)
    assert costs == pytest.approx([in_head] * 3 + [in_tail] + [0, 0], abs=1e-4)


def test_entropy_of_levels() -> None:
    """Of equal shares the logarithm of their number; of one symbol nothing."""
    assert entropy_bits(np.array([5, 5, 0, 5, 5])) == pytest.approx(2)
    assert entropy_bits(np.array([7])) == 0


def test_what_tables_spell_lies_above_the_source_model_and_not_far() -> None:
    """On rows that a set fits, the bits of mode 1 exceed the bound, and by less than half of it."""
    sample = zipf_sample(positions=400)
    rows = [row for number in range(100) for row in sample.block(number, 32).rows()]
    ids, levels = (np.stack([getattr(row, name) for row in rows]) for name in ("ids", "levels"))
    tables = in_order(V, k=32, heads=(24,), widths=growing)
    found = source_bits(ids, levels, Profile.SMALL, tables)
    assert found is not None
    blocks = [encode_ranked(rows[i : i + GAMMA], tables) for i in range(0, 400, GAMMA)]
    spelt = sum(8 * len(block) - HEADER_BITS for block in blocks) / (400 * 32)
    assert found.total < spelt < 1.5 * found.total
    assert found.table == 0


def test_the_source_model_has_nothing_to_say_below_the_first_rung() -> None:
    """A set without tables for so small a K: no bound, rather than that of other rows."""
    tables = usual_set(V, first=8)
    ids = np.array([[1, 2, 3]])
    assert source_bits(ids, np.zeros((1, 3), np.int64), Profile.SMALL, tables) is None


def _rung(k: int, fronts: list[NDArray[np.int32]]) -> Rung:
    """Tables that differ in nothing but their fronts of 100 places."""
    widths, tail = (growing(ranks, np.random.default_rng(0)) for ranks in (84, V - 100))
    tables = tuple(Table(front=front, head=16, widths=widths) for front in fronts)
    return Rung(k=k, tables=tables, tail_widths=tail, row_bits=0)


def test_rows_are_spelt_with_the_table_of_fewest_bits() -> None:
    """As mode 1 has it: the choice makes each row no longer than any other table alone would."""
    sample, rng = zipf_sample(), np.random.default_rng(1)
    fronts = [permutation(100, rng) for _ in range(3)]
    tables = replace(in_order(V), rungs=(_rung(32, fronts),))
    rung = tables.rungs[0]
    rows = [row for block in range(12) for row in sample.block(block, 32).rows()]
    places = np.argsort(tables.order)[np.stack([row.ids for row in rows])]
    chosen = spelt_tables(places, kinds_of(rung, V), rung)
    alone = [replace(tables, rungs=(replace(rung, tables=(table,)),)) for table in rung.tables]
    for row, m in zip(rows, chosen, strict=True):
        assert len(encode_ranked([row], alone[m])) == min(len(encode_ranked([row], one)) for one in alone)
    assert len(set(chosen.tolist())) > 1


# The figures ----------------------------------------------------------------------------------------------


def test_figures_of_one_k_are_what_their_names_say() -> None:
    """Bits are those of encode_rows without headers; ratios, alphas and shares follow from the rows."""
    sample, tables, one = zipf_sample(), usual_set(V, tables=4), usual_set(V, tables=1, seed=1)
    found = measure(sample, 32, tables=tables, one_table=one, effort=SHORT)
    blocks = [sample.block(number, 32) for number in range(len(sample) // GAMMA)]
    rows = [block.rows() for block in blocks]
    for name, chosen in (
        ("bits_per_entry", tables),
        ("plain_bits_per_entry", None),
        ("one_table_bits_per_entry", one),
    ):
        bits = sum(8 * len(encode_rows(some, tables=chosen)) - HEADER_BITS for some in rows)
        assert found[name] == pytest.approx(bits / (len(sample) * 32))
    assert found["over_paper"] == pytest.approx(found["bits_per_entry"] / 26)
    assert found["over_fork"] == pytest.approx(found["bits_per_entry"] / 48)
    assert found["one_table_over_paper"] == pytest.approx(found["one_table_bits_per_entry"] / 26)
    assert found["over_source_model"] == pytest.approx(found["bits_per_entry"] / found["source_model_bits"])
    assert found["source_model_bits"] == pytest.approx(sum(found["source_model_parts"].values()))
    tailless = found["over_source_model_without_tails"] * found["source_model_bits"]
    assert tailless == pytest.approx(found["bits_per_entry"] - 6 / 32), "each row's tail has 6 bits"
    if found["ranked_share"] == 1:
        assert sum(found["sections"].values()) == pytest.approx(found["bits_per_entry"])
    exact = np.mean([np.minimum(block.p, block.exact).sum(axis=1) for block in blocks])
    wire = np.mean(
        [
            np.minimum(p, row.weights / 2**24).sum()
            for block, some in zip(blocks, rows, strict=True)
            for p, row in zip(block.p, some, strict=True)
        ]
    )
    assert (found["alpha_exact"], found["alpha_wire"]) == (pytest.approx(exact), pytest.approx(wire))
    assert found["alpha_loss"] == pytest.approx((exact - wire) / exact)
    assert abs(found["alpha_loss"]) < 0.02
    spreads = found["spreads"]
    for name in ("quantize_us", "encode_us", "decode_us", "encode_decode_us", "plain_encode_us"):
        assert found[name] == spreads[name]["median"]
        assert 0 < spreads[name]["p10"] <= found[name] <= spreads[name]["p90"]


def test_without_tables_there_are_no_figures_of_them() -> None:
    """Plain rows alone: what needs a set is null, what does not is there."""
    found = measure(zipf_sample(), 8, tables=None, one_table=None, effort=SHORT)
    assert found["bits_per_entry"] is found["over_source_model"] is found["one_table_over_paper"] is None
    assert found["plain_bits_per_entry"] > 0 and found["encode_us"] == found["plain_encode_us"]


def test_every_block_meets_every_way_once_a_round() -> None:
    """Times come in turn, as many for each way, and what was encoded is decoded."""
    blocks = [zipf_sample().block(number, 8) for number in range(3)]
    tables = usual_set(V)
    found = times([block.rows() for block in blocks], {"plain": None, "tables": tables}, rounds=4)
    assert {way: len(one.encode_us) for way, one in found.items()} == {"plain": 12, "tables": 12}
    assert all((one.both_us == one.encode_us + one.decode_us).all() for one in found.values())
    assert len(quantize_times(blocks, rounds=4)) == 12


def test_goals_that_are_missed_are_called_so() -> None:
    """A figure above its bound is missed, one at it is met, one that was not measured is left out."""
    measured = {"K.32": {"over_source_model": 1.10, "alpha_loss": 0.006, "encode_decode_us": None}}
    found = goals_of(measured, rows=ENOUGH_ROWS)
    assert {name: (goal["met"], goal["verdict"]) for name, goal in found.items()} == {
        "K.32.over_source_model": (True, "met"),
        "K.32.alpha_loss": (False, "missed"),
    }
    assert found.keys() <= GOALS.keys()


def test_few_rows_judge_no_bits_and_times_are_a_trend() -> None:
    """Below so many rows a goal of bits or acceptance is open; a time is judged, and called a trend."""
    measured = {"K.32": {"over_source_model": 1.4, "alpha_loss": 0.001, "encode_decode_us": 151.0}}
    found = goals_of(measured, rows=ENOUGH_ROWS - 1)
    assert {name: (goal["met"], goal["verdict"], goal["trend"]) for name, goal in found.items()} == {
        "K.32.over_source_model": (None, "too few rows to judge", False),
        "K.32.alpha_loss": (None, "too few rows to judge", False),
        "K.32.encode_decode_us": (False, "missed, a trend", True),
    }


def _keys(found: object) -> set[str]:
    """Names of figures, at any depth; not those of sections and of goals, which are values of their own."""
    if not isinstance(found, dict):
        return set()
    return set(found) | {key for name, one in found.items() if name != "sections" for key in _keys(one)}


def test_the_command_prints_one_object_and_draws(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """On a pair by formula with a set of its own: a key for each K that its rows have, and a picture."""
    tokenizer = load_tokenizer("synthetic:V=64,seed=1", end="target")
    tables = replace(usual_set(64), fingerprint=tokenizer.fingerprint)
    files = {name: tmp_path / name for name in ("text.txt", "rows.tables", "picture.svg")}
    files["text.txt"].write_text("Why is the sky blue? " * 20)
    files["rows.tables"].write_bytes(table_set_bytes(tables))
    pair = "--draft synthetic:V=64,seed=1 --target synthetic:V=64,seed=1".split()
    options = f"--text {files['text.txt']} --tables {files['rows.tables']} --plot {files['picture.svg']}"
    assert main(["bench", "codec", "--quick", "--positions", "40", "--json", *pair, *options.split()]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert [name for name in found if name.startswith("K.")] == ["K.3", "K.8", "K.32"]
    assert found["vocab_size"] == 64 and found["rows"] == 40 and found["tables"] == tables.hash.hex()
    assert found["tables_bytes"] == len(table_set_bytes(tables))
    assert found["K.8"]["paper_bits_per_entry"] == 6 + 16
    assert {"text", "draft", "target", "cpu", "python", "numpy", "goals"} <= set(found)
    picture = files["picture.svg"].read_text()
    assert "ours, several tables" in picture and "source model" in picture
    assert "ours, one table" not in picture, "none was named, and none fits"
    names = re.findall(r"[\w.]+", EPILOG)
    assert {name for name in _keys(found) if name not in names} <= set(GOALS), "help names every key"


def test_people_are_told_of_goals_in_words_within_80_columns(capsys: pytest.CaptureFixture[str]) -> None:
    """On the screen as in Markdown: every goal with its figure, bound and verdict, and what a trend is."""
    figures = measure(zipf_sample(), 32, tables=usual_set(V), one_table=None, effort=SHORT)
    figures |= {"alpha_loss": 0.01, "encode_decode_us": 1e3}
    found: dict[str, Any] = {"K.32": figures}
    found |= {"goals": goals_of(found, rows=48), "rows": 48, "rows_in_a_block": GAMMA, "text": "t"}
    found |= dict.fromkeys(("tables", "draft", "target", "vocab_size", "machine", "python", "numpy"))
    show(Console(width=80), found)
    shown = capsys.readouterr().out
    words = [" ".join(line.split()) for line in shown.splitlines()]
    assert "32 acceptance lost by quantising 1.00% 0.50% too few rows to judge" in words
    assert "32 us, 4 rows encoded and decoded 1000 150 missed, a trend" in words
    assert "A trend: times depend on the machine" in shown and f"judged from {ENOUGH_ROWS} rows on" in shown
    written = markdown(found).splitlines()
    assert "| acceptance lost by quantising | 32 | 1.00% | 0.50% | too few rows to judge |" in written
    assert f"| plain | {figures['plain_bits_per_entry']:.1f} |" in written


def test_the_document_has_the_rows_that_the_command_prints() -> None:
    """What `--markdown` prints can be put in the place of the tables in docs/operations.md."""
    lines = (ROOT / "docs" / "operations.md").read_text().splitlines()
    section = lines[lines.index("## What rows cost") :]
    for start in (*(says for says, *_ in DOCUMENT_ROWS), *(goal.says for goal in GOALS.values())):
        assert any(line.startswith(f"| {start} |") for line in section), start


def test_more_positions_than_the_text_has_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line beside the figures, with the option and both numbers; none where the text is long enough."""
    text = tmp_path / "text.txt"
    text.write_text("Why is the sky blue? " * 20)
    pair = "--draft synthetic:V=64,seed=1 --target synthetic:V=64,seed=1 --tables none --quick --json"
    words = ["bench", "codec", "--text", str(text), *pair.split(), "--positions"]
    assert main([*words, "1000"]) == 0
    output = capsys.readouterr()
    rows = json.loads(output.out.splitlines()[-1])["rows"]
    assert f"The text has {rows} positions in whole blocks, fewer than --positions 1000" in output.err
    assert main([*words, "8"]) == 0
    assert "--positions" not in capsys.readouterr().err


def test_a_pair_of_two_vocabularies_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """Before a model is loaded, with both fingerprints."""
    arguments = ["bench", "codec", "--draft", "synthetic:V=64", "--target", "synthetic:V=65"]
    assert main(arguments) == 2
    assert "unlike vocabularies" in capsys.readouterr().err


def test_lines_without_figures_are_left_out_of_the_picture(tmp_path: Path) -> None:
    """What was not measured has no line; what was has one."""
    figures = {name: 10.0 for name, *_ in LINES} | {"one_table_bits_per_entry": None}
    found = {"K.3": figures, "K.8": figures, "target": "t", "vocab_size": 64, "rows": 4}
    missing = "one_table_bits_per_entry"
    for axes, lines in zip(bits_figure(found).axes, (LINES, OURS), strict=True):
        labels = [line.get_label() for line in axes.lines]
        assert labels == [label for name, label, *_ in lines if name != missing]
    draw(tmp_path / "picture.png", found)
    assert (tmp_path / "picture.png").stat().st_size > 1000


def test_numbers_in_the_picture_stand_at_their_own_points() -> None:
    """Each in the colour of its line, a few points from the value that it says; the axis says its scale."""
    figures = [{name: 10.0 + 3 * i + k for i, (name, *_) in enumerate(LINES)} for k in range(2)]
    found = {"K.3": figures[0], "K.8": figures[1], "target": "t", "vocab_size": 64, "rows": 4}
    everything, ours = bits_figure(found).axes
    colours = {name: colour for name, _, _, colour in LINES}
    texts = [one for one in ours.texts if isinstance(one, Annotation)]
    assert [(one.get_text(), one.xy, one.get_color()) for one in texts] == [
        (f"{by_name[name]:.1f}", (k, by_name[name]), colours[name])
        for name in LABELLED
        for k, by_name in zip((3, 8), figures, strict=True)
    ]
    assert all(max(map(abs, one.get_position())) < 5 for one in texts)
    assert not everything.texts and "logarithmic" in ours.get_xlabel() == everything.get_xlabel()


@pytest.mark.slow
def test_the_shipped_pair_on_a_part_of_its_text(capsys: pytest.CaptureFixture[str]) -> None:
    """With its own set: every K, fewer bits than plain and the paper, little acceptance lost."""
    assert main(["bench", "codec", "--quick", "--positions", str(QUICK.positions // 2), "--json"]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    for k in (3, 8, 32, 320, 3200):
        figures = found[f"K.{k}"]
        assert figures["bits_per_entry"] < figures["plain_bits_per_entry"] < figures["paper_bits_per_entry"]
        assert figures["alpha_loss"] < 0.01
