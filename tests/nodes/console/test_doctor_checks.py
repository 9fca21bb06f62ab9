"""What the doctor makes of what it has found: values in, lines with a remedy out."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from draftwire.codecs.frame import PROTOCOL_VERSION
from draftwire.codecs.messages import Hello, Reason, Refused, Welcome
from draftwire.nodes.console.cli import parser
from draftwire.nodes.console.doctor import pair
from draftwire.nodes.console.doctor.checks import Check, Status, healthy
from draftwire.nodes.console.doctor.examine import Report, describe, refusal_of
from draftwire.nodes.console.doctor.figures import Rate, spread
from draftwire.nodes.console.doctor.hops import Failure, Found, Hop, Stage, hops_of, judge_hop
from draftwire.nodes.console.doctor.machine import judge_memory, judge_versions
from draftwire.nodes.console.doctor.pair import EndFound, judge_models, look_at_model
from draftwire.nodes.console.doctor.probing import Measured
from draftwire.nodes.console.doctor.view import as_json, line
from draftwire.nodes.models.synthetic import SyntheticTokenizer
from draftwire.runtime.config import ModelSettings, Topology, parse_topology
from draftwire.runtime.security import Role, Service

CONFIG = " --config t.toml"

THROUGH = Hop(
    origin=Role.DEVICE, destination=Role.TARGET, address="tcp://10.0.0.7:5700", through=Role.CHANNEL
)
DIRECT = Hop(origin=Role.DEVICE, destination=Role.TARGET, address="tcp://10.0.0.7:5701")

HELLO = Hello(protocol_version=PROTOCOL_VERSION, noise_version=1, vocab_size=64, fingerprint=b"fingered")

SECURED = """
[target]
address = "tcp://10.0.0.7:5701"
"""


def _measured(ahead_s: float = 0.0) -> Measured:
    return Measured(
        rtt=spread([0.040, 0.041, 0.044]),
        uplink=Rate(bps=1.04e6, at_least=False),
        downlink=Rate(bps=80e6, at_least=True),
        clock_ahead_s=ahead_s,
        clock_error_s=0.02,
    )


def _broken(hop: Hop, stage: Stage, text: str = "seen", remedy: str = "") -> list[Check]:
    failure = Failure(stage=stage, text=text, remedy=remedy)
    return judge_hop(Found(hop=hop, secured=True, connected_s=1e-3, failure=failure), config=CONFIG)


# Hops -------------------------------------------------------------------------------------------------------


def test_hops_of_each_role() -> None:
    """Each role looks at the hop that begins with it; a channel stands between device and target."""
    with_channel, without = Topology.default(), parse_topology(SECURED)
    every = [hop.name for hop in hops_of(with_channel, tuple(Role))]
    assert every == ["device -> channel -> target", "channel -> target", "target -> controller"]
    assert [hop.name for hop in hops_of(without, tuple(Role))] == ["device -> target", "target -> controller"]
    assert hops_of(with_channel, [Role.CONTROLLER]) == ()
    watched = hops_of(parse_topology("[observer]\n[channel]"), tuple(Role))
    to_observer = [hop for hop in watched if hop.destination is Role.OBSERVER]
    assert [hop.origin.value for hop in to_observer] == ["device", "channel", "target", "controller"]
    assert {(hop.service, hop.address) for hop in to_observer} == {(Service.OBSERVER, "tcp://127.0.0.1:5704")}
    assert [hop.name for hop in watched if hop not in to_observer] == every


def test_a_hop_that_stands() -> None:
    """Round trip and both rates are told, a bound as a bound; the BS's agreement has its own line."""
    found = Found(
        hop=DIRECT,
        secured=True,
        connected_s=3.1e-4,
        measured=_measured(),
        answer=Welcome(boot=1),
        hello=HELLO,
    )
    checks = judge_hop(found, config=CONFIG)
    assert healthy(checks)
    assert [check.name for check in checks] == ["hop", "clock", "agreement"]
    for word in ("round trip 41 ms", "up 1.04 Mbit/s", "down at least 80 Mbit/s", "0.31 ms", "with keys"):
        assert word in checks[0].seen


