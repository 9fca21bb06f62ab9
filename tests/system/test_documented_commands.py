"""Every command line of README.md and of the documents: it parses, and something runs it.

Files that they show are written as they stand there before the commands are run.

HOW is the whole list. What it changes in a command before it runs it is what stands there and nothing else:
fewer tokens, a smaller grid, another machine's address. A command that is new in the documentation needs its
row here.
"""

import os
import re
import shlex
import subprocess
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, redirect_stderr
from dataclasses import dataclass
from io import StringIO
from itertools import groupby
from typing import Final

import pytest
from tests.harness.documented import DOCUMENTS, Documented, blocks, files, inline, without_settings
from tests.harness.namespaces import ROOT
from tests.harness.processes import WITHIN_S
from tests.harness.replay import REPOSITORY, Machines, Run, Serve, machines

from draftwire.nodes.console.cli import parser


@dataclass(frozen=True, slots=True, kw_only=True)
class By:
    """Run by somebody else."""

    file: str
    "from the root"
    test: str
    "the function in it; or, for a script, how a line of it begins"


How = Run | Serve | By

SHORT: Final = "--max-new-tokens 4"
QUESTION: Final = 'draftwire generate "Why is the sky blue?"'
ASKED_OF_MINE: Final = f"{QUESTION} --draft my-draft --k 32 --gamma 2 --seed 1"
CHANNEL: Final = {"FILE": "configs/changing-link.toml"}
SHIPPED: Final = {"my-draft": "smollm2"}
"""In place of a draft that takes minutes to make."""
OUR_TEXT: Final = f"--text {ROOT / 'docs' / 'theory.md'}"
SIX_SECONDS: Final = {"--seconds 60": "--seconds 6"}

