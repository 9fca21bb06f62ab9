"""The controller of one's own that docs/operations.md shows: run as it stands there."""

import re
import sys
from pathlib import Path

import pytest
from tests.harness.cell import CHANNEL, cell, greedy, request, run, text

from draftwire.nodes.controller.choice import make_policy
from draftwire.runtime.config import parse_topology

DOCS = Path(__file__).parents[3] / "docs" / "operations.md"


def _section() -> str:
    text = DOCS.read_text(encoding="utf-8")
    return text.partition("### A controller of your own\n")[2].partition("\n## ")[0]


def test_the_documented_policy_steers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Saved and chosen under the names that the text gives, it moves K and gamma, and not the answer."""
    (code,) = re.findall(r"```python\n(.*?)```", _section(), flags=re.DOTALL)
    (file,) = re.findall(r"in a file `(\w+\.py)`", _section())
    (line,) = re.findall(r"`\[controller\] (policy = .*?)`", _section())
    assert len(code.split("class ", 1)[1].splitlines()) <= 20
    (tmp_path / file).write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, Path(file).stem, raising=False)
    policy = make_policy(parse_topology(f"[controller]\n{line}\n").controller.policy)

    async def main() -> None:
        async with cell(policy=policy) as bs:
            await bs.channel("rate 1mbit delay 20ms")
            device = await bs.device(address=CHANNEL)
            answer = await text(device, request(temperature=0.0, max_new_tokens=120))
            assert answer == greedy(bs.pair.target, (1, 2, 3), 120)
            assert len(await text(device, request(max_new_tokens=120))) == 120
            gammas = {step.plan.gamma for step in bs.reports}
            assert {1, 2, 3, 4} <= gammas <= set(range(1, 9))
            for step in bs.reports[2:]:
                assert step.plan.k == min(64, 32 if step.plan.gamma < 4 else 128)

    run(main())
