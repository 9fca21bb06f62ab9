"""Simulations: the same seed the same run, texts as the target's own, links by device, trouble survived."""

from dataclasses import replace
from typing import Any

import pytest
from tests.harness.cell import greedy
from tests.harness.fleets import run, topology

from draftwire.codecs.messages import Sampling
from draftwire.nodes.console.simulate.alone import alone_tokens_per_s
from draftwire.nodes.console.simulate.fleet import Places
from draftwire.nodes.console.simulate.outcomes import Simulation
from draftwire.nodes.models.pacing import PAPER
from draftwire.nodes.models.synthetic import SyntheticPair
from draftwire.runtime.errors import ConfigurationError
from draftwire.runtime.link import parse_link, parse_schedule
from draftwire.runtime.session.request import Request
from draftwire.runtime.settings import DeviceLinkSettings

ROUGH = "rate 20mbit delay 5ms 4ms loss 2% duplicate 2% corrupt 1% reorder 3%"


def asked(device: str, number: int) -> Request:
    """Greedy, of a prompt that names who asks what."""
    prompt = (int(device[-2:]), number, 3)
    return Request(prompt=prompt, sampling=Sampling(temperature=0.0), seed=7, max_new_tokens=20)


def check_greedy_texts(came: Simulation) -> int:
    """Every token is the target's own likeliest; returns how many requests came to their end."""
    target, ended = SyntheticPair(vocab_size=64, seed=1).target, 0
    for one in came.devices:
        for request in one.requests:
            truth = greedy(target, asked(one.device, request.number).prompt, 20)
            assert request.ids == truth[: len(request.ids)], (one.device, request.number)
            assert not request.ended or len(request.ids) == 20
            ended += request.ended
    return ended


# One seed ---------------------------------------------------------------------------------------------------


def test_the_same_seed_is_the_same_run() -> None:
    """Messages, times, texts and speeds repeat, on a link that draws at random at every turn."""
    first, again = (run(topology(link=ROUGH), seed=6, keep_texts=True) for _ in range(2))
    assert first.steps > 20 and first.warned["channel.drops"]
    assert first.trace_hash == again.trace_hash
    assert [one.requests for one in first.devices] == [one.requests for one in again.devices]
    assert first.speeds == again.speeds


def test_without_a_channel_times_count_too() -> None:
    """The same texts at other times are another run: a hair slower, and the hash is another."""
    direct = replace(topology(), channel=None)
    runs = [run(direct, times=replace(PAPER, target_s=s), seconds=1) for s in (0.0445, 0.0445, 0.0446)]
    assert runs[0].trace_hash == runs[1].trace_hash != runs[2].trace_hash


def test_another_seed_is_another_run() -> None:
    """And so is another [channel] seed, where the link draws."""
    hashes = {
        run(topology(link=ROUGH), seed=1).trace_hash,
        run(topology(link=ROUGH), seed=2).trace_hash,
        run(topology(link=ROUGH, channel={"seed": 1}), seed=1).trace_hash,
    }
    assert len(hashes) == 3


def test_devices_of_other_base_stations_change_nothing() -> None:
    """A device draws and meets what it does, however many others there are."""
    one, three = (run(topology(link=ROUGH), devices=n, keep_texts=True) for n in (1, 3))
    assert one.devices[0].requests == three.devices[0].requests
    assert len({device.requests for device in three.devices}) == 3


# Texts ------------------------------------------------------------------------------------------------------


def test_greedy_texts_are_the_targets_own() -> None:
    """The real protocol answers: at temperature 0 what the model says by itself, request by request."""
    came = run(ask=asked, keep_texts=True)
    assert check_greedy_texts(came) >= 4
    assert [one.requests[-1].ended for one in came.devices] == [False, False]
    assert came.total.cut == 2


def test_texts_survive_a_rough_link() -> None:
    """Loss, copies, flipped bits and overtaking: the same texts, later."""
    came = run(topology(link=ROUGH), ask=asked, keep_texts=True, seconds=8)
    assert check_greedy_texts(came) >= 4


def test_texts_survive_an_outage() -> None:
    """At rate 0 the target ends its answer by itself, no faster than that; behind it all goes on."""
    wanted = topology(channel={"schedule": "1s rate 0; 4s rate 20mbit"})
    came = run(wanted, ask=asked, keep_texts=True, seconds=8)
    assert check_greedy_texts(came) >= 4
    assert not came.total.refused
    speeds, alone = came.devices[0].series.tokens_per_s(), 1 / PAPER.target_s
    assert max(rate for at_s, rate in speeds if 1.8 < at_s < 3.9) <= alone
    assert not any(rate for at_s, rate in speeds if 3 < at_s < 3.9)
    after = [rate for at_s, rate in speeds if at_s > 5]
    assert sum(after) / len(after) > 1.2 * alone


