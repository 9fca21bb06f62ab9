"""Commands of tc as people paste them, what of them a link lacks, and that no text is anything but a link or
one error that says what to write.
"""

import os
import shutil
import subprocess
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.harness.link_specs import find_trace

from draftwire.runtime.errors import ConfigurationError
from draftwire.runtime.link import parse_link

COMMANDS = [
    # the netem page of the Linux Foundation
    ("tc qdisc add dev eth0 root netem delay 100ms", "delay 100ms"),
    ("tc qdisc change dev eth0 root netem delay 100ms 10ms", "delay 100ms 10ms"),
    ("tc qdisc change dev eth0 root netem delay 100ms 10ms 25%", "delay 100ms 10ms 25%"),
    (
        "tc qdisc change dev eth0 root netem delay 100ms 20ms distribution normal",
        "delay 100ms 20ms distribution normal",
    ),
    ("tc qdisc change dev eth0 root netem loss 0.1%", "loss 0.1%"),
    ("tc qdisc change dev eth0 root netem loss 0.3% 25%", "loss 0.3% 25%"),
    ("tc qdisc change dev eth0 root netem duplicate 1%", "duplicate 1%"),
    ("tc qdisc change dev eth0 root netem corrupt 0.1%", "corrupt 0.1%"),
    ("tc qdisc change dev eth0 root netem delay 10ms reorder 25% 50%", "delay 10ms reorder 25% 50%"),
    ("tc qdisc change dev eth0 root netem delay 100ms 75ms", "delay 100ms 75ms"),
    (
        "# tc qdisc add dev eth0 root handle 1:0 netem delay 100ms\n"
        "# tc qdisc add dev eth0 parent 1:1 handle 10: tbf rate 256kbit buffer 1600 limit 3000\n",
        "delay 100ms limit 1000 tbf rate 256kbit burst 1600b limit 3000b",
    ),
    # the manual pages
    ("tc qdisc add dev eth0 root netem delay 10ms reorder 25% 50% gap 5", "delay 10ms reorder 25% 50% gap 5"),
    ("tc qdisc add dev eth0 root netem rate 5kbit 20", "rate 5kbit overhead 8b 86b"),
    ("tc qdisc add dev eth0 root netem loss gemodel 1% 10% 70% 0.1%", "loss gemodel 1% 10% 70% 0.1%"),
    (
        "tc qdisc add dev eth0 handle 10: root tbf rate 0.5mbit \\\n  burst 5kb latency 70ms",
        "tbf rate 500kbit burst 5kb limit 9495b",
    ),
    # as they come
    (
        "tc qdisc add dev eth0 root handle 1: netem delay 20ms 2ms 25% distribution normal loss 1% "
        "rate 5mbit limit 500",
        "rate 5mbit delay 20ms 2ms 25% distribution normal loss 1% limit 500",
    ),
    (
        "sudo tc qdisc change dev X parent 1:1 handle 10: tbf rate 1mbit burst 32kbit latency 400ms",
        "tbf rate 1mbit burst 4kb limit 54096b",
    ),
    ("$ sudo /usr/sbin/tc qdisc replace dev wlan0 root netem latency 20ms", "delay 20ms"),
    ("qdisc add dev eth0 root netem drop random 5%", "loss 5%"),
    ("netem delay 20ms", "delay 20ms"),
    ("NETEM DELAY 20MS", "delay 20ms"),
    (
        "tbf rate 1mbit burst 1600 limit 3000 overhead 14",
        "overhead 8b 80b tbf rate 1mbit burst 1600b limit 3000b",
    ),
    ("netem limit 9 delay 5ms tbf rate 1mbit limit 64kb", "delay 5ms limit 9 tbf rate 1mbit limit 64kb"),
    (
        "tc qdisc add dev eth0 root netem delay 1ms && tc qdisc add dev eth0 parent 1: tbf rate 1mbit",
        "rate 1mbit delay 1ms",
    ),
    # in a namespace of its own, abbreviated, with notes
    ("ip netns exec phone tc qdisc add dev eth0 root netem delay 5ms", "delay 5ms"),
    ("# sudo ip netns exec phone tc qdisc add dev eth0 root netem delay 5ms", "delay 5ms"),
    ("tc -n phone qdisc add dev eth0 root netem delay 5ms", "delay 5ms"),
    ("sudo tc -s -netns phone qdisc replace dev eth0 root netem delay 5ms", "delay 5ms"),
    (
        "tc q a dev eth0 root netem del 5ms 1ms dist normal dup 1%",
        "delay 5ms 1ms distribution normal duplicate 1%",
    ),
    (
        "tc qdisc cha dev eth0 root netem lo 1% cor 2% lat 5ms reo 3% g 4",
        "delay 5ms loss 1% corrupt 2% reorder 3% gap 4",
    ),
    ("tc qdisc rep dev eth0 root netem rat 1mbit lim 9", "rate 1mbit limit 9"),
    ("tbf rate 1mbit bur 4kb lat 40ms over 9", "overhead 8b 75b tbf rate 1mbit burst 4kb limit 9096b"),
    ("netem delay 20ms  # it's the slow one; 5s loss 1%", "delay 20ms"),
    (
        "# the cell's edge\n"
        "tc qdisc add dev eth0 root handle 1: netem delay 20ms # far\n"
        "tc qdisc add dev eth0 parent 1: handle 2: tbf rate 1mbit burst 4kb limit 9kb # slow\n",
        "delay 20ms limit 1000 tbf rate 1mbit burst 4kb limit 9kb",
    ),
    (
        "tc qdisc add dev eth0 root netem delay 1ms && tc qdisc add dev eth0 parent 1: netem loss 1%",
        "delay 1ms loss 1%",
    ),
]