HOW: Final[Mapping[str, How | tuple[How, ...]]] = {
    "make test": By(file=".ci/run", test="make test"),
    "make test-codec CODEC=my_codec:PlainJson": By(
        file="tests/codecs/test_row_codec_option.py", test="test_codecs_of_ones_own_join_the_suite"
    ),
    "cp tests/codecs/plain_json_codec.py my_codec.py": Run(changing={"tests": str(ROOT / "tests")}),
    "make demo": By(file="tests/system/test_demo_and_bench.py", test="test_demo"),
    "draftwire demo": By(file="tests/system/test_demo_and_bench.py", test="test_demo"),
    "draftwire chaos": Run(adding="--schedules 3", says="failed: 0"),
    "draftwire chaos --schedules 10000 --json": Run(changing={"10000": "3"}, says='"failed":0'),
    "draftwire chaos --replay 17": Run(says="every promise held"),
    "draftwire chaos --schedule failed.json": By(
        file="tests/nodes/console/chaos/test_chaos_command.py",
        test="test_a_schedule_from_a_file_is_that_of_its_seed",
    ),
    "draftwire chaos --soak 30": Run(changing={"30": "0.01"}, says="broken: 0"),
    "draftwire chaos --real": By(
        file="tests/system/test_chaos_real.py", test="test_every_promise_holds_over_two_kills_of_each_node"
    ),
    "draftwire chaos --real --kills 2 --seed 7 --json": By(
        file="tests/system/test_chaos_real.py", test="test_every_promise_holds_over_two_kills_of_each_node"
    ),
    "draftwire chaos --real --minutes 10": By(
        file="tests/system/test_chaos_real.py", test="test_nodes_at_work_for_half_a_minute"
    ),
    "draftwire bench recovery": By(
        file="tests/system/test_chaos_real.py", test="test_a_node_that_was_started_again_is_soon_of_use"
    ),
    QUESTION: Run(adding=SHORT),
    f"{QUESTION} --link 'rate 1mbit delay 20ms 3ms'": Run(adding=SHORT),
    f"{QUESTION} --schedule '5s rate 1mbit; 10s rate 20mbit'": Run(adding=SHORT),
    f"{QUESTION} --k 24 --gamma 4": Run(adding=SHORT, says="K 24"),
    f"{QUESTION} --profile paper --json": Run(adding=SHORT, says='"paced":true'),
    f"{QUESTION} --acceptance coupled": Run(adding=SHORT, says="tokens |"),
    f"{QUESTION} --acceptance coupled --max-waste 0.5": Run(adding=SHORT, says="tokens |"),
    f"{QUESTION} --acceptance coupled --gamma 4 --min-draft 4": Run(
        adding=SHORT, says="coupled, gamma 4, waits for all"
    ),
    'draftwire device --config FILE --acceptance auto "Why is the sky blue?"': By(
        file="tests/system/test_roles.py", test="test_a_device_asks_for_ids_only"
    ),
    "draftwire compare --acceptance auto --link 'rate 20mbit delay 50ms'": Run(
        adding="--tokens 8 --repeats 1 --k 32 --gamma 2", says="pipelined"
    ),
    "draftwire plan --alpha .35 --c .07 --rate 20mbit --rtt 100ms --acceptance coupled": Run(
        says="pipelined: gamma"
    ),
    "draftwire simulate --devices 20 --seconds 30 --acceptance coupled": Run(
        changing={"20": "3", "30": "5"}, says="ids only: "
    ),
    "draftwire plan --alpha 0.36 --c 0.02 --rate 5mbit --rtt 10ms": Run(says="gamma"),
    "draftwire plan --alpha-of-k 3=.28,32=.34,320=.354 --c .07 --rate 5mbit --rtt 2ms": Run(says="gamma"),
    "draftwire compare --link 'rate 1mbit delay 5ms' --plot c.png": Run(
        adding="--tokens 8 --repeats 1 --k 32 --gamma 2"
    ),
    "draftwire compare --link 'rate 1mbit delay 20ms'": Run(adding="--tokens 8 --repeats 1 --k 32 --gamma 2"),
    "draftwire compare --schedule 'rate 20mbit delay 2ms; 5s rate 1mbit; repeat 10s' --tokens 256 "
    "--record r.jsonl": Run(
        changing={"256": "8", "r.jsonl": "compared.jsonl"}, adding="--repeats 1 --k 32 --gamma 2"
    ),
    "draftwire compare --from r.jsonl --plot r.png": Run(changing={"r.jsonl": "compared.jsonl"}),
    "draftwire sweep --k 3,32,320 --gamma 1..4 --plot s.png": Run(
        changing={"1..4": "1..2"}, adding="--tokens 4"
    ),
    'draftwire generate "..." --max-new-tokens 300 --record r.jsonl': Run(changing={"300": "24"}),
    "draftwire explain r.jsonl --plot e.png": Run(),
    f"{QUESTION} --capture c.jsonl": Run(adding=SHORT),
    "draftwire inspect c.jsonl": Run(says="tokens committed"),
    "draftwire inspect c.jsonl --frame 6 --entries 3": Run(says="#6 "),
    "draftwire inspect c.jsonl -v --json": Run(says='"message":"Commit"'),
    # The models of the hub are not here, and nothing is downloaded: it says what is missing.
    'draftwire generate "..." --draft HuggingFaceTB/SmolLM2-135M-Instruct '
    "--target HuggingFaceTB/SmolLM2-1.7B-Instruct": Run(code=2, says="HuggingFaceTB/SmolLM2-135M-Instruct"),
    "draftwire models check HuggingFaceTB/SmolLM2-135M-Instruct HuggingFaceTB/SmolLM2-1.7B-Instruct": Run(
        code=2, says="HuggingFaceTB/SmolLM2-135M-Instruct"
    ),
    "draftwire serve": Serve(),
    "python ask.py": Run(),
    "python app.py": Run(says="'speed_up'"),
    "python ask_direct.py": Run(),
    "curl -s http://127.0.0.1:8000/metrics": Run(says="draftwire_accepted_tokens_total"),
    "curl -s http://127.0.0.1:8000/link -H 'Content-Type: application/json' "
    """-d '{"rate_bps": 400000, "delay_s": 0.02, "loss": 0, "direction": "both", "device": null}'""": Run(
        says='"uplink":"rate 400kbit delay 20ms"'
    ),
    "python -c 'from pathlib import Path; from draftwire.nodes.models.tiny import write_pair; "
    """write_pair(Path("pair"))'""": Run(),
    "draftwire models check pair/draft pair/target --tokens 128": Run(
        changing={"128": "32"}, says="one for both"
    ),
    'draftwire generate "Hello" --draft pair/draft --target pair/target --max-new-tokens 32': Run(
        says="tokens |"
    ),
    'draftwire generate "Hello" --draft pair/draft --target smollm2': Run(
        code=3, says="the device has 259, the target 49152"
    ),
    "python scripts/distil_draft.py all --work distil --out my-draft --tokens 20000 --seen 100000 "
    "--max-held-out 32": By(
        file="tests/scripts/test_distil_draft.py", test="test_all_stages_make_a_draft_that_loads_and_accepts"
    ),
    "draftwire models check my-draft smollm2 --draft-step 3.1ms --target-step 44.5ms --rtt 2ms "
    "--tokens 256": Run(changing=SHIPPED | {"256": "32"}, says="c = 0.070 as told"),
    "draftwire tables learn --draft my-draft --prompts questions.txt --target smollm2 --rows 2000 "
    "--k 8,32,320 --out my.tables": Run(
        changing=SHIPPED | {"8,32,320": "32", "--prompts questions.txt --target smollm2": OUR_TEXT},
        says="used otherwise",
    ),
    f"{ASKED_OF_MINE} --tables none": Run(changing=SHIPPED, adding=SHORT, says="frames, plain"),
    f"{ASKED_OF_MINE} --tables my.tables": Run(changing=SHIPPED, adding=SHORT, says="frames, tables"),
    "draftwire link plot 'trace my_drive.csv delay 5ms 2ms' --output drive.svg": Run(says="6.067"),
    "draftwire link plot --config two.toml --device device-1/02 --output second.svg": Run(
        says="uplink: rate 2mbit delay 20ms; 10s rate 200kbit; repeat 20s"
    ),
    "draftwire up two.toml --prompts questions.txt --answers 1": Run(says="2 devices are ready"),
    "draftwire link show --config two.toml": Run(says="device-1/02"),
    "draftwire link set 'rate 100kbit delay 80ms' --device device-1/02 --config two.toml": Run(),
    "draftwire link set 'rate 5mbit delay 10ms' --config two.toml": Run(says="rate 5mbit"),
    'draftwire generate "Tell me a story about a fox." --capture fox.jsonl': Run(adding=SHORT),
    "draftwire inspect fox.jsonl": Run(says="tokens committed"),
    "sed s/my_policy:Mine/adaptive/ mine.toml > adaptive.toml": Run(),
    "sed s/my_policy:Mine/my_policy:Frugal/ mine.toml > frugal.toml": Run(),
    "PYTHONPATH=. draftwire simulate mine.toml --devices 3 --seconds 60 --record mine.jsonl": Run(
        changing=SIX_SECONDS, says="mean K 32,"
    ),
    "PYTHONPATH=. draftwire simulate frugal.toml --devices 3 --seconds 60 --record frugal.jsonl": Run(
        changing=SIX_SECONDS, says="trace hash"
    ),
    "draftwire simulate adaptive.toml --devices 3 --seconds 60 --record adaptive.jsonl": Run(
        changing=SIX_SECONDS, says="trace hash"
    ),
    "draftwire explain frugal.jsonl --device device-0001": Run(says="target alone, predicted"),
    "draftwire inspect mine.jsonl": Run(says="gamma 1 to "),
    "draftwire keys new phone-1": Run(at="device-host"),
    "draftwire keys new phone-2": Run(at="phone-2-host"),
    "draftwire keys new channel": Run(at="channel-host"),
    "draftwire keys new target": Run(at="bs-host"),
    "draftwire keys new controller": Run(at="bs-host"),
    "scp keys/phone-1.key bs-host:dw/": Run(at="device-host"),
    "scp keys/phone-1.key channel-host:dw/": Run(at="device-host"),
    "scp keys/phone-2.key bs-host:dw/": Run(at="phone-2-host"),
    "scp keys/channel.key device-host:dw/": Run(at="channel-host"),
    "scp keys/channel.key bs-host:dw/": Run(at="channel-host"),
    "scp keys/target.key device-host:dw/": Run(at="bs-host"),
    "scp keys/target.key phone-2-host:dw/": Run(at="bs-host"),
    "scp keys/target.key channel-host:dw/": Run(at="bs-host"),
    "draftwire keys allow phone-1.key": Run(at="bs-host"),
    "draftwire keys allow phone-2.key": Run(at="bs-host"),
    "draftwire keys allow phone-1.key target.key": Run(at="channel-host"),
    "draftwire keys allow target.key": (Run(at="device-host"), Run(at="phone-2-host")),
    "draftwire keys allow channel.key": (Run(at="bs-host"), Run(at="device-host")),
    "draftwire target --config two-machines.toml": Serve(at="bs-host"),
    "draftwire controller --config two-machines.toml": Serve(at="bs-host"),
    'draftwire device --config two-machines.toml "Why is the sky blue?"': Run(
        at="device-host", says="tokens |"
    ),
    'draftwire device --name phone-2 --config two-machines.toml "Why is the sky blue?"': Run(
        at="phone-2-host", says="tokens |"
    ),
    "draftwire target --config three-machines.toml": Serve(at="bs-host"),
    "draftwire controller --config three-machines.toml": Serve(at="bs-host"),
    "draftwire channel --config three-machines.toml": Serve(at="channel-host"),
    'draftwire device --config three-machines.toml "Why is the sky blue?"': Run(
        at="device-host", says="tokens |"
    ),
    'draftwire device --config FILE --journal journal.jsonl "Why is the sky blue?"': By(
        file="tests/system/test_journal.py", test="test_killed_twice_and_the_bs_between"
    ),
    "draftwire device --config FILE --journal journal.jsonl --resume k3f9a2bx": By(
        file="tests/system/test_journal.py", test="test_killed_twice_and_the_bs_between"
    ),
    """sed -i '/"id":"k3f9a2bx"/d' journal.jsonl""": By(
        file="tests/nodes/device/test_journal.py", test="test_requests_that_have_ended_may_be_deleted"
    ),
    "draftwire generate --prompts prompts.txt --output answers.jsonl --seed 7": Run(
        changing={"prompts.txt": "-"}, adding=SHORT, typed="hello\nand you\n", says="2 answered"
    ),
    "draftwire models check smollm2 smollm2 --draft-step 3.1ms --target-step 44.5ms --rtt 4ms "
    "--rates 100kbit,200kbit,1mbit,5mbit,20mbit": Run(adding="--tokens 24", says="orth it"),
    "draftwire up configs/demo.toml": Run(typed="hello\n"),
    "draftwire up configs/cell-16.toml": Run(typed="hello\n", says="sessions a pass"),
    "draftwire up configs/cell-16.toml --answers 2 --json": Run(
        changing={"2": "1"}, typed="hello\n", says='"jain_fairness"'
    ),
    "draftwire serve --link 'rate 1mbit delay 20ms'": By(
        file="tests/system/test_serve.py", test="test_the_official_client_is_answered"
    ),
    "draftwire serve --config FILE": By(
        file="tests/system/test_serve_station.py", test="test_a_client_that_leaves_ends_the_session"
    ),
    "draftwire serve --host 0.0.0.0 --key-file api.key": By(
        file="tests/system/test_serve.py", test="test_a_key_is_asked_for_and_streams_end_with_the_server"
    ),
    # No keys are there yet: that is what it says.
    **dict.fromkeys(
        ("draftwire observer --config FILE", "draftwire observer --config FILE --record heard.jsonl"),
        By(
            file="tests/system/test_observer.py",
            test="test_the_observer_hears_every_node_and_orders_the_link",
        ),
    ),
    "draftwire doctor --config two-machines.toml": Run(
        at="device-host", code=1, says="draftwire keys new phone-1"
    ),
    "draftwire doctor --config two-machines.toml --role target --role controller": Run(
        at="bs-host", code=1, says="draftwire keys new target"
    ),
    "draftwire doctor --config two-machines.toml --name phone-2 --json": Run(
        at="phone-2-host", code=1, says="draftwire keys new phone-2"
    ),
    "draftwire tables learn --draft ORG/SMALL --prompts prompts.txt --target ORG/LARGE": Run(
        code=2, says="ORG/SMALL"
    ),
    "draftwire tables learn --text answers.txt --out my.tables": Run(
        changing={"answers.txt": str(ROOT / "docs" / "theory.md")},
        adding="--k 3,32 --rows 2000",
        says="over it",
    ),
    "draftwire tables show my.tables": Run(says="bits an entry"),
    "draftwire tables list": Run(says="shipped"),
    "draftwire bench batching --json": Run(
        adding="--rounds 1 --target tiny:seed=1", says='"batch16_over_1_fp32"'
    ),
    "draftwire bench cell --json": Run(adding="--quick --seconds 5", says='"over_target_only"'),
    "draftwire bench enemies --json": Run(adding="--quick --only flood", says='"others_loss_pct"'),
    "draftwire bench codec": Run(adding="--quick --positions 40", says="source model"),
    "draftwire bench codec --json --plot codec.png": Run(
        adding="--quick --positions 40", says='"over_source_model"'
    ),
    # Names in capitals are the reader's to fill in: it says which one is missing.
    "draftwire bench codec --draft DRAFT --target TARGET --text held-out.txt --tables rows.tables": Run(
        code=2, says="DRAFT"
    ),
    "draftwire link plot 'trace lte-like delay 15ms 3ms distribution normal loss 2% arq 40ms'": Run(
        says="delay, 99th percentile, ms"
    ),
    "draftwire link plot --config configs/radio.toml --device edge --output edge.svg": Run(
        says="rayleigh 3db"
    ),
    "draftwire link plot 'rate 20mbit; 5s rate 1mbit; 10s rate 0; 12s rate 20mbit; repeat 20s' "
    "--seconds 40": Run(says="outage"),
    "draftwire link plot 'rate 5mbit delay 20ms 2ms 25% distribution normal loss gemodel 1% 30%'": Run(
        says="rate 5mbit"
    ),
    "draftwire link plot 'tc qdisc add dev eth0 root netem rate 1mbit delay 40ms loss 2%' --seconds 20": Run(
        says="rate 1mbit"
    ),
    "draftwire link plot --config configs/radio.toml --json": Run(says='"uplink":{"link":"trace lte-like'),
    "draftwire up configs/radio.toml": Run(typed="hello\n"),
    "draftwire simulate configs/radio.toml --devices 100 --seconds 60": Run(
        changing={"100": "3", "60": "2"}, says="device"
    ),
    "draftwire simulate --devices 100 --seconds 60": Run(changing={"100": "3", "60": "2"}, says="trace hash"),
    "draftwire simulate configs/changing-link.toml --devices 20 --per-bs 4 --seconds 30 --plot f.png": Run(
        changing={"20": "4", "30": "2"}, says="4 devices at 1 base station"
    ),
    "python scripts/record_acceptance.py mine --draft ORG/SMALL --target ORG/LARGE": By(
        file="tests/scripts/test_record_acceptance.py", test="test_a_recording_of_ones_own_is_simulated"
    ),
    "draftwire simulate --recording mine.npz --devices 20 --seconds 10": By(
        file="tests/scripts/test_record_acceptance.py", test="test_a_recording_of_ones_own_is_simulated"
    ),
    "draftwire simulate --devices 3 --seconds 20 --seed 1 --record fleet.jsonl": Run(
        changing={"20": "4"}, says="seed 1"
    ),
    "draftwire explain fleet.jsonl --device device-0002": Run(says="target alone, predicted"),
    "draftwire link show --config FILE": Run(changing=CHANNEL),
    "draftwire link set 'rate 1mbit delay 40ms' --config FILE": Run(changing=CHANNEL),
    "draftwire link set 'rate 0' --uplink-only --config FILE": Run(changing=CHANNEL),
    "draftwire link set 'rate 20mbit delay 2ms; 5s rate 1mbit; repeat 10s' --address "
    "tcp://127.0.0.1:5703": Run(),
    # Nobody is connected there.
    "draftwire link set 'rate 100kbit delay 80ms' --device phone-1 --config FILE": Run(
        changing=CHANNEL, code=3, says="device 'phone-1' is not connected"
    ),
    "mkdir bs phone": Run(),
    "sed s/192.168.1.20/10.77.0.3/ configs/two-machines.toml > bs/two-machines.toml": Run(),
    "cp bs/two-machines.toml phone": Run(),
    "draftwire keys new target --folder bs/keys": Run(),
    "draftwire keys new controller --folder bs/keys": Run(),
    "draftwire keys new phone-1 --folder phone/keys": Run(),
    "draftwire keys allow bs/keys/target.key --folder phone/keys": Run(),
    "draftwire keys allow phone/keys/phone-1.key --folder bs/keys": Run(),
    "scripts/netns.sh up": Run(),
    "scripts/netns.sh exec bs draftwire target --config bs/two-machines.toml": Serve(),
    "scripts/netns.sh exec bs draftwire controller --config bs/two-machines.toml": Serve(),
    "scripts/netns.sh exec device draftwire device --config phone/two-machines.toml "
    '"Why is the sky blue?"': Run(says="tokens |"),
    "scripts/netns.sh cut device": Run(),
    "scripts/netns.sh mute device": Run(),
    "scripts/netns.sh mend device": Run(),
    "scripts/netns.sh exec device tc qdisc add dev eth0 root tbf rate 1mbit burst 1600 limit 64kb": Run(),
    "scripts/netns.sh down": Run(),
}
"""Each command, without .venv/bin/, and what runs it: in turn, where a section has it several times."""