def test_a_link_that_carries_nothing_is_an_outcome() -> None:
    """Requests are given up by reason, and asked again; nothing breaks."""
    came = run(topology(link="rate 1mbit delay 5ms loss 100%", device={"reach_s": 2.0}), seconds=12)
    assert came.total.refused["absent"] >= 4
    assert came.total.tokens == came.steps == 0
    assert came.speeds == [0.0, 0.0]


# What a topology says ---------------------------------------------------------------------------------------


def test_links_of_a_device_apply_by_its_name() -> None:
    """[channel.devices.NAME]: its own link slows it down, and the others not at all."""
    slow = parse_link("rate 20kbit delay 200ms")
    own = {"device-0002": DeviceLinkSettings(uplink=slow, downlink=slow)}
    without, with_own = run(keep_texts=True), run(topology(channel={"devices": own}), keep_texts=True)
    assert with_own.devices[0].requests == without.devices[0].requests
    assert with_own.devices[1].tokens_per_s < 0.8 * without.devices[1].tokens_per_s
    assert with_own.devices[1].alone_tokens_per_s < without.devices[1].alone_tokens_per_s


def test_devices_take_places_by_name() -> None:
    """Names of the file come first, but for one that is a place's: it has that place."""
    places = Places(devices=5, per_bs=2, named=("edge", "device-0002", "train", "device-0009"))
    names = [devices for _, devices in places]
    assert names == [["edge", "device-0002"], ["train", "device-0009"], ["device-0005"]]


def test_more_devices_than_sessions_are_refused_as_busy() -> None:
    """Who finds no session for reach_s is told so, waits and asks again; whoever has one is served."""
    wanted = topology(target={"max_sessions": 1}, device={"reach_s": 0.5})
    came = run(wanted, devices=3, per_bs=3, seconds=6)
    assert came.total.refused["busy"] >= 4
    assert set(came.total.refused) == {"busy"}
    assert came.total.tokens > 60
    assert {one.bs for one in came.devices} == {"bs-0001"}


def test_devices_share_what_a_base_station_can_do() -> None:
    """Four at one BS have a token each of every pass, as one alone does; the model of it says so."""
    came = run(topology(controller={"gamma": 0}), devices=4, per_bs=4, seconds=10)
    for one in came.devices:
        assert one.alone_tokens_per_s == pytest.approx(1 / PAPER.target_s)
        assert one.tokens_per_s == pytest.approx(one.alone_tokens_per_s, rel=0.2)


def test_a_base_station_with_fewer_devices_is_modelled_with_fewer() -> None:
    """Three devices, two a BS: the third has its BS for itself."""
    came = run(topology(controller={"gamma": 0}), devices=3, per_bs=2, seconds=10)
    modelled = [one.alone_tokens_per_s for one in came.devices]
    assert modelled == pytest.approx([1 / PAPER.target_s] * 3)  # its passes take the same for two
    for one in came.devices:
        assert one.tokens_per_s == pytest.approx(one.alone_tokens_per_s, rel=0.15)


def test_beyond_its_sessions_a_base_station_is_shared_by_all_of_its_devices() -> None:
    """Who is refused has a place later: on the whole all devices share the passes over two of them."""
    wanted = topology(
        controller={"gamma": 0},
        target={"max_sessions": 2},
        sampling={"max_new_tokens": 8},
        device={"reach_s": 0.5},
    )
    came = run(wanted, devices=4, per_bs=4, seconds=20)
    assert came.total.refused["busy"] > 4
    assert {one.alone_tokens_per_s for one in came.devices} == {2 / (4 * PAPER.target_s)}
    modelled = sum(one.alone_tokens_per_s for one in came.devices)
    assert 0.7 * modelled < sum(came.speeds) < 1.05 * modelled  # a place is free until somebody asks again


def alone(schedule: str, *, seconds: float, sharing: int = 1) -> float:
    """Modelled, over a downlink that does this."""
    return alone_tokens_per_s(
        times=PAPER,
        sharing=sharing,
        places=2,
        downlink=parse_schedule(schedule),
        seconds=seconds,
        vocab_size=64,
    )


def test_the_target_alone_is_modelled_over_the_seconds_of_the_run() -> None:
    """What the link does after the run is no matter, and while it carries nothing there are no tokens."""
    free = 1 / PAPER.target_s
    assert alone("rate 20mbit; 300s rate 0", seconds=5) == pytest.approx(free)
    assert alone("rate 0", seconds=5) == 0
    assert alone("rate 20mbit; 4s rate 0", seconds=10) == pytest.approx(0.4 * free)
    assert alone("rate 0; 9s rate 20mbit; repeat 10s", seconds=9) == 0
    assert alone("rate 0; 9s rate 20mbit; repeat 10s", seconds=1e6) == pytest.approx(0.1 * free)
    assert alone("rate 0; 9s rate 20mbit; repeat 10s", seconds=25) == pytest.approx(2 / 25 * free)
    assert alone("delay 5ms; 5s rate 20mbit", seconds=10, sharing=3) == pytest.approx(free * 2 / 3)