@pytest.mark.parametrize(("command", "link"), COMMANDS)
def test_a_pasted_command_is_a_link(command: str, link: str) -> None:
    """Whole commands of tc, and what is left of them from netem or tbf on, mean here what they mean there."""
    assert str(parse_link(command)) == link


def test_a_command_that_adds_begins_anew() -> None:
    """`add` and `replace` make a link, words alone change the one before."""
    before = parse_link("rate 1mbit loss 1%")
    for begin in ("netem", ""):
        assert str(parse_link(f"{begin} delay 5ms", after=before)) == "rate 1mbit delay 5ms loss 1%"
    for verb in ("add", "replace"):
        assert str(parse_link(f"tc qdisc {verb} dev eth0 root netem delay 5ms", after=before)) == "delay 5ms"
    both = "netem delay 5ms && tc qdisc add dev eth0 parent 1:1 tbf burst 4kb"
    assert str(parse_link(both, after=before)) == "rate 1mbit burst 4kb delay 5ms loss 1%"


ALL = (
    "delay 20ms 2ms 25% distribution normal loss 5% arq 8ms duplicate 1% 2% corrupt 3% 4% reorder 5% 6% "
    "gap 7 limit 8 overhead 9b 10b tbf rate 5mbit burst 4kb limit 64kb"
)


@pytest.mark.parametrize(
    ("command", "link"),
    [
        (
            "netem delay 5ms",
            "delay 5ms corrupt 3% 4% limit 1000 overhead 9b 10b tbf rate 5mbit burst 4kb limit 64kb",
        ),
        ("netem rate 1mbit", "corrupt 3% 4% limit 1000 overhead 9b 10b tbf rate 1mbit burst 4kb limit 64kb"),
        (
            "netem corrupt 1% limit 9",
            "corrupt 1% limit 9 overhead 9b 10b tbf rate 5mbit burst 4kb limit 64kb",
        ),
        (
            "tbf rate 2mbit limit 9kb",
            ALL[: ALL.index("limit 8")] + "overhead 9b 10b tbf rate 2mbit limit 9kb",
        ),
        (
            "tbf rate 2mbit",
            ALL[: ALL.index(" limit 8")].replace("delay", "rate 2mbit delay") + " limit 8 overhead 9b 10b",
        ),
    ],
)
def test_a_change_sets_anew_what_it_does_in_tc(command: str, link: str) -> None:
    """netem's forgets all but rate and `corrupt`, tbf's its bucket and queue; neither what the other has."""
    before = parse_link(ALL)
    assert str(before) == ALL
    assert str(parse_link(f"tc qdisc change dev eth0 root {command}", after=before)) == link


