"""`draftwire link plot`: a picture, the same in numbers, and errors that say what to write."""

from pathlib import Path

import orjson
import pytest
from tests.harness.played import played

from draftwire.nodes.console.cli import main
from draftwire.nodes.console.link_picture import link_figure


def plot(tmp_path: Path, *words: str) -> int:
    return main(["link", "plot", *words, "--seconds", "5", "--output", str(tmp_path / "link.svg")])


def test_the_figures_of_a_link(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--json has the numbers of the text, in one object, and the picture is there."""
    assert plot(tmp_path, "rate 1mbit delay 20ms", "--json") == 0
    found = orjson.loads(capsys.readouterr().out)
    assert found["link"] == "rate 1mbit delay 20ms"
    assert (found["seconds"], found["seed"], found["message_bytes"]) == (5.0, 0, 1000)
    assert found["mean_rate_bps"] == 1e6 and found["outage_share"] == 0
    assert [found["delay_p50_s"], found["delay_p99_s"]] == pytest.approx([0.02 + 8 * 1074 / 1e6] * 2)
    assert found["loss_share"] == 0
    assert b"<svg" in (tmp_path / "link.svg").read_bytes()


def test_the_text_says_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Words, mean rate, delays, loss, and what was timed."""
    assert plot(tmp_path, "rate 2mbit delay 20ms loss 100%", "--message", "2000b") == 0
    out, err = capsys.readouterr()
    for part in ("rate 2mbit delay 20ms loss 100%", "mean rate of the link, Mbit/s", "2000 bytes", "100"):
        assert part in out
    assert f"picture: {tmp_path / 'link.svg'}" in err


def test_a_pasted_command_is_a_link(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As somebody had it for the kernel."""
    words = "tc qdisc add dev eth0 root netem rate 5mbit delay 40ms"
    assert plot(tmp_path, words, "--json") == 0
    assert orjson.loads(capsys.readouterr().out)["link"] == "rate 5mbit delay 40ms"


def test_the_links_of_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Both directions, each with its own figures; one where they are the same."""
    config = tmp_path / "radio.toml"
    config.write_text("[channel]\nuplink = 'rate 1mbit'\ndownlink = 'rate 5mbit delay 10ms'\n")
    assert plot(tmp_path, "--config", str(config), "--json") == 0
    found = orjson.loads(capsys.readouterr().out)
    assert found["uplink"]["mean_rate_bps"] == 1e6 and found["downlink"]["mean_rate_bps"] == 5e6
    assert plot(tmp_path, "--config", str(config)) == 0
    out = capsys.readouterr().out
    assert "uplink: rate 1mbit" in out and "downlink: rate 5mbit delay 10ms" in out
    same = "[channel]\nseed = 5\nuplink = 'rate 1mbit'\ndownlink = 'rate 1mbit'\n"
    config.write_text(f"{same}[channel.devices.far]\nuplink = 'rate 300kbit'\n")
    assert plot(tmp_path, "--config", str(config), "--json") == 0
    found = orjson.loads(capsys.readouterr().out)
    assert (found["mean_rate_bps"], found["seed"]) == (1e6, 5)
    assert plot(tmp_path, "--config", str(config), "--json", "--device", "far", "--seed", "2") == 0
    found = orjson.loads(capsys.readouterr().out)
    assert (found["uplink"]["mean_rate_bps"], found["seed"]) == (3e5, 2)


def test_a_file_of_several_devices_tells_of_its_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its name and its link, where no --device says otherwise."""
    config = tmp_path / "cell.toml"
    devices = "[channel.devices.'cell/01']\nuplink = 'rate 300kbit'\n[device]\nname = 'cell'\ncount = 16\n"
    config.write_text(f"[channel]\nuplink = 'rate 1mbit'\n[channel.cell]\n{devices}")
    assert plot(tmp_path, "--config", str(config)) == 0
    out, err = capsys.readouterr()
    assert "uplink: rate 300kbit" in out and "cell/01 shares a cell" in err


def test_a_trace_of_ones_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file of the machine, as no order to a channel could name it."""
    trace = tmp_path / "mine.csv"
    trace.write_text("time_s,rate_bps\n0,1000000\n1,3000000\n2,3000000\n")
    assert plot(tmp_path, f"trace {trace}", "--json") == 0
    assert orjson.loads(capsys.readouterr().out)["mean_rate_bps"] == pytest.approx(1.8e6)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "SPEC: no link is given"),
        (("rat 1mbit",), "did you mean 'rate'"),
        (("rate 1mbit", "--config", "x.toml"), "SPEC: two links"),
        (("rate 1mbit", "--message", "0b"), "--message"),
        (("rate 1mbit", "--message", "many"), "--message"),
        (("rate 1mbit", "--seconds", "0"), "--seconds"),
        (("rate 1mbit", "--seed", "-1"), "--seed"),
        (("rate 1mbit", "--output", "link.gif"), "--output: 'link.gif': no picture"),
        (("trace nowhere.csv",), "nowhere.csv"),
        (
            ("rate 1mbit; 1ms rate 2mbit; repeat 2ms",),
            "--seconds: the link changes more than 20000 times in 60 s; write 20 or less",
        ),
    ],
)
def test_mistakes_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], said: str
) -> None:
    """In one line, with the option; nothing is drawn."""
    try:
        code = main(["link", "plot", "--output", str(tmp_path / "l.png"), *words])
    except SystemExit as ended:
        code = int(ended.code or 0)
    err = capsys.readouterr().err
    assert code == 2 and said in err and err.count("\n") == 1
    assert not (tmp_path / "l.png").exists()


