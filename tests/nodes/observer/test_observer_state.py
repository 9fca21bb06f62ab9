"""What an observer makes of events: the feed, its cursors, and its bounds."""

from collections.abc import Mapping
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.harness.events import (
    Event,
    answer_event,
    asked_event,
    belief_fields,
    carried,
    decision_event,
    link_event,
    step_event,
    tokens_event,
    traffic_event,
)

from draftwire.codecs.control_fields import Json
from draftwire.nodes.observer.answers import GAP_WORDS
from draftwire.nodes.observer.hearing import Hearing
from draftwire.nodes.observer.state import Cursor


def told(*events: Event, every_s: float = 0.1) -> Hearing:
    """What has heard these, one behind the other."""
    heard = Hearing()
    for number, event in enumerate(events):
        heard.hear("phone", event, number * every_s)
    return heard


def heard_from(node: str, *events: Event) -> Hearing:
    """What has heard these of one node, at time 0."""
    heard = Hearing()
    for event in events:
        heard.hear(node, event, 0.0)
    return heard


def fed(heard: Hearing, now_s: float, device: str | None = None) -> dict[str, Any]:
    """All that is told now."""
    return heard.observation.feed(device, None, now_s)[0]


def bad_events(heard: Hearing) -> float:
    """As they are counted, of nodes of all roles."""
    return heard.metrics.registry.get_sample_value("draftwire_bad_events_total", {"node": "phone"}) or 0


class Page:
    """A page that folds messages as the feed means it."""

    def __init__(self) -> None:
        self.points = list[Any]()
        self.decisions = list[Any]()
        self.answers = dict[str, dict[str, Any]]()
        self.cursor: Cursor | None = None
        self.fulls = 0

    def take(self, heard: Hearing, now_s: float, device: str | None = None) -> None:
        message, self.cursor = heard.observation.feed(device, self.cursor, now_s)
        self.fold(orjson.loads(orjson.dumps(message)))

    def fold(self, message: Mapping[str, Any]) -> None:
        if message["full"]:
            self.points, self.decisions, self.answers = [], [], {}
            self.fulls += 1
        self.points = [*self.points, *message["points"]][-1200:]
        self.decisions = [*self.decisions, *message["decisions"]][-200:]
        for answer in message["answers"]:
            before = self.answers.get(answer["request"], {"pieces": []})
            self.answers[answer["request"]] = answer | {"pieces": [*before["pieces"], *answer["pieces"]]}
        while len(self.answers) > 20:
            del self.answers[next(iter(self.answers))]

    def same_as(self, other: "Page") -> bool:
        """Whether both show the same: of text, of which the oldest is forgotten, what the other still has."""
        kept = all(
            answer["pieces"] == []
            or self.answers[request]["pieces"][-len(answer["pieces"]) :] == answer["pieces"]
            for request, answer in other.answers.items()
        )
        mine, others = (
            {request: answer | {"pieces": []} for request, answer in page.answers.items()}
            for page in (self, other)
        )
        return kept and mine == others and (self.points, self.decisions) == (other.points, other.decisions)


def test_an_answer_is_told_from_its_prompt_to_its_summary() -> None:
    """Prompt, pieces by origin, state and summary are told; the whole text, which the pieces have, is not."""
    heard = told(
        asked_event(prompt="Why?"),
        tokens_event(pieces=[("so ", "accepted"), ("it ", "bonus")]),
        tokens_event(pieces=[("is", "corrected")]),
        answer_event(finish="length"),
    )
    (answer,) = fed(heard, 1.0)["answers"]
    assert answer["prompt"] == "Why?" and answer["state"] == "done" and answer["detail"] == "length"
    assert answer["pieces"] == [["so ", "accepted"], ["it ", "bonus"], ["is", "corrected"]]
    assert answer["summary"]["tokens_per_s"] == 30.0 and "text" not in answer["summary"]


def test_an_error_fails_an_answer() -> None:
    """An answer that ends with an error says which."""
    (answer,) = fed(told(asked_event(), answer_event(error="the BS went away")), 1.0)["answers"]
    assert (answer["state"], answer["detail"]) == ("failed", "the BS went away")