@pytest.mark.parametrize(("link", "least"), [("rate 20mbit delay 5ms", 0.93), ("rate 10kbit delay 5ms", 0.4)])
def test_the_target_alone_is_modelled_as_it_runs(link: str, least: float) -> None:
    """With gamma 0 the speed is the modelled one; at most that where the downlink limits it."""
    came = run(topology(link=link, controller={"gamma": 0}), devices=1, seconds=10)
    assert least < came.devices[0].tokens_per_s / came.devices[0].alone_tokens_per_s < 1.02


def test_without_a_channel_devices_reach_the_base_station_directly() -> None:
    """Messages take no time then, and texts make the hash."""
    wanted = replace(topology(), channel=None)
    direct, other, far = run(wanted, seconds=1), run(wanted, seconds=1, seed=2), run(seconds=1)
    assert direct.total.tokens > far.total.tokens
    assert len({direct.trace_hash, other.trace_hash, far.trace_hash}) == 3


def test_fixed_settings_and_counts() -> None:
    """[controller] k and gamma hold; sums over devices are the counts of each."""
    came = run(topology(controller={"k": 8, "gamma": 3}))
    total = came.total
    assert set(total.k_used) == {8} and total.mean_k == 8
    assert total.tokens == sum(one.tally.tokens for one in came.devices) > 60
    assert total.alpha is not None and 0.6 < total.alpha < 0.98
    assert total.accepted <= total.seen <= total.drafted
    assert came.median_device.tokens_per_s == min(came.speeds)


@pytest.mark.slow
def test_recorded_acceptance_is_met_by_the_run() -> None:
    """The shipped pair's recording, K fixed: alpha of the run is the recording's mean, up to its sampling."""
    wanted = topology(model="smollm2", controller={"k": 320, "gamma": 2})
    total = run(wanted, devices=1, seconds=20).total
    assert total.seen > 300
    assert total.alpha == pytest.approx(0.39, abs=0.07)


def test_a_custom_policy_is_asked() -> None:
    """[controller] policy: another one plans otherwise."""
    assert run(topology(controller={"policy": "pid"}), seconds=1).trace_hash != run(seconds=1).trace_hash


# What can't be ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("how", "key"),
    [
        ({"devices": 0}, "--devices"),
        ({"devices": 10_001}, "--devices"),
        ({"per_bs": 0}, "--per-bs"),
        ({"per_bs": 65, "devices": 65}, "--per-bs"),
        ({"seconds": 0.0}, "--seconds"),
        ({"seconds": float("nan")}, "--seconds"),
        ({"times": replace(PAPER, target_s=0.0)}, "--target-step"),
    ],
)
def test_arguments_out_of_range(how: dict[str, Any], key: str) -> None:
    """Refused by the option's name, before anything runs."""
    with pytest.raises(ConfigurationError) as caught:
        run(**how)
    assert caught.value.key == key and caught.value.remedy


@pytest.mark.parametrize(
    ("wanted", "key"),
    [
        (topology(controller={"k": 65}), "controller.k"),
        (topology(controller={"policy": "nowhere:Policy"}), "controller.policy"),
        (topology(sampling={"temperature": 0.3}, model="smollm2"), "sampling.temperature"),
        (topology(sampling={"top_p": 0.9}, model="smollm2"), "sampling.top_p"),
        (topology(model="owner/model"), "pair"),
        (topology(model="smollm2", controller={"k": 5000}), "controller.k"),
    ],
)
def test_topologies_that_can_not_run(wanted: Any, key: str) -> None:
    """Refused by the file's key, as a ConfigurationError and no group of errors."""
    with pytest.raises(ConfigurationError) as caught:
        run(wanted)
    assert caught.value.key == key and caught.value.remedy


def test_places_of_a_channel_are_counted_where_there_are_so_many_devices() -> None:
    """--per-bs 65 with two devices is no trouble, nor are 65 without a channel."""
    assert run(per_bs=65, seconds=0.1).devices
    assert len(run(replace(topology(), channel=None), devices=65, per_bs=65, seconds=0.05).devices) == 65
    with pytest.raises(ConfigurationError, match=r"raise \[channel\] max_devices"):
        run(devices=65, per_bs=65)


def test_the_vocabulary_that_is_told_is_said_to_be_the_stand_ins() -> None:
    """smollm2 has 49152 ids: whoever writes K = 5000 for it is told why that is too many here."""
    with pytest.raises(ConfigurationError, match="of the pair that stands in here"):
        run(topology(model="smollm2", controller={"k": 5000}))
    with pytest.raises(ConfigurationError) as caught:
        run(topology(controller={"k": 65}))
    assert "stands in" not in str(caught.value)


def test_a_request_that_no_device_takes_is_told_as_it_is() -> None:
    """What the device refuses before a byte is sent ends the run, by its own error."""

    def empty(device: str, number: int) -> Request:
        return replace(asked(device, number), prompt=())

    with pytest.raises(ConfigurationError, match="no tokens"):
        run(ask=empty)