@pytest.mark.parametrize(
    ("stage", "words"),
    [
        (Stage.NAME, "IP address in [channel] address"),
        (Stage.REFUSED, "start `draftwire channel --config t.toml`"),
        (Stage.UNANSWERED, "open port 5700/tcp in the firewall of the channel's machine"),
        (Stage.NO_WAY, "one network"),
        (Stage.STRANGER, "`draftwire doctor --config t.toml --role channel`"),
    ],
)
def test_the_first_leg_fails(stage: Stage, words: str) -> None:
    """What fails on the way to the channel is the hop to the channel; the rest is not looked at."""
    first, rest = _broken(THROUGH, stage)
    assert (first.status, first.subject) == (Status.FAIL, "device -> channel")
    assert words in first.remedy
    assert (rest.status, rest.subject) == (Status.SKIP, "device -> channel -> target")


def test_silence_behind_a_channel() -> None:
    """A channel that takes messages and brings no answer: its own hop stands, the one behind it fails."""
    first, second = _broken(THROUGH, Stage.SILENCE)
    assert (first.status, first.subject) == (Status.OK, "device -> channel")
    assert (second.status, second.subject) == (Status.FAIL, "channel -> target")
    for words in (
        "start `draftwire target --config t.toml`",
        "`draftwire doctor --config t.toml --role channel`",
    ):
        assert words in second.remedy


def test_silence_without_a_channel() -> None:
    """The same without a channel is the hop to the target."""
    (only,) = _broken(DIRECT, Stage.SILENCE)
    assert (only.status, only.subject) == (Status.FAIL, "device -> target")
    assert "start it anew: `draftwire target --config t.toml`" in only.remedy


def test_a_remedy_that_was_told_stays() -> None:
    """Whoever saw the handshake fail knows best what to do about it."""
    (only,) = _broken(
        DIRECT, Stage.HANDSHAKE, "it does not allow our key", "draftwire keys allow phone-1.key"
    )
    assert (only.seen, only.remedy) == ("it does not allow our key", "draftwire keys allow phone-1.key")


def test_missing_keys_are_no_second_failure() -> None:
    """Without keys a hop is skipped: the keys have a line of their own that fails."""
    assert {check.status for check in _broken(THROUGH, Stage.KEYS)} == {Status.SKIP}


@pytest.mark.parametrize("reason", [Reason.VOCABULARY, Reason.PROTOCOL_VERSION, Reason.NOISE_VERSION])
def test_a_refused_hello(reason: Reason) -> None:
    """The BS's own words, which have both values, and what to do; the hop itself stands."""
    answer = Refused(reason=reason, detail="the device has 64, the target 65")
    found = Found(hop=DIRECT, secured=False, measured=_measured(), answer=answer, hello=HELLO)
    hop, _, agreement = judge_hop(found, config=CONFIG)
    assert hop.status is Status.OK
    assert (agreement.status, agreement.seen) == (Status.FAIL, answer.detail)
    assert ("[pair]" if reason is Reason.VOCABULARY else "same version") in agreement.remedy


def test_a_bs_of_another_version_that_knows_no_probe() -> None:
    """It fails for its version, with both values, and not for its silence."""
    answer = Refused(reason=Reason.PROTOCOL_VERSION, detail="the device has 3, the target 2")
    failure = Failure(stage=Stage.VERSION, text="answers a Hello, and no probe")
    hop, agreement = judge_hop(
        Found(hop=DIRECT, secured=False, failure=failure, answer=answer, hello=HELLO), config=CONFIG
    )
    assert (hop.status, agreement.status) == (Status.FAIL, Status.FAIL)
    assert "same version" in hop.remedy and agreement.seen == answer.detail


@pytest.mark.parametrize(
    ("reason", "stage", "words"),
    [
        (Reason.IDENTITY, Stage.IDENTITY, "[device] name"),
        (Reason.PROTOCOL_VERSION, Stage.VERSION, "same version"),
        (Reason.BUSY, Stage.TURNED_AWAY, "look at the target's log"),
    ],
)
def test_a_refused_first_question(reason: Reason, stage: Stage, words: str) -> None:
    """What a node refuses us for is told as such: the name, the version, or whatever else it says."""
    failure = refusal_of(DIRECT, Refused(reason=reason, detail="16 requests already"))
    assert failure.stage is stage and "16 requests already" in failure.text
    (only,) = judge_hop(Found(hop=DIRECT, secured=True, failure=failure), config=CONFIG)
    assert (only.status, only.subject) == (Status.FAIL, "device -> target") and words in only.remedy
    *_, behind = judge_hop(Found(hop=THROUGH, secured=True, failure=failure), config=CONFIG)
    assert (behind.status, behind.subject) == (Status.FAIL, THROUGH.name)