def test_the_picture_says_units_and_means() -> None:
    """Rate, delay and its distribution; losses stand at the upper edge; the words are the title."""
    figure = link_figure([("", played("rate 2mbit delay 20ms 5ms loss 10%"))])
    top, middle, bottom = figure.axes
    assert top.get_title(loc="left") == "rate 2mbit delay 20ms 5ms loss 10%"
    assert [axes.get_ylabel() for axes in (top, middle)] == ["rate, Mbit/s", "one-way delay, ms"]
    assert bottom.get_xlabel() == "one-way delay, ms" and middle.get_xlabel() == "time, s"
    said = [text.get_text() for axes in figure.axes for text in axes.get_legend().get_texts()]  # type: ignore[union-attr]
    assert "the link: mean 2 Mbit/s" in said and "delay ± jitter" in said
    assert any(one.startswith("lost: ") and one.endswith(" %") for one in said)
    assert any(one.startswith("99th percentile: ") for one in said)


def test_a_link_of_many_pieces_is_one_line_and_one_band() -> None:
    """However often it changes, a picture has no more points than it can show, and no patch a piece."""
    found = played("rate 1mbit delay 5ms 3ms; 1ms rate 3mbit; repeat 2ms", seconds=2.0, message_bytes=100)
    assert len(found.offered_bps) == len(found.carried_bps) == round(2.0 / (10 * 12_000 / 2e6))
    assert [bps for _, bps in found.offered_bps] == pytest.approx([2e6] * 33, rel=0.02)
    middle = link_figure([("", found)]).axes[1]
    (band,) = middle.collections
    assert band.get_label() == "delay ± jitter"


def test_the_band_leaves_out_an_outage() -> None:
    """A piece of its own on either side of it, and nothing between."""
    figure = link_figure([("", played("rate 1mbit delay 5ms 3ms; 2s rate 0; 4s rate 2mbit"))])
    (band,) = figure.axes[1].collections
    extents = [path.get_extents() for path in band.get_paths()]
    assert [(one.x0, one.x1) for one in extents] == [(0.0, 2.0), (4.0, 10.0)]


@pytest.mark.parametrize("words", [("rate 0",), ("rate 1mbit loss 100%",), ("delay 0", "trace lte-like")])
@pytest.mark.filterwarnings("error")
def test_links_with_little_to_show_are_drawn(tmp_path: Path, words: tuple[str, ...]) -> None:
    """Nothing arrives, or nothing takes time."""
    figure = link_figure([(one, played(one)) for one in words])
    assert len(figure.axes) == 3 * len(words)
    figure.savefig(tmp_path / "x.png", dpi=40)


def test_the_link_of_a_cell_is_said_to_be_shared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The picture is of the device's own link, which the words say; without a cell there are none."""
    config = tmp_path / "cell.toml"
    for cell, said in (("", False), ("[channel.cell]\n", True)):
        config.write_text(f"[channel]\nuplink = 'rate 1mbit'\ndownlink = 'rate 1mbit'\n{cell}")
        assert plot(tmp_path, "--config", str(config), "--device", "phone-1") == 0
        assert ("phone-1 shares a cell (proportional-fair)" in capsys.readouterr().err) is said