SERVING_FIRST: Final = {
    "Links that change": ("draftwire channel --config configs/changing-link.toml",),
    "Bend it while it runs": ("draftwire channel --config two.toml",),
}
"""What a section takes for granted to be running: prose above its commands says so."""


def _all() -> list[Documented]:
    return [one for document in DOCUMENTS for one in blocks(document)]


def _place(one: Documented) -> str:
    return f"{one.document}:{one.line}: {one.text}"


def test_every_command_has_its_row() -> None:
    """HOW has each command of the documents, and no other."""
    found = {one.command for one in _all()}
    assert [_place(one) for one in _all() if one.command not in HOW] == []
    assert set(HOW) - found == set()


def test_every_command_parses() -> None:
    """The command line takes each of them, those in sentences too; what they name is in the repository."""
    wrong = list[str]()
    for one in _all():
        words = without_settings(shlex.split(one.command))
        if words[0] == "draftwire":
            wrong += [f"{_place(one)}: {said}" for said in _refused(words[1:])]
        wrong += [f"{_place(one)}: no {word}" for word in words if not _there(word)]
    for document in DOCUMENTS:
        for shown in inline(document):
            said = _refused(shlex.split(shown)[1:])
            wrong += [f"{document}: {shown}: {one}" for one in said if "are required" not in one]
    assert wrong == []