def test_an_answer_fails_when_its_device_is_silent() -> None:
    """Nobody waits for ever for a device that says nothing any more; it may still come back."""
    heard, page = heard_from("phone", asked_event(), tokens_event()), Page()
    page.take(heard, 1.0)
    assert page.answers["1"]["state"] == "running"
    page.take(heard, 100.0)
    assert (page.answers["1"]["state"], page.answers["1"]["detail"]) == (
        "failed",
        "its device says nothing any more",
    )
    heard.hear("phone", tokens_event(), 101.0)
    page.take(heard, 101.0)
    assert page.answers["1"]["state"] == "running" and page.fulls == 1


def test_an_answer_that_waits_has_not_failed() -> None:
    """While its device says that it is there an answer runs, at 0 tokens a second, however long none come."""
    heard = heard_from("phone", asked_event(), tokens_event())
    for at_s in range(5, 305, 5):
        heard.hear("phone", {"event": "alive", "role": "device"}, at_s)
    told_now = fed(heard, 301.0)
    assert told_now["answers"][0]["state"] == "running"
    assert told_now["now"]["tokens_per_s"] == 0.0
    assert told_now["nodes"]["device"]["detail"] == "phone: 1 answer under way"


def test_an_answer_without_a_token_yet_has_a_speed() -> None:
    """One that waits for its first token is at 0 tokens a second, once that takes long."""
    heard = heard_from("phone", asked_event())
    assert fed(heard, 1.0)["now"]["tokens_per_s"] is None
    assert fed(heard, 9.0)["now"]["tokens_per_s"] == 0.0


def test_an_answer_that_its_device_forgot_fails() -> None:
    """A device that was started anew says that it is there, and nothing of the answer; after 10 min."""
    heard, page = heard_from("phone", asked_event()), Page()
    for at_s in (599.0, 601.0):
        heard.hear("phone", {"event": "alive", "role": "device"}, at_s)
        page.take(heard, at_s)
        assert (page.answers["1"]["state"] == "failed") == (at_s > 600)
    assert page.answers["1"]["detail"] == "nothing was told of it for 10 min"
    unseen = heard_from("phone", asked_event())
    unseen.hear("phone", asked_event(request="2"), 700.0)
    unseen.hear("phone", answer_event(request="2"), 701.0)
    assert fed(unseen, 701.0)["points"][-1]["tokens_per_s"] is None


def test_lost_tokens_leave_a_gap_that_shows() -> None:
    """Where an event with tokens is missing there is a mark in the text, and a sentence with the answer."""
    numbered = [
        tokens_event(pieces=[(text, "accepted")]) | {"number": n} for n, text in ((0, "do "), (2, "it"))
    ]
    heard = told(asked_event(), *numbered)
    (answer,) = fed(heard, 1.0)["answers"]
    assert answer["pieces"] == [["do ", "accepted"], ["…", "gap"], ["it", "accepted"]]
    assert answer["detail"] == GAP_WORDS
    heard.hear("phone", tokens_event() | {"number": 3}, 1.0)
    heard.hear("phone", answer_event(finish="length"), 1.1)
    (answer,) = fed(heard, 2.0)["answers"]
    assert len(answer["pieces"]) == 4 and answer["detail"] == f"length; {GAP_WORDS}"


def test_without_a_loss_there_is_no_gap() -> None:
    """Events with tokens that follow one another leave none, nor those of an answer that was asked again."""
    numbered = [tokens_event() | {"number": number} for number in range(3)]
    (answer,) = fed(told(asked_event(), *numbered, asked_event(), *numbered, answer_event()), 1.0)["answers"]
    assert [origin for _, origin in answer["pieces"]] == ["accepted"] * 3
    assert answer["detail"] == "eos"
    (answer,) = fed(told(tokens_event() | {"number": 7}), 1.0)["answers"]
    assert answer["pieces"] == [["…", "gap"], ["so ", "accepted"]]


def test_pieces_of_an_unknown_answer_begin_it() -> None:
    """What was not heard to begin, as before the observer was started, is shown from there on."""
    (answer,) = fed(told(tokens_event(request="late")), 1.0)["answers"]
    assert (answer["request"], answer["prompt"], len(answer["pieces"])) == ("late", "", 1)


def test_what_a_journal_kept_comes_first() -> None:
    """An answer that goes on from a journal shows the text that was there."""
    (answer,) = fed(told(asked_event() | {"kept": "It is "}, tokens_event()), 1.0)["answers"]
    assert answer["pieces"] == [["It is ", "kept"], ["so ", "accepted"]]


