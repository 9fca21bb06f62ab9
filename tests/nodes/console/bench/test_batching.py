"""`draftwire bench batching`: its ratios, its goals, and the command on a tiny model."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from draftwire.nodes.console.bench import batching_measure
from draftwire.nodes.console.bench.batching import EPILOG, LINES, has_bf16_matrix_units, result
from draftwire.nodes.console.bench.batching_measure import LENGTHS, PassTimes, pass_times
from draftwire.nodes.console.cli import main
from draftwire.nodes.models.catalogue import load_target
from draftwire.nodes.models.huggingface import HuggingFaceModel
from draftwire.nodes.models.kv_slots import IMPLEMENTATION
from draftwire.nodes.target.batcher import CHUNK

TIMES = PassTimes(
    together=np.array([0.1, 0.2, 0.1]),
    in_turn=np.array([0.5, 0.8, 0.6]),
    dynamic_cache=np.array([0.5, 1.0, 0.5]),
    with_chunk=np.array([0.12, 0.3, 0.13]),
)


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DRAFTWIRE_CACHE", str(tmp_path_factory.mktemp("cache")))
    torch.set_num_threads(1)


def test_ratios_are_of_one_round_each() -> None:
    """What the machine did meanwhile stands above and below the line."""
    sizes = {"bfloat16": 100, "float32": 200}
    found = result({"bfloat16": TIMES, "float32": TIMES}, sizes, target="t", has_units=True)
    assert found["batch16_over_1"] == pytest.approx(5.0)  # of 5, 4, 6
    assert found["batch16_over_1_fp32"] == pytest.approx(5.0)
    assert found["batch1_overhead"] == pytest.approx(1.0)  # of 1, 0.8, 1.2
    assert found["prefill_chunk_cost"] == pytest.approx(1.3)  # of 1.2, 1.5, 1.3
    assert found["spreads"]["prefill_chunk_cost"] == pytest.approx({"p10": 1.22, "median": 1.3, "p90": 1.46})
    assert found["bytes_per_token"] == 100
    assert found["tokens_per_s"]["float32"]["together"] == pytest.approx(sum(LENGTHS) / 0.1)
    assert {name: goal["met"] for name, goal in found["goals"].items()} == {
        "batch1_overhead": True,
        "prefill_chunk_cost": True,
        "batch16_over_1": False,
        "batch16_over_1_fp32": True,
    }


def test_without_matrix_units_their_goal_is_not_judged() -> None:
    """The ratio is there, and no verdict on it."""
    sizes = {"bfloat16": 100, "float32": 200}
    found = result({"bfloat16": TIMES, "float32": TIMES}, sizes, target="t", has_units=False)
    assert found["goals"]["batch16_over_1"] == {"at_least": 6.0, "met": None}
    assert found["goals"]["batch16_over_1_fp32"]["met"] is True


@pytest.mark.parametrize(
    "text, expected", [("flags : fpu amx_bf16 amx_tile", True), ("flags : avx512_bf16", False)]
)
def test_matrix_units_are_read_from_the_flags(tmp_path: Path, text: str, expected: bool) -> None:
    """AVX-512 alone is none; a machine without such a file has none that we know of."""
    flags = tmp_path / "cpuinfo"
    assert not has_bf16_matrix_units(flags)
    flags.write_text(text)
    assert has_bf16_matrix_units(flags) is expected


def test_what_is_timed_is_what_it_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    """New positions of each forward, by whose attention: one pass for all, or one for each session."""
    model = load_target("tiny:seed=1")
    assert isinstance(model, HuggingFaceModel)
    ways = batching_measure._ways(
        model,
        [[5] * 20 for _ in LENGTHS],
        [[6] * count for count in LENGTHS],
        [7] * (batching_measure.CHUNK_BEHIND + CHUNK),
    )
    seen: list[tuple[str, int]] = []
    forward = model.wrapped.forward

    def counted(*, input_ids: torch.Tensor, **settings: Any) -> Any:
        seen.append((model.wrapped.config._attn_implementation, input_ids.shape[1]))
        return forward(input_ids=input_ids, **settings)

    monkeypatch.setattr(model.wrapped, "forward", counted)
    expected = {
        "together": [(IMPLEMENTATION, sum(LENGTHS))],
        "in_turn": [(IMPLEMENTATION, count) for count in LENGTHS],
        "dynamic_cache": [("sdpa", count) for count in LENGTHS],
        "with_chunk": [(IMPLEMENTATION, sum(LENGTHS) + CHUNK)],
    }
    for _ in range(2):  # a way leaves everything as it was
        for way, passes in expected.items():
            seen.clear()
            assert ways[way]() > 0
            assert seen == passes


def test_rounds_are_counted_without_the_first() -> None:
    """One to warm up, then as many times of each way as were asked for."""
    model = load_target("tiny:seed=1")
    assert isinstance(model, HuggingFaceModel)
    told: list[int] = []
    times = pass_times(model, rounds=2, progress=told.append)
    assert told == [0, 1, 2]
    assert len(times.together) == len(times.in_turn) == len(times.with_chunk) == 2


def test_the_command_ends_with_its_object(capfd: pytest.CaptureFixture[str]) -> None:
    """Every key that the help names is there, the table goes to standard error."""
    assert main(["bench", "batching", "--rounds", "1", "--json", "--target", "tiny:seed=1"]) == 0
    out, err = capfd.readouterr()
    found = json.loads(out)
    for name, _ in LINES:
        assert found[name] > 0
    named = [line.split()[0].rstrip(",") for line in EPILOG.splitlines() if line[:3].strip()]
    assert {name for name in named if name != "the"} <= set(found)
    assert found["bytes_per_token_fp32"] == 2 * found["bytes_per_token"]
    assert "16 sessions" in err


def test_a_model_without_keys_and_values_is_refused(capfd: pytest.CaptureFixture[str]) -> None:
    """By the option's name, with a remedy."""
    assert main(["bench", "batching", "--target", "synthetic:"]) == 2
    assert "--target" in capfd.readouterr().err