def _refused(words: Sequence[str]) -> list[str]:
    """What the command line says against these words, if anything."""
    said = StringIO()
    try:
        with redirect_stderr(said):
            parser().parse_args(words)
    except SystemExit:
        return [said.getvalue().strip()]
    return []


def _there(word: str) -> bool:
    """Whether a word that looks like a file of ours is one."""
    ours = re.fullmatch(r"(\./)?(configs|scripts|docs|tests|nodes)/[\w./-]+", word)
    return ours is None or (ROOT / word).exists()


@pytest.mark.parametrize("target", sorted({one.text for one in _all() if one.text.startswith("make ")}))
def test_make_knows_its_target(target: str) -> None:
    """`make` has each target that is named, with these variables."""
    ran = subprocess.run(
        [*shlex.split(target), "--dry-run"], cwd=ROOT, capture_output=True, text=True, timeout=WITHIN_S
    )
    assert ran.returncode == 0, ran.stderr


def test_others_really_run_it() -> None:
    """Each file that HOW names has the function or the line that it names."""
    for command, how in HOW.items():
        for one in how if isinstance(how, tuple) else (how,):
            if isinstance(one, By):
                there = f"def {one.test}(" if one.file.endswith(".py") else f"\n{one.test}"
                assert there in (ROOT / one.file).read_text(), command