def test_alpha_is_of_the_last_tests() -> None:
    """Alpha is accepted over tested of about the last 40 tested tokens, and null before the first."""
    assert fed(told(step_event(seen=0, accepted=0)), 1.0)["now"]["alpha"] is None
    rejected = [step_event(seen=1, accepted=0)] * 100
    accepted = [step_event(seen=4, accepted=4)] * 10
    assert fed(told(*rejected, *accepted), 20.0)["now"]["alpha"] == 1.0


def test_tokens_a_second_while_an_answer_runs() -> None:
    """Steps of 3 tokens each 0.1 s are 30 tokens a second, and null when the answer has ended."""
    heard = told(asked_event(), *[step_event(tokens=3)] * 40)
    now = fed(heard, 4.0)["now"]
    assert now["tokens_per_s"] == pytest.approx(30.0, rel=0.05)
    heard.hear("phone", answer_event(), 4.1)
    assert fed(heard, 4.2)["now"]["tokens_per_s"] is None


def test_tokens_a_second_fall_to_0_in_an_outage() -> None:
    """While an answer runs and nothing comes, the speed is 0, not unknown."""
    heard = told(asked_event(), *[tokens_event()] * 10)
    assert fed(heard, 9.0)["now"]["tokens_per_s"] == 0.0


def test_a_target_without_devices_has_a_speed() -> None:
    """Where no device tells of its answers, the target's steps tell the speed, as long as there are any."""
    heard = told(*[step_event(tokens=2)] * 30)
    assert fed(heard, 3.0)["now"]["tokens_per_s"] == pytest.approx(20.0, rel=0.05)
    assert fed(heard, 30.0)["now"]["tokens_per_s"] is None


def test_target_only_is_the_controllers_or_the_pass() -> None:
    """The controller's expectation where there is one, else one token each usual pass of the target."""
    assert fed(told(step_event(step_s=0.05)), 1.0)["now"]["target_only_tokens_per_s"] == 20.0
    heard = told(step_event(step_s=0.05), decision_event(alone_tokens_per_s=17.5))
    assert fed(heard, 1.0)["now"]["target_only_tokens_per_s"] == 17.5


def test_bytes_flow_by_the_channels_count() -> None:
    """Bytes a second from cumulative counts, 0 once nothing moves, and not below 0 where a channel is new."""
    totals = (0, 1000, 2000, 3000, 10)
    events = [traffic_event(7 + 0.5 * n, carried(delivered_bytes=total)) for n, total in enumerate(totals)]
    flow = fed(told(*events[:4], every_s=0.5), 1.6)["flow"]["uplink"]
    assert flow["bytes_per_s"] == pytest.approx(2000.0) and flow["total_bytes"] == 3000
    assert fed(told(*events, every_s=0.5), 2.1)["flow"]["uplink"]["bytes_per_s"] >= 0
    assert fed(told(*events, every_s=0.5), 20.0)["flow"]["uplink"]["bytes_per_s"] == 0


def test_bytes_of_blocks_flow_without_a_channel() -> None:
    """Over a real link the sizes of blocks are what is known of the way up."""
    flow = fed(told(*[step_event()] * 3), 0.3)["flow"]
    assert flow["uplink"]["total_bytes"] == 1500 and flow["uplink"]["bytes_per_s"] > 0
    assert flow["downlink"]["total_bytes"] == 0


def test_a_plan_is_the_decisions_and_else_the_steps() -> None:
    """A look at a larger K is no plan; where the user has fixed it, steps tell it."""
    plan = fed(told(step_event(k=64, gamma=0)), 1.0)["plan"]
    assert plan == {"k": 64, "gamma": 0, "alone": True, "acceptance": "rejection"}
    looked = told(decision_event(k=32), decision_event(k=320, reason="explore"), step_event(k=320))
    assert fed(looked, 1.0)["plan"]["k"] == 32


def test_k_has_no_point_where_it_means_nothing() -> None:
    """While the target is alone its line breaks, and gamma lies at nought."""
    points = fed(told(step_event(k=64, gamma=4), step_event(k=64, gamma=0), every_s=1.0), 2.0)["points"]
    assert [(point["k"], point["gamma"]) for point in points] == [(64, 4), (None, 0)]