@pytest.mark.parametrize(
    ("commands", "link"),
    [
        (["add dev eth0 root netem delay 9ms loss 1%", "change dev eth0 root netem delay 5ms"], "delay 5ms"),
        (["add dev eth0 root netem delay 9ms rate 1mbit", "replace dev eth0 root netem loss 1%"], "loss 1%"),
        (["replace dev eth0 root netem delay 9ms", "replace dev eth0 root netem delay 5ms"], "delay 5ms"),
        (
            [
                "add root handle 1: netem delay 9ms",
                "add parent 1: tbf rate 1mbit limit 9kb",
                "replace root netem loss 1%",
            ],
            "loss 1%",
        ),
        (
            [
                "add root handle 1: netem delay 9ms",
                "add parent 1: tbf rate 1mbit burst 4kb limit 9kb",
                "replace parent 1: tbf rate 2mbit limit 8kb",
            ],
            "delay 9ms limit 1000 tbf rate 2mbit limit 8kb",
        ),
        (
            [
                "replace dev eth0 root handle 1: netem delay 9ms",
                "replace dev eth0 parent 1: tbf rate 1mbit limit 9kb",
            ],
            "delay 9ms limit 1000 tbf rate 1mbit limit 9kb",
        ),
    ],
)
def test_commands_follow_one_another(commands: list[str], link: str) -> None:
    """Each meets what those before it left: `replace` at the root leaves nothing of it."""
    text = " && ".join(f"tc qdisc {command}" for command in commands)
    assert str(parse_link(text, after=parse_link("corrupt 1%"))) == link


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("rat 5mbit", "rat: 'rat' is no word of a link; did you mean 'rate'?"),
        ("rate 5mbit dealy 3ms", "dealy: 'dealy' is no word of a link; did you mean 'delay'?"),
        ("rate", "rate: 'rate' lacks its value; write for instance 'rate 20mbit'"),
        ("rate delay 5ms", "rate: 'rate' lacks its value; write for instance 'rate 20mbit'"),
        ("rate fast", "rate: 'fast' is no number with a unit; write for instance 'rate 20mbit'"),
        ("rate 5mbits", "rate: 'mbits' in '5mbits' is no unit of it; did you mean 'mbit'?"),
        ("rate 5mb", "rate: 'mb' in '5mb' is no unit of it; did you mean 'mbit'?"),
        ("rate 5 mbit", "mbit: 'mbit' is no word of a link; write for instance 'rate 5mbit', number"),
        ("5mbit", "5mbit: '5mbit' is no word of a link; write for instance 'rate 5mbit', number and unit"),
        ("rate=5mbit", "rate=5mbit: 'rate=5mbit' is no word of a link; write 'rate 5mbit', with a space"),
        ("rate 50%", "rate: '%' in '50%' is no unit of it; known: bit, bps, "),
        ("rate 5", "rate: rate 5 is out of range; write 100 to 1000000000000 bit/s, or 0 for an outage"),
        ("rate -5mbit", "rate: rate -5e+06 is out of range"),
        ("rate 5mbit fast", "fast: 'fast' is no word of a link"),
        ("rate 5kbit 20 100 5", "rate: '100' is a size of cells, and there are none; leave it out; 'overhea"),
        ("rate 5kbit 1.5", "rate: '1.5' is no whole number; write for instance 'rate 20mbit 38'"),
        ("rate 5kbit -67", "overhead: overhead -1 is out of range; write 0 to 65536 bytes a packet"),
        ("netem rate 5kbit 20 tbf overhead 9", "overhead: 'overhead' says what 'rate' says; leave one of th"),
        ("rate 1e-400bit", "rate: '1e-400bit' is all but 0; write 0, or more"),
        (
            "rate 1e-9999999999bit",
            "rate: '1e-9999999999bit' is no number with a unit; write for instance 'rat",
        ),
        ("rate 1_000kbit", "rate: '1_000kbit' is no number with a unit; write for instance 'rate 20mbit'"),
        ("rate \u0665mbit", "rate: '\u0665mbit' is no number with a unit; write for instance 'rate 20mbit'"),
        ("rate infbit", "rate: 'infbit' is no number with a unit; write for instance 'rate 20mbit'"),
        (
            "burst 4kb",
            "burst: 'burst' without a rate says nothing; write for instance 'rate 1mbit burst 4kb'",
        ),
        (
            "tbf maxburst 4kb",
            "burst: 'burst' without a rate says nothing; write for instance 'rate 1mbit burst",
        ),
        (
            "netem rate 0",
            "rate: 'rate 0' behind 'netem' is no limit there, and a link would stand still; leave",
        ),
        (
            "netem delay 1ms rate 0bit",
            "rate: 'rate 0' behind 'netem' is no limit there, and a link would stan",
        ),
        (
            "tbf rate 0 burst 4kb",
            "rate: 'rate 0' behind 'tbf' is refused there, and a link would stand still;",
        ),
        (
            "netem delay 10ms 20ms",
            "jitter: jitter 0.02 is out of range; write 0 to 0.01 s, the delay: nothing arrives before it "
            "was sent; tc takes it, and lets through at once what would have a delay below 0",
        ),
        ("delay 100ps", "delay: 'ps' in '100ps' is no unit of it"),
        ("rate 1mbit rate 2mbit", "rate: 'rate' is given twice; leave one of them out"),
        ("rate 1mbit trace lte-like", "trace: 'trace' says what 'rate' says; leave one of them out"),
        ("delay 20", "delay: '20' has no unit; write for instance 'delay 20ms' or, with jitter, 'delay 20ms"),
        ("delay -1ms", "delay: delay -0.001 is out of range; write 0 to 60 s"),
        ("delay 2h", "delay: 'h' in '2h' is no unit of it"),
        ("delay 100s", "delay: delay 100 is out of range; write 0 to 60 s"),
        ("delay 2ms 3ms", "jitter: jitter 0.003 is out of range; write 0 to 0.002 s, the delay"),
        ("delay 20ms 2", "jitter: '2' has no unit; write for instance 'delay 20ms 2ms'"),
        ("delay 20ms 25%", "jitter: '%' in '25%' is no unit of it; known: ms,"),
        ("delay 20ms 2ms 25", "jitter: '25' has no unit; write for instance 'delay 20ms 2ms 25%'"),
        ("delay 20ms 2ms 1ms", "jitter: 'ms' in '1ms' is no unit of it; known: %"),
        ("delay 20ms distribution normal", "distribution: 'distribution' without a jitter says nothing; wri"),
        ("distribution normal", "distribution: 'distribution' without a jitter says nothing; write for inst"),
        ("delay 9ms 1ms distribution norm", "distribution: 'norm' is no distribution of the jitter; did you"),
        ("delay 9ms 1ms distribution experimental", "distribution: 'experimental' is no distribution of the"),
        ("loss 5", "loss: '5' has no unit; write for instance 'loss 1%'"),
        ("loss 0.05", "loss: '0.05' has no unit; write for instance 'loss 1%'"),
        ("loss 5% 25", "loss: '25' has no unit; write for instance 'loss 1%'"),
        ("loss 101%", "loss: "),
        ("loss -1%", "loss: "),
        ("loss", "loss: 'loss' lacks its value; write for instance 'loss 1%'"),
        ("loss random", "loss: 'loss' lacks its value; write for instance 'loss 1%'"),
        ("loss gemodel", "loss: 'loss' lacks its value; write for instance 'loss 1%'"),
        ("loss gemodel 1", "loss: '1' has no unit; write for instance 'loss gemodel 1% 30%'"),
        ("loss state 1% 2%", "loss: 'loss state' has four states, and a link has two; write 'loss gemodel P"),
        ("loss 1% ecn", "ecn: 'ecn' marks packets in place of losing them, and messages have nothing to mar"),
        ("loss 1% drop 2%", "loss: 'loss' is given twice; leave one of them out"),
        ("arq 8ms", "arq: 'arq' without a loss says nothing; write for instance 'loss 1% arq 8ms'"),
        ("loss none arq 8ms", "arq: there is no loss to repair; write"),
        ("duplicate 1", "duplicate: '1' has no unit; write for instance 'duplicate 1%'"),
        ("corrupt x", "corrupt: 'x' is no number with a unit; write for instance 'corrupt 0.1%'"),
        ("delay 1ms gap 5", "gap: 'gap' without a reorder says nothing; write for instance 'delay 10ms reor"),
        ("delay 1ms reorder 5% gap 0", "reorder: gap 0 is out of range; write 1 to"),
        ("reorder 5%", "reorder: there is no delay that a message could skip; write for instance 'delay 10m"),
        ("limit 0", "limit: limit 0 is out of range; write 1 to 1000000 messages"),
        ("limit 1.5", "limit: '1.5' is no whole number"),
        ("limit 1e999999999", "limit: '1e999999999' is no number with a unit"),
        ("limit 100b", "limit: limit 100 is out of range; write 1500 to"),
        ("limit 5 limit 6", "limit: 'limit' is given twice; leave one of them out"),
        ("netem limit 64kb", "limit: '64kb' is no number, and netem's limit counts packets; write for insta"),
        ("tbf limit 1x", "limit: 'x' in '1x' is no unit of it; known: b, "),
        ("burst 32kbit/8", "burst: '32kbit/8' has a size of cells, and there are none; write 'burst 32kbit'"),
        ("latency 400ms", "latency: 'latency' without a rate says nothing; write for instance 'rate 1mbit b"),
        ("trace lte-like latency 1s", "latency: 'latency' without a rate says nothing; write for instance"),
        ("rate 1mbit latency 1ms", "latency: a latency of 0.001 s makes limit 125 is out of range; write 15"),
        ("rate 1mbit latency 1s limit 64kb", "limit: 'limit' says what 'latency' says; leave one of them ou"),
        ("tbf rate 1mbit 20", "20: '20' is no word of a link; known: "),
        ("trace", "trace: 'trace' lacks its value; write for instance 'trace lte-like'"),
        ("trace lte", "trace: 'lte' is no trace that ships"),
        ("trace /etc/passwd", "trace: '/etc/passwd' is no trace that ships"),
        ("trace 'my drive", 'link: the quote in "\'my drive" has no end; end it, or leave it out'),
        ("rayleigh 15db", "rayleigh: 'rayleigh' lacks its value; write for instance 'rayleigh 15db 5mhz 20m"),
        ("rayleigh 15 5mhz 1s", "rayleigh: '15' has no unit; write for instance 'rayleigh 15db 5mhz 20ms'"),
        ("rayleigh 15db 5m 1s", "rayleigh: 'm' in '5m' is no unit of it; "),
        ("overhead 1.5", "overhead: '1.5' is no whole number; write for instance 'overhead 8b 66b'"),
        ("slot 1ms", "slot: 'slot' makes a link wait for slots, and this one sends whenever it can; leave i"),
        ("netem seed 42", "seed: 'seed' is not said for a link: the channel has one for all of its own; lea"),
        ("tbf rate 1mbit peakrate 2mbit", "peakrate: 'peakrate' is a second bucket, and a link has one at m"),
        ("tbf rate 1mbit mtu 1540", "mtu: 'mtu' is the size of peakrate's bucket, and there is none; leave"),
        ("tbf rate 1mbit minburst 1540", "minburst: 'minburst' is the size of peakrate's bucket, and there"),
        ("tbf rate 1mbit mpu 64", "mpu: 'mpu' is a least size of packets, and there is none; leave it out;"),
        ("tbf rate 1mbit linklayer atm", "linklayer: 'linklayer' counts the cells of a link layer, and ther"),
        ("delay 20ms jitter 2ms", "jitter: 'jitter' is no word of its own; write it behind the delay: 'dela"),
        ("parent 1:1 netem delay 1ms", "parent: 'parent' says where a qdisc hangs, and a link hangs nowhere"),
        ("root netem delay 1ms", "root: 'root' says where a qdisc hangs, and a link hangs nowhere; leave it"),
        ("htb rate 1mbit", "htb: 'htb' is a qdisc that no link is: it has one queue; write 'netem' or 'tbf'"),
        ("tc qdisc add dev eth0 root htb default 1", "tc: 'htb' is a qdisc that no link is: it has one queu"),
        ("tc qdisc add dev eth0 root fq_codel", "tc: 'fq_codel' is a qdisc that no link is: it has one queu"),
        ("tc qdisc add dev eth0 root prio", "tc: 'prio' is a qdisc that no link is: it has one queue; write"),
        ("tc qdisc add dev eth0 root nettem", "tc: 'nettem' is no qdisc that a link can be; did you mean 'n"),
        ("tc qdisc add dev eth0 root", "tc: the command names no qdisc; go on with 'netem' or 'tbf' and its"),
        ("tc qdisc add dev", "tc: 'dev' lacks its value; write it, or begin with 'netem'"),
        (
            "tc qdisc del dev eth0 root",
            "tc: the command makes no link: 'del'; write 'delay 0', a link that doe",
        ),
        (
            "tc q d dev eth0 root",
            "tc: the command makes no link: 'd'; write 'delay 0', a link that does nothi",
        ),
        ("tc qdisc show dev eth0", "tc: the command makes no link: 'show'; write 'tc qdisc add ...'"),
        ("ip link set dev eth0 up", "tc: 'ip' makes no link; write 'tc qdisc add ...'"),
        ("ip netns exec phone", "tc: the command breaks off; write 'tc qdisc add ...'"),
        ("netem l 1%", "l: 'l' is no word of a link; known: "),
        ("netem r 1%", "r: 'r' is no word of a link; known: "),
        ("del 5ms", "del: 'del' is no word of a link; did you mean 'delay'?"),
        (
            "tc qdisc add dev eth0 root netem delay 1ms && tc qdisc add dev ifb0 root netem loss 1%",
            "tc: there are commands for 'eth0' and 'ifb0', and a link is one way of one; give each way its",
        ),
        (
            "tc -n a qdisc add dev eth0 root netem && ip netns exec b tc qdisc add dev eth0 parent 1: tbf",
            "tc: there are commands for 'eth0 in a' and 'eth0 in b', and a link is one way of one; give each",
        ),
        (
            "tc qdisc add dev eth0 root netem delay 1ms && tc qdisc add dev eth0 root netem loss 1%",
            "tc: there is a qdisc at 'root' already; write 'change' or 'replace', or for a second one below ",
        ),
        ("tc class add dev eth0", "tc: only a qdisc is a link: 'class'; write 'tc qdisc add ...'"),
        ("tc", "tc: the command breaks off; write 'tc qdisc add ...'"),
        ("sudo", "tc: the command breaks off; write 'tc qdisc add ...'"),
    ],
)
def test_errors_name_word_value_and_remedy(words: str, message: str) -> None:
    """A wrong word or value, and what tc has and a link lacks, is one error that says what to write."""
    with pytest.raises(ConfigurationError) as caught:
        parse_link(words)
    assert str(caught.value).startswith(message)
    assert caught.value.remedy


