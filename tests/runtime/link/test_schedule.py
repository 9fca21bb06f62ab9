"""Schedules of links: their words, their errors, and what holds when."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice, pairwise
from math import inf, nextafter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.harness.link_specs import find_trace, link_specs, schedules

from draftwire.codecs.limits import MAX_LINK_LENGTH
from draftwire.runtime.errors import ConfigurationError
from draftwire.runtime.link import LinkSpec, parse_link, shipped_trace
from draftwire.runtime.link.schedule import MIN_STEP_S, LinkPiece, LinkSchedule, parse_schedule

_links = st.builds(LinkSpec, rate_bps=st.sampled_from([None, 0.0, 1e6]), limit_messages=st.integers(1, 3))
_any = schedules(links=_links, pauses=st.floats(0.0011, 1000))
_in_quarters = schedules(links=_links, pauses=st.integers(1, 400).map(lambda n: n / 4))
"""Times whose sums have no rounding: so the property tests the schedule and not the floats."""


def _naive(schedule: LinkSchedule, t_s: float) -> LinkSpec:
    """Every round written out up to the time asked for, and the last change before it."""
    found, round_s = schedule.steps[0].link, 0.0
    while round_s <= t_s:
        for step in schedule.steps:
            if round_s + step.at_s <= t_s:
                found = step.link
        if schedule.repeat_s is None:
            break
        round_s += schedule.repeat_s
    return found


@given(schedules(links=link_specs(), pauses=st.floats(0.0011, 1000), at_most=4))
@settings(max_examples=60)
def test_words_read_back_as_the_schedule(schedule: LinkSchedule) -> None:
    """str() of any schedule, whatever its links and the names of their traces, parses to an equal one."""
    assert parse_schedule(str(schedule), find_trace=find_trace) == schedule


@given(_any)
def test_words_of_links_that_hardly_differ_read_back(schedule: LinkSchedule) -> None:
    """The same where a piece changes nothing."""
    assert parse_schedule(str(schedule)) == schedule


def _at(schedule: LinkSchedule, t_s: float) -> LinkPiece:
    return next(schedule.pieces(t_s))


def _written_out(schedule: LinkSchedule) -> Iterator[LinkPiece]:
    """The pieces, by going through all steps of all rounds from the start, those that change nothing too."""
    found: LinkPiece | None = None
    for round_s in (lap * (schedule.repeat_s or 0.0) for lap in range(40)):
        for step in schedule.steps:
            at_s = round_s + step.at_s
            if found is None:
                found = LinkPiece(from_s=0, until_s=inf, link=step.link, began_s=0, rates_before=0)
            elif step.link != found.link:
                yield replace(found, until_s=at_s)
                if not step.link.has_rate_of(found.link):
                    found = replace(found, began_s=at_s, rates_before=found.rates_before + 1)
                found = replace(found, from_s=at_s, link=step.link)
        if schedule.repeat_s is None:
            break
    assert found is not None
    yield found


@given(_links)
def test_a_plain_link_is_a_schedule_of_one_step(link: LinkSpec) -> None:
    """Words of a link are a schedule that never changes, and it is written as the link is."""
    schedule = parse_schedule(str(link))
    assert schedule == LinkSchedule.constant(link)
    assert str(schedule) == str(link)
    always = LinkPiece(from_s=0, until_s=inf, link=link, began_s=0, rates_before=0)
    assert list(schedule.pieces()) == list(schedule.pieces(1e9)) == [always]


@given(_in_quarters, st.integers(0, 20_000).map(lambda n: n / 8), st.integers(1, 5))
def test_what_holds_equals_a_naive_search_and_is_periodic(
    schedule: LinkSchedule, t_s: float, rounds: int
) -> None:
    """It agrees with writing all rounds out, and a whole number of rounds later the same holds."""
    assert _at(schedule, t_s).link == _naive(schedule, t_s)
    if schedule.repeat_s is not None:
        assert _at(schedule, t_s + rounds * schedule.repeat_s).link == _at(schedule, t_s).link


@given(_any)
def test_pieces_are_the_steps_one_after_the_other(schedule: LinkSchedule) -> None:
    """With their times, since when each rate is what it is, and how many came before. To begin in the midst
    of one, at its beginning or just ahead of its end, tells the same of it and of all that follow.
    """
    pieces = list(islice(schedule.pieces(), 20))
    assert pieces == list(islice(_written_out(schedule), 20))
    assert len(pieces) == 20 or pieces[-1].until_s == inf
    for number, piece in enumerate(pieces[:9]):
        until_s = min(piece.until_s, piece.from_s + 1)
        for t_s in (piece.from_s, (piece.from_s + until_s) / 2, nextafter(until_s, 0)):
            assert list(islice(schedule.pieces(t_s), 10)) == pieces[number : number + 10]


@given(_any, st.floats(0, 1e6))
def test_pieces_leave_no_gap(schedule: LinkSchedule, t_s: float) -> None:
    """From any time on, however late: the first holds then, and each ends where the next begins."""
    pieces = list(islice(schedule.pieces(t_s), 12))
    assert pieces[0].from_s <= t_s < pieces[0].until_s
    for before, after in pairwise(pieces):
        assert before.from_s < before.until_s == after.from_s and before.link != after.link


def test_a_trace_goes_on_through_a_round() -> None:
    """The piece that brings it does not begin it again where the end of the round has it as well."""
    goes_on = parse_schedule("trace lte-like; 10s loss 1%; repeat 20s")
    assert {(piece.began_s, piece.rates_before) for piece in islice(goes_on.pieces(), 9)} == {(0.0, 0)}
    anew = parse_schedule("trace lte-like; 10s rate 1mbit; repeat 20s")
    assert [piece.began_s for piece in islice(anew.pieces(), 4)] == [0.0, 10.0, 20.0, 30.0]
    same = parse_schedule("rate 1mbit; 1s rate 1mbit; repeat 2s")
    assert [(piece.from_s, piece.until_s) for piece in same.pieces(1e5)] == [(0.0, inf)]


def test_what_a_piece_leaves_out_stays() -> None:
    """Each piece changes the one before it; a delay without jitter has none; limits can be lifted again."""
    schedule = parse_schedule(
        "rate 20mbit delay 2ms 1ms limit 9kb; 5s rate 1mbit; 8s delay 3ms limit unlimited; 9s rate unlimited"
    )
    assert [(step.at_s, step.link) for step in schedule.steps] == [
        (0.0, parse_link("rate 20mbit delay 2ms 1ms limit 9kb")),
        (5.0, parse_link("rate 1mbit delay 2ms 1ms limit 9kb")),
        (8.0, parse_link("rate 1mbit delay 3ms")),
        (9.0, parse_link("delay 3ms")),
    ]


def test_a_schedule_on_top_of_a_link() -> None:
    """With `after`, a first piece at 0 changes that link, and before a later one it holds."""
    link = parse_link("rate 20mbit delay 2ms")
    slow = parse_link("rate 1mbit delay 2ms")
    later = parse_schedule("5s rate 1mbit; repeat 8s", after=link)
    assert [(step.at_s, step.link) for step in later.steps] == [(0.0, link), (5.0, slow)]
    assert later.repeat_s == 8.0
    at_once = parse_schedule("rate 1mbit; 500ms rate 20mbit", after=link)
    assert [(step.at_s, step.link) for step in at_once.steps] == [(0.0, slow), (0.5, link)]
    assert parse_schedule("0s rate 1mbit", after=link) == LinkSchedule.constant(slow)
    assert parse_schedule("", after=link) == LinkSchedule.constant(link)


def test_pieces_hold_any_words() -> None:
    """A piece may bring a trace, fading, a loss, or a command of tc; a `;` in a name divides nothing."""
    schedule = parse_schedule(
        "rate 20mbit delay 2ms; 5s trace lte-like loss gemodel 1% 30% arq 8ms; "
        "8s rayleigh 9db 1mhz 20ms loss none; "
        "9s tc qdisc change dev eth0 root netem rate 1mbit; 10s tc qdisc add dev eth0 root netem delay 1ms; "
        "11s trace 'rate;limit'; repeat 20s",
        find_trace=find_trace,
    )
    assert [str(step.link) for step in schedule.steps] == [
        "rate 20mbit delay 2ms",
        "trace lte-like delay 2ms loss gemodel 1% 30% arq 8ms",
        "rayleigh 9db 1mhz 20ms delay 2ms",
        "rate 1mbit",
        "delay 1ms",
        "trace 'rate;limit' delay 1ms",
    ]
    assert schedule.steps[1].link.trace == shipped_trace("lte-like")
    assert str(parse_schedule("trace lte-like; 5s trace lte-like")) == "trace lte-like; 5s trace lte-like"


def test_a_change_holds_from_its_very_time_on() -> None:
    """At a step's time that step holds, just before it the one before; `repeat` goes back to the first."""
    schedule = parse_schedule("rate 3mbit; 1s rate 2mbit; 2500ms rate 1mbit; repeat 4s")
    times = (0, 0.999, 1, 2.4999, 2.5, 3.999, 4, 4.999, 5, 402.5)
    rates = [_at(schedule, t_s).link.rate_bps for t_s in times]
    assert rates == [3e6, 3e6, 2e6, 2e6, 1e6, 1e6, 3e6, 3e6, 2e6, 1e6]
    assert [_at(schedule, t_s).until_s for t_s in (0, 1, 3, 4, 4.5)] == [1, 2.5, 4, 5, 5]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rate fast", "rate: 'fast' is no number with a unit; write for instance 'rate 20mbit'"),
        ("rate 1mbit; 5s rate fast", "rate: piece 2 ('5s rate fast'): 'fast' is no number with a unit;"),
        ("rate 1mbit; 5s rat 2mbit", "rat: piece 2 ('5s rat 2mbit'): 'rat' is no word of a link; did you"),
        ("rate 1mbit; rate 2mbit", "schedule: piece 2 ('rate 2mbit'): the piece does not begin with its"),
        ("rate 1mbit; 5s", "schedule: piece 2 ('5s'): the piece says no change; write for instance '5s rate"),
        ("rate 1mbit; 5 rate 2mbit", "time: piece 2 ('5 rate 2mbit'): '5' has no unit; write for instance"),
        ("rate 1mbit; 5h rate 2mbit", "time: piece 2 ('5h rate 2mbit'): 'h' in '5h' is no unit of it;"),
        ("rate 1mbit;", "schedule: piece 2 (''): the piece is empty; leave out the ';' beside it"),
        ("; 5s rate 1mbit", "schedule: piece 1 (''): the piece is empty; leave out"),
        ("5s rate 1mbit", "schedule: nothing says what the link is before; begin with it: 'rate 20mbit; 5s"),
        (
            "rate 1mbit; 5s rate 2mbit; 5s rate 3mbit",
            "schedule: piece 3 ('5s rate 3mbit'): the piece at 5s follows one at 5s; write a time of 5.001s",
        ),
        ("rate 1mbit; 5s rate 2mbit; repeat 5s", "schedule: the repeat at 5s follows one at 5s; write a"),
        ("rate 1mbit; 5s rate 2mbit; repeat", "schedule: piece 3 ('repeat'): 'repeat' takes one time; write"),
        ("rate 1mbit; 5s rate 2mbit; repeat 9s 9s", "schedule: piece 3 ('repeat 9s 9s'): 'repeat' takes one"),
        ("rate 1mbit; repeat 5s", "schedule: 'repeat' has nothing to repeat; add a piece before it, or"),
        ("rate 1mbit; 5s rate 0; repeat 8s; 9s rate 0", "schedule: piece 4 ('9s rate 0'): nothing may"),
        ("rate 1mbit; -5s rate 2mbit", "schedule: piece 2 ('-5s rate 2mbit'): the piece comes at -5 s;"),
        ("rate 1mbit; 1e7s rate 2mbit", "schedule: piece 2 ('1e7s rate 2mbit'): the piece comes at 1e+07 s;"),
        ("rate 1mbit; 5s loss 5", "loss: piece 2 ('5s loss 5'): '5' has no unit; write for instance"),
        ("rate 1mbit; 5s trace x.csv", "trace: piece 2 ('5s trace x.csv'): 'x.csv' is no trace that ships"),
        ("rate 1mbit; 5s trace 'x", 'link: piece 2 ("5s trace \'x"): the quote in "\'x" has no end'),
        ("rate 1mbit; 5s tc qdisc del", "tc: piece 2 ('5s tc qdisc del'): the command makes no link: 'del';"),
        ("rate 1mbit; 5s delay 99s", "delay: piece 2 ('5s delay 99s'): delay 99 is out of range; write 0 to"),
    ],
)
def test_errors_name_the_piece_and_the_remedy(text: str, message: str) -> None:
    """Each mistake is one line: the word, the piece, what is wrong with it, what to write."""
    with pytest.raises(ConfigurationError) as caught:
        parse_schedule(text)
    assert str(caught.value).startswith(message)
    assert caught.value.remedy