@pytest.mark.parametrize(
    ("ahead_s", "word"), [(3600.4, "3600 s, it is ahead"), (-86400.0, "86400 s, it is behind")]
)
def test_a_clock_that_is_off_is_no_failure(ahead_s: float, word: str) -> None:
    """It is told, with its effect, and nothing fails because of it."""
    checks = judge_hop(Found(hop=DIRECT, secured=False, measured=_measured(ahead_s)), config=CONFIG)
    assert checks[1].status is Status.WARN and word in checks[1].seen and "line up" in checks[1].seen
    assert healthy(checks)


# The machine ------------------------------------------------------------------------------------------------


def _versions(installed: dict[str, str], *, python: str = "3.11.2", has_curve: bool = True) -> list[Check]:
    return judge_versions(
        ["pyzmq>=26", "torch>=2.4", "transformers<6,>=4.57", "mypy>=1; extra == 'dev'"],
        installed=installed.get,
        python=python,
        wanted_python=">=3.11",
        libzmq="4.3.5",
        has_curve=has_curve,
    )


GOOD = {"pyzmq": "27.1", "torch": "2.13.0+cpu", "transformers": "4.57.1"}


def test_versions() -> None:
    """What is new enough is one line; what is too old, too new or absent fails with its pip command."""
    (fine,) = _versions(GOOD)
    assert fine.status is Status.OK and f"protocol {PROTOCOL_VERSION}" in fine.seen and "CURVE" in fine.seen
    (old,) = _versions(GOOD | {"torch": "2.3.1"})
    assert (old.subject, old.remedy) == ("torch", "pip install 'torch>=2.4'") and "2.3.1" in old.seen
    (new,) = _versions(GOOD | {"transformers": "6.0"})
    assert (new.status, new.subject) == (Status.FAIL, "transformers")
    (absent,) = _versions({name: GOOD[name] for name in ("torch", "transformers")})
    assert absent.subject == "pyzmq" and "not installed" in absent.seen
    assert "CURVE" in _versions(GOOD, has_curve=False)[0].seen
    assert "3.10.1" in _versions(GOOD, python="3.10.1")[0].seen


@pytest.mark.parametrize(
    ("available", "status"),
    [
        (8_000_000_000, Status.OK),
        (1_800_000_000, Status.WARN),
        (900_000_000, Status.FAIL),
        (None, Status.SKIP),
    ],
)
def test_memory(available: int | None, status: Status) -> None:
    """A gigabyte and a quarter of weights against what is free."""
    check = judge_memory({"draft": 50_000_000, "target": 1_200_000_000}, available)
    assert check.status is status
    assert status is Status.SKIP or "1.2 GB" in check.seen
    assert bool(check.remedy) == (status in (Status.WARN, Status.FAIL))


def test_memory_of_what_is_not_known() -> None:
    """Nothing to load, or nothing known of its size, is not looked at."""
    assert judge_memory({}, 10).status is Status.SKIP
    assert judge_memory({"target": None}, 10).status is Status.SKIP


# Models -----------------------------------------------------------------------------------------------------


def test_the_shipped_pair() -> None:
    """Both tokenizers load and agree, and the weights' sizes are known without loading them."""
    found = {"draft": look_at_model(ModelSettings(), "draft")}
    assert found["draft"].weights_bytes and 15e6 < found["draft"].weights_bytes < 25e6
    twice = look_at_model(ModelSettings(dtype="float32"), "draft").weights_bytes
    assert twice is not None and twice > found["draft"].weights_bytes
    hello = found["draft"].hello()
    assert hello is not None and hello.protocol_version == PROTOCOL_VERSION and hello.vocab_size == 49152


def test_pairs_that_do_not_fit() -> None:
    """Two vocabularies are told with both values."""
    draft, target = (
        EndFound(model="a", vocab_size=64, fingerprint=b"one"),
        EndFound(model="b", vocab_size=65, fingerprint=b"two"),
    )
    *_, both = judge_models({"draft": draft, "target": target})
    assert both.status is Status.FAIL
    for word in ("64", "65", b"one".hex(), b"two".hex()):
        assert word in both.seen
    assert healthy(judge_models({"draft": draft, "target": replace(draft, model="b")}))


def test_models_that_are_not_there(tmp_path: Path) -> None:
    """No such folder, no tokenizer in it, no weights in it: each fails with what was looked for."""
    nowhere = look_at_model(ModelSettings(model=str(tmp_path / "no")), "draft")
    (tmp_path / "tokenizer.json").write_text("{}")
    for found in (nowhere, look_at_model(ModelSettings(model=str(tmp_path)), "draft")):
        (check,) = judge_models({"draft": found})
        assert check.status is Status.FAIL and str(tmp_path) in check.seen and "[pair] draft" in check.remedy