# ------------------------------------------------------------------------------------------------- fuzz

SOUP = (
    "rate delay loss limit duplicate corrupt reorder gap burst latency overhead trace rayleigh distribution "
    "arq netem tbf tc qdisc add change dev root parent handle sudo # && unlimited none random gemodel state "
    "del dup dist -n ip netns exec replace "
    "5mbit 0 9 2ms 1% 100% -3db 5mhz 64kb normal lte-like /x ' \" ; \\ NaN sNaN1 1e999s 1e-999999999s % ms"
).split()


@given(st.text(max_size=40) | st.lists(st.sampled_from(SOUP), max_size=12).map(" ".join))
def test_any_text_is_a_link_or_one_error(text: str) -> None:
    """Whatever stands there, parsing ends in a link, which can be written, or in ConfigurationError."""
    _check(text)


@given(st.sampled_from([command for command, _ in COMMANDS]), st.data())
def test_a_damaged_command_is_a_link_or_one_error(command: str, data: st.DataObject) -> None:
    """The same of commands with words taken out, put in, doubled and changed."""
    words = command.split()
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(words)))
        words[at : at + data.draw(st.integers(0, 2))] = data.draw(
            st.lists(st.sampled_from([*SOUP, *words[at : at + 1]]), max_size=2)
        )
    _check(" ".join(words))