def test_nodes_are_up_silent_or_unknown() -> None:
    """A node is up for 12 s after it was heard, and then silent; one that never was is unknown."""
    heard = told({"event": "alive", "role": "channel"}, step_event("phone"))
    nodes = fed(heard, 5.0)["nodes"]
    states = {role: node["state"] for role, node in nodes.items()}
    assert states == {"device": "unknown", "channel": "up", "target": "up", "controller": "unknown"}
    assert fed(heard, 12.5)["nodes"]["channel"]["state"] == "silent"


def test_a_device_is_not_up_because_another_is() -> None:
    """The state of the device that is shown is its own."""
    heard = told(step_event("phone"))
    heard.hear("tablet", {"event": "alive", "role": "device"}, 1.0)
    assert fed(heard, 1.0, "phone")["nodes"]["device"]["state"] == "unknown"
    assert fed(heard, 1.0, "tablet")["nodes"]["device"]["state"] == "up"


def test_the_device_heard_last_is_shown_and_stays() -> None:
    """A page without a wish gets the device heard last, and keeps it while that is heard of."""
    heard, page = told(step_event("one")), Page()
    page.take(heard, 0.1)
    heard.hear("phone", step_event("two"), 1.0)
    message, page.cursor = heard.observation.feed(None, page.cursor, 1.1)
    assert message["device"] == "one" and not message["full"] and message["devices"] == ["one", "two"]
    assert fed(heard, 1.1)["device"] == "two"
    heard.hear("phone", step_event("two"), 20.0)
    message, _ = heard.observation.feed(None, page.cursor, 20.1)
    assert message["device"] == "two" and message["full"]


def test_a_device_that_nobody_knows_is_empty() -> None:
    """A page may wait for a device that is not there yet, and then gets all of it."""
    heard = Hearing()
    message, cursor = heard.observation.feed("later", None, 0.0)
    assert message["full"] and message["device"] == "later" and message["points"] == []
    assert not heard.observation.feed("later", cursor, 1.0)[0]["full"]
    heard.hear("phone", step_event("later"), 2.0)
    assert heard.observation.feed("later", cursor, 2.0)[0]["full"]
    assert len(fed(heard, 2.0, "later")["points"]) == 1


def test_points_come_each_half_second() -> None:
    """While something happens there is a point each 0.5 s, and none where nothing does."""
    heard = told(*[step_event()] * 41, every_s=0.1)
    times = [point["at_s"] for point in fed(heard, 60.0)["points"]]
    assert times == pytest.approx([0.5 * n for n in range(9)], abs=0.11)


def test_links_are_the_nearest_to_a_device() -> None:
    """A device has its own link, or its key's, or everybody's; an order for all takes their place."""
    heard = told(
        link_event("rate 1mbit delay 40ms loss 2%"),
        link_event("rate 2mbit", direction="downlink"),
        link_event("rate 3mbit", device="phone"),
        step_event("phone/1"),
        step_event("tablet"),
    )
    link = fed(heard, 1.0, "tablet")["link"]
    assert link["uplink"] == "rate 1mbit delay 40ms loss 2%" and link["downlink"] == "rate 2mbit"
    assert (link["rate_bps"], link["delay_s"], link["loss"]) == (1e6, 0.04, 0.02)
    assert fed(heard, 1.0, "phone/1")["link"]["rate_bps"] == 3e6
    heard.hear("phone", link_event("rate 4mbit", ordered=True), 1.0)
    assert fed(heard, 1.0, "phone/1")["link"]["rate_bps"] == 4e6


def test_a_channel_that_was_started_anew_has_no_old_links() -> None:
    """What was ordered in an earlier life of it holds no more; told again in the same life, all stays."""
    heard = Hearing()
    heard.hear("channel", link_event("rate 20mbit") | {"started_s": 1.0}, 1.0)
    heard.hear("channel", link_event("rate 1mbit", device="phone", ordered=True) | {"started_s": 1.0}, 2.0)
    heard.hear("channel", link_event("rate 20mbit") | {"started_s": 1.0}, 3.0)
    assert heard.observation.words("phone")["uplink"] == "rate 1mbit"
    heard.hear("channel", link_event("rate 20mbit") | {"started_s": 4.0}, 4.0)
    assert heard.observation.words("phone") == {"uplink": "rate 20mbit", "downlink": None}


# Any events -------------------------------------------------------------------------------------------------