def test_a_first_piece_that_all_but_begins_at_once_is_named() -> None:
    """On top of a link too, changes are MIN_STEP_S apart, and the piece that comes too soon is named."""
    with pytest.raises(ConfigurationError, match=r"piece 1 \('100us rate 1mbit'\): the piece at 100us"):
        parse_schedule("100us rate 1mbit; 5s rate 2mbit", after=LinkSpec())
    assert len(parse_schedule("1ms rate 1mbit; 2ms rate 2mbit; 3ms rate 3mbit", after=LinkSpec()).steps) == 4
    assert MIN_STEP_S == 0.001


def test_a_schedule_fits_an_order() -> None:
    """No schedule has more words than an order to a channel may hold."""
    text = "rate 1mbit; " + "; ".join(f"{n}s rate {1 + n % 2}mbit" for n in range(1, 500))
    with pytest.raises(ConfigurationError, match=f"at most {MAX_LINK_LENGTH} will do"):
        parse_schedule(text)


_WORDS = (
    "rate delay limit repeat ; 5s 1mbit 0 2ms unlimited NaN0 sNaN1 1e999s "
    "trace lte-like ' \" netem tc loss 1%"
).split()


@given(st.text() | st.lists(st.sampled_from(_WORDS), max_size=12).map(" ".join))
def test_any_text_is_a_schedule_or_one_error(text: str) -> None:
    """Whatever somebody orders, the answer is a schedule or ConfigurationError."""
    try:
        schedule = parse_schedule(text)
    except ConfigurationError:
        return
    assert parse_schedule(str(schedule)) == schedule