def _check(text: str) -> None:
    try:
        link = parse_link(text, find_trace=find_trace)
    except ConfigurationError as error:
        assert error.remedy and error.key
    else:
        assert parse_link(str(link), find_trace=find_trace) == link


# -------------------------------------------------------------------------------------------- the real tc

real = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("tc") is None or shutil.which("unshare") is None,
    reason="needs root, tc and unshare",
)
UNKNOWN_KIND = "qdisc kind is unknown"
"What tc says of a qdisc that this kernel lacks, once it has understood all words."


def _tc(*commands: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """In a network namespace that ends with it."""
    script = " && ".join(" ".join(("tc", *command)) for command in commands)
    return subprocess.run(
        ["unshare", "-n", "sh", "-c", script], capture_output=True, text=True, timeout=20, check=False
    )


@real
@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        "rate 5mbit delay 20ms 2ms 25%",
        "delay 1.5s 100ms distribution normal",
        "delay 250us 1us 0.5% distribution pareto",
        "delay 20ms 2ms distribution paretonormal",
        "rate 1.5kbit loss 0.1% 25%",
        "loss gemodel 1% 30%",
        "loss gemodel 1% 30% 90%",
        "loss gemodel 1% 30% 90% 0.01%",
        "delay 10ms loss 1% duplicate 1% 50% corrupt 0.1% reorder 25% 50% gap 5 limit 100",
    ],
)
def test_netem_takes_what_a_link_prints(words: str) -> None:
    """What tc's netem knows is printed in words that the real tc takes."""
    assert str(parse_link(words)) == words
    said = _tc(("qdisc", "add", "dev", "lo", "root", "netem", *words.split()))
    assert said.returncode == 0 or UNKNOWN_KIND in said.stderr, said.stderr