def test_weights_that_have_to_come(tmp_path: Path) -> None:
    """Weights that a first start fetches are a warning."""
    found = EndFound(model="o/m", vocab_size=64, fingerprint=b"one", absent="the first start downloads them")
    (check,) = judge_models({"target": found})
    assert check.status is Status.WARN and check.remedy == found.absent


@pytest.mark.parametrize(
    ("name", "file"), [("o/m", "model.safetensors"), ("o/m/m.gguf", "m.gguf"), ("o/m/other.gguf", "")]
)
def test_weights_of_the_hub(name: str, file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What an earlier start has left in the hub's cache is here, a GGUF file too; another file is not."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(pair, "load_tokenizer", lambda *_, **__: SyntheticTokenizer(64))
    kept = tmp_path / "models--o--m"
    (kept / "refs").mkdir(parents=True)
    (kept / "refs" / "main").write_text("0" * 40)
    copy = kept / "snapshots" / ("0" * 40)
    copy.mkdir(parents=True)
    header = b'{"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}'
    (copy / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(8))
    (copy / "m.gguf").write_bytes(bytes(1000))
    found = look_at_model(ModelSettings(model=name), "target")
    assert found.weights_bytes == {"model.safetensors": 8, "m.gguf": 1000, "": None}[file]
    assert found.absent == ("" if file else "the first start downloads them")


# What is shown ----------------------------------------------------------------------------------------------


def test_configuration_names_what_is_opened_and_connected_to() -> None:
    """A line for each node of this machine."""
    device, channel, target, controller, observer = describe(Topology.default(), tuple(Role))
    assert "opens no port" in device.seen and "connects to tcp://127.0.0.1:5700" in device.seen
    assert "tcp://127.0.0.1:5703" in channel.seen and "connects to tcp://127.0.0.1:5701" in channel.seen
    assert "opens tcp://127.0.0.1:5701" in target.seen and "connects to nothing" in controller.seen
    assert observer.seen == "opens no port, connects to nothing"
    watched = parse_topology("[observer]\n[channel]")
    device, channel, target, controller, observer = describe(watched, tuple(Role))
    assert device.seen.endswith("connects to tcp://127.0.0.1:5700 and tcp://127.0.0.1:5704")
    assert all(one.seen.endswith("tcp://127.0.0.1:5704") for one in (channel, target, controller))
    assert observer.seen == "opens tcp://127.0.0.1:5704, connects to nothing"


def test_lines_and_json() -> None:
    """A line has its mark, what was seen of what, the remedy below; JSON has all of it, and the hops."""
    check = Check(name="hop", subject="a -> b", status=Status.FAIL, seen="seen", remedy="do")
    assert line(check, coloured=False) == "FAIL  hop a -> b: seen\n      > do"
    assert line(check, coloured=True).startswith("\x1b[31;1mFAIL\x1b[0m")
    found = Found(hop=THROUGH, secured=True, connected_s=1e-3, measured=_measured())
    report = json.loads(json.dumps(as_json(Report(checks=[check], hops=[found]))))
    assert report["ok"] is False and report["checks"][0]["remedy"] == "do"
    (hop,) = report["hops"]
    assert (hop["from"], hop["through"], hop["to"]) == ("device", "channel", "target")
    assert hop["rtt_s"] == 0.041 and hop["downlink"] == {"bps": 80e6, "at_least": True}


def test_what_the_command_takes() -> None:
    """A role that is none is refused by the command line itself."""
    args = parser().parse_args(["doctor", "--role", "target", "--role", "device", "--json"])
    assert args.role == ["target", "device"] and args.json
    with pytest.raises(SystemExit):
        parser().parse_args(["doctor", "--role", "radio"])


@pytest.mark.parametrize(
    ("text", "options", "word"),
    [
        ("[target]\nadress = 'x'", [], "adress"),
        (SECURED, ["--role", "channel"], "no channel"),
        ("", ["--name", ""], "--name"),
        (f"{SECURED}bind = 'tcp://*:5701'\n[security]\nplain = true\n", [], "--role"),
    ],
)
def test_a_configuration_that_will_not_do(
    text: str, options: list[str], word: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is the one check that fails, with exit code 1, also for a program."""
    path = tmp_path / "t.toml"
    path.write_text(text)
    args = parser().parse_args(["doctor", "--config", str(path), *options, "--json"])
    assert args.run(args) == 1
    report = json.loads(capsys.readouterr().out)
    (check,) = report["checks"]
    assert not report["ok"] and check["name"] == "configuration" and word in check["seen"]