@pytest.fixture(scope="module")
def made() -> Iterator[Machines]:
    """The machines that the documents speak of."""
    with machines() as all_of_them:
        yield all_of_them


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_command_runs(made: Machines, document: str) -> None:
    """In the order of the document each does what it should, and servers stop when they are told to."""
    wrong, left_out = list[str](), Counter[str]()
    made.write(files(document))
    for section, commands in groupby(blocks(document), key=lambda one: one.section):
        made.start_afresh()
        with ExitStack() as servers:
            for text in SERVING_FIRST.get(section, ()):
                servers.enter_context(made.serving(text, REPOSITORY, wrong))
            for one, how in _in_turn(commands):
                if isinstance(how, By):
                    continue
                if reason := made.why_not(one.text, how.at):
                    left_out[reason] += 1
                elif isinstance(how, Serve):
                    servers.enter_context(made.serving(one.text, how.at, wrong))
                elif said := made.run(one.text, how):
                    wrong.append(f"{_place(one)}: {said}")
    assert not wrong, "\n".join(wrong)
    _need_all_run(left_out, has_to=os.geteuid() == 0 or "CI" in os.environ)


def _need_all_run(left_out: Counter[str], *, has_to: bool) -> None:
    """Fail, or skip where this machine need not be able to run everything, and say why some did not run."""
    if left_out:
        said = "; ".join(f"{count} commands were not run: {reason}" for reason, count in left_out.items())
        (pytest.fail if has_to else pytest.skip)(said)


def test_what_does_not_run_does_not_pass() -> None:
    """Commands that this machine can't run are a skip that says why, and a failure where they have to run."""
    _need_all_run(Counter(), has_to=True)
    with pytest.raises(pytest.skip.Exception, match="2 commands were not run: network namespaces need root"):
        _need_all_run(Counter({"network namespaces need root": 2}), has_to=False)
    with pytest.raises(pytest.fail.Exception, match="need root"):
        _need_all_run(Counter({"network namespaces need root": 2}), has_to=True)


def _in_turn(commands: Iterator[Documented]) -> Iterator[tuple[Documented, How]]:
    """What runs each command of a section."""
    met = Counter[str]()
    for one in commands:
        how = HOW[one.command]
        yield one, how[met[one.command]] if isinstance(how, tuple) else how
        met[one.command] += 1