@real
@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        "rate 1mbit burst 4kb limit 64kb",
        "rate 1.5kbit burst 1600b limit 3000b",
        "rate 2gbit burst 2mb limit 16mb",
        "rate 123.4567mbit burst 12345b limit 65537b",
    ],
)
def test_tbf_takes_what_a_link_prints(words: str) -> None:
    """What tc's tbf knows is printed in words that the real tc and its kernel take."""
    assert str(parse_link(words)) == words
    said = _tc(("qdisc", "add", "dev", "lo", "root", "tbf", *words.split()))
    assert said.returncode == 0, said.stderr


@real
@pytest.mark.slow
def test_the_real_tc_tells_wrong_words() -> None:
    """The checks above can fail: words that tc lacks are told apart from a qdisc that the kernel lacks."""
    said = _tc(("qdisc", "add", "dev", "lo", "root", "netem", "delay", "20ms", "arq", "8ms"))
    assert said.returncode and UNKNOWN_KIND not in said.stderr
    assert _tc(("qdisc", "add", "dev", "lo", "root", "tbf", "rate", "1mbit", "limit", "64kb")).returncode


@real
@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        "rate 1mbit burst 32kbit latency 400ms",
        "rate 256kbit buffer 1600 limit 3000",
        "rate 0.5mbit burst 5kb latency 70ms",
        "rate 100kbps burst 2kb limit 64kb",
    ],
)
def test_a_link_prints_what_tc_took_the_words_for(words: str) -> None:
    """tc shows the same qdisc for the words of a person and for those that the link of them prints."""
    link = parse_link(f"tbf {words}")
    shown = [
        _tc(("qdisc", "add", "dev", "lo", "root", *said.split()), ("-d", "qdisc", "show", "dev", "lo"))
        for said in (f"tbf {words}", str(link))
    ]
    assert [one.returncode for one in shown] == [0, 0], shown
    first, second = (one.stdout.split("root")[1] for one in shown)
    assert first == second