numbers = st.one_of(
    st.integers(-1, 5), st.integers(), st.floats(allow_nan=True), st.sampled_from([1e300, 2**64, -0.5])
)
plain = st.one_of(st.none(), st.booleans(), numbers, st.text(max_size=5), st.just("phone"))
odd: st.SearchStrategy[Json] = st.recursive(
    plain, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
)
names = st.sampled_from(["phone", "phone/1", "tablet", "\ud800"])
requests = st.sampled_from(["1", "2", "3"])
pieces = st.lists(st.tuples(st.text(max_size=3), st.sampled_from(["accepted", "bonus", "odd"])), max_size=3)
good = st.one_of(
    st.builds(step_event, names, seen=st.integers(0, 5), tokens=st.integers(0, 5), step_s=st.floats(0, 9)),
    st.builds(
        decision_event,
        names,
        k=st.sampled_from([8, 32, 320]),
        gamma=st.integers(0, 8),
        rows=st.booleans(),
        uplink_bps=st.one_of(st.none(), st.floats(0, 1e9)),
        rtt_s=st.floats(0, 9),
        reason=st.sampled_from(["best", "alone", "retry", "explore", "pinned"]),
    ),
    st.builds(link_event, st.sampled_from(["rate 1mbit", "", "trace mine", "nonsense"]), device=names),
    st.builds(traffic_event, numbers, st.builds(carried, names, delivered_bytes=st.integers(0, 2**64))),
    st.builds(asked_event, names, request=requests, prompt=st.text(max_size=5)),
    st.builds(tokens_event, names, request=requests, pieces=pieces),
    st.builds(answer_event, names, request=requests, finish=st.sampled_from(["eos", "odd"])),
    st.builds(lambda role: {"event": "alive", "role": role}, st.sampled_from(["device", "odd"])),
)


@st.composite
def spoilt(draw: st.DrawFn) -> Event:
    """An event in which any value may be any other."""
    event: Event = draw(good)
    where = event
    belief = event.get("belief")
    if isinstance(belief, dict) and draw(st.booleans()):
        where = belief = dict(belief)
        event = event | {"belief": belief}
    key = draw(st.sampled_from(sorted(where)))
    if draw(st.booleans()):
        where[key] = draw(odd)
    else:
        del where[key]
    return event


any_event = st.one_of(good, spoilt(), st.dictionaries(st.text(max_size=5), odd))


@given(st.lists(st.tuples(any_event, st.floats(0, 2)), max_size=20))
def test_no_event_raises(events: list[tuple[Event, float]]) -> None:
    """Whatever comes from the network, nothing is raised, and the feed and the metrics can be written."""
    heard, now_s, cursor = Hearing(), 0.0, None
    for event, passed_s in events:
        now_s += passed_s
        heard.hear("phone", event, now_s)
        message, cursor = heard.observation.feed(None, cursor, now_s)
        orjson.dumps(message)
    orjson.dumps(heard.observation.feed("phone", None, now_s)[0])
    heard.metrics.text(now_s).decode()


@given(st.lists(st.tuples(good, st.floats(0, 20), st.booleans()), max_size=60))
def test_increments_add_up_to_the_whole(events: list[tuple[Event, float, bool]]) -> None:
    """A page that folds increments, whenever it takes them, shows what one that comes last is told."""
    heard, page, now_s = Hearing(), Page(), 0.0
    for event, passed_s, takes in events:
        now_s += passed_s
        heard.hear("phone", event, now_s)
        if takes:
            page.take(heard, now_s, "phone")
    page.take(heard, now_s, "phone")
    late = Page()
    late.take(heard, now_s, "phone")
    assert page.same_as(late)


def test_a_question_asked_again_begins_anew() -> None:
    """Pieces of a second answer under the same name are never put behind those of the first."""
    heard, page = told(asked_event(), tokens_event()), Page()
    page.take(heard, 1.0)
    heard.hear("phone", asked_event(prompt="Again?"), 1.1)
    heard.hear("phone", tokens_event(pieces=[("no", "alone")]), 1.2)
    page.take(heard, 1.3)
    assert page.answers["1"]["pieces"] == [["no", "alone"]]


def test_a_bad_event_is_counted() -> None:
    """An event that is not what its name says changes nothing but a count; an unknown name is no fault."""
    heard = told(step_event() | {"seen": -1}, {"event": "rows"}, {"event": "decision"}, {})
    assert bad_events(heard) == 3
    assert fed(heard, 1.0)["devices"] == []
    assert bad_events(told(decision_event() | {"belief": belief_fields()})) == 0
