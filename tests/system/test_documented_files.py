"""Files that the documents show: written as they stand there, they are what the text says of them.

That commands which use them do what they should is tested with all other commands.
"""

import sys
from dataclasses import replace
from pathlib import Path

import pytest
from tests.harness.documented import DOCUMENTS, files
from tests.harness.reports import REPORT

from draftwire.nodes.controller.choice import make_policy
from draftwire.runtime.config import ServeSettings, load_topology


@pytest.fixture(autouse=True)
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of them in one folder, as a reader has them, from which commands are run."""
    for document in DOCUMENTS:
        for name, text in files(document).items():
            (tmp_path / name).write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))


def test_files_can_be_read() -> None:
    """Programs compile, topologies are topologies, with the traces that they name."""
    shown = [name for document in DOCUMENTS for name in files(document)]
    assert len(set(shown)) == len(shown) >= 8
    for name in shown:
        if name.endswith(".py"):
            compile(Path(name).read_text(), name, "exec")
        elif name.endswith(".toml"):
            load_topology(name)


def test_prometheus_looks_where_the_server_is() -> None:
    """The address in its file is the server's by default."""
    serve = ServeSettings()
    assert f'targets: ["{serve.host}:{serve.port}"]' in Path("prometheus.yml").read_text()


def test_the_policy_drafts_by_acceptance_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tutorial's own policy: more drafts the more of them stand, rows of 32, whatever the link."""
    monkeypatch.delitem(sys.modules, "my_policy", raising=False)
    policy = make_policy(load_topology("mine.toml").controller.policy)
    plans = []
    for accepted in (3, 0):
        for _ in range(60):
            policy.observe(replace(REPORT, accepted=accepted))
        plans.append(policy.plan(REPORT.device, REPORT.request))
    assert [(plan.k, plan.gamma) for plan in plans] == [(32, 8), (32, 1)]


def test_the_frugal_one_stays_on_its_ladder(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that stands on the controller that ships never asks for more than it says."""
    monkeypatch.delitem(sys.modules, "my_policy", raising=False)
    policy = make_policy("my_policy:Frugal")
    for step in range(40):
        policy.observe(replace(REPORT, step=step, accepted=3))
        plan = policy.plan(REPORT.device, REPORT.request)
        assert plan.k in (3, 8, 16, 32) and plan.gamma <= 4
        assert plan.belief is not None
