"""What the page draws of a feed, in a real browser."""

from itertools import pairwise

import pytest
from tests.harness.page_scene import TEXT, answer, empty, evening, flow, points
from tests.harness.page_visit import REFUSED, Visits

pytestmark = pytest.mark.slow


def test_what_comes_later_is_added(visit: Visits) -> None:
    """Messages behind the first one add tokens, points and decisions, and change what holds."""
    one = visit()
    one.wait_for("#answers h3", "Why is the sky blue?")
    one.stage.say(
        at_s=120.0,
        answers=[answer("a1", pieces=[[" More", "bonus"], [" of", "accepted"], [" it", "accepted"]])],
        decisions=[{"at_s": 120.0, "text": "K 96 -> 24: the link fell to 0.4 Mbit/s"}],
        flow=flow(4e5, dropped=2),
        nodes={"channel": {"state": "silent", "detail": "last heard 13 s ago"}},
    )
    one.wait_for("#decisions li", "K 96 → 24")
    assert one.text("#answers details >> nth=0 >> .text") == TEXT + " More of it"
    assert one.text("#dropped") == "2 messages"
    assert one.text("#node-channel .word") == "silent"
    one.stage.say(answers=[answer("a1", state="failed", detail="the base station is gone", pieces=[])])
    one.wait_for("#answers .badge", "failed")
    assert "the base station is gone" in one.text("#answers details >> nth=0 >> .summary")


def test_a_frame_that_never_comes_leaves_no_stale_page(visit: Visits) -> None:
    """Where the browser forgets the frame that was asked for, what came last is drawn all the same."""
    one = visit(frozen=True)
    one.page.evaluate("window.requestAnimationFrame = () => 0")
    one.stage.say(flow=flow(1e6, idle=True))
    one.wait_for("#hop-near .up .figure", "0\u00a0bit/s")


def test_a_running_answer_stands_above_newer_ones(visit: Visits) -> None:
    """The running answers come first, then the others, each newest first."""
    names = ("done", "running", "done", "failed")
    answers = [answer(f"r{at}", state=state, prompt=f"{at} {state}") for at, state in enumerate(names)]
    one = visit(empty(answers=answers))
    one.wait_for("#answers h3", "1 running")
    order = ["1 running", "3 failed", "2 done", "0 done"]
    assert one.page.locator("#answers h3").all_text_contents() == order


def test_origins_differ_in_colour_and_in_line_and_the_legend_shows_how(visit: Visits) -> None:
    """Each origin has a colour and an underline of its own, in the text as in the legend."""
    one = visit()
    one.wait_for("#answers h3", "Why is the sky blue?")
    looks = {}
    for origin in ("accepted", "corrected", "bonus", "alone"):
        look = """(element) => { const style = getComputedStyle(element);
                  return [style.color, style.textDecorationLine + style.textDecorationStyle]; }"""
        piece, legend = (
            one.page.locator(f"{where} .{origin}").first.evaluate(look) for where in (".text", ".legend")
        )
        assert piece == legend, origin
        looks[origin] = piece
    assert len({colour for colour, _ in looks.values()}) == 4
    assert len({line for _, line in looks.values()}) == 4


def test_a_refused_feed_says_why_and_is_tried_again(visit: Visits) -> None:
    """Where the server wants its key the page says so, with the time, and goes on once it is let in."""
    one = visit(frozen=True)
    one.until(lambda: one.stage.listeners == 1, "the page listens")
    one.stage.refusal = 401
    one.stage.drop()
    one.wait_for("#connection-words", "open this page as /?key=…")
    one.page.clock.run_for(2_000)
    one.wait_for("#connection-words", "lost for 2 s")
    one.stage.refusal = None
    one.page.clock.run_for(3_000)
    one.wait_for("#connection-words", "connected")
    one.forgive(REFUSED)


def test_behind_another_tab_it_lets_go_and_comes_back_when_seen(visit: Visits) -> None:
    """A page that nobody sees holds no connection for long, and is whole again when it is looked at."""
    one = visit(frozen=True)
    one.until(lambda: one.stage.listeners == 1, "the page listens")
    hide = """(value) => { Object.defineProperty(document, "visibilityState", { value, configurable: true });
               document.dispatchEvent(new Event("visibilitychange")); }"""
    one.page.evaluate(hide, "hidden")
    one.page.clock.run_for(31_000)
    one.wait_for("#connection-words", "paused")
    one.stage.drop()  # the stage notices who has left only when it writes
    one.until(lambda: one.stage.listeners == 0, "it has let go")
    one.page.evaluate(hide, "visible")
    one.until(lambda: one.stage.listeners == 1, "the page listens")
    one.wait_for("#connection-words", "connected")


def test_a_device_is_chosen_in_the_page_and_stays_in_its_address(visit: Visits) -> None:
    """The chooser asks for that device's feed; the address of the page then has it too."""
    one = visit(evening() | {"devices": ["cell/01", "cell/02"], "device": "cell/02"})
    one.page.get_by_label("Device").select_option("cell/01")
    one.until(lambda: one.stage.chosen == [None, "cell/01"], "it asks for the device")
    assert one.page.url.endswith("#device=cell%2F01")
    one.page.reload()
    one.until(lambda: one.stage.chosen[2:3] == ["cell/01"], "it asks for the device")
    chooser = one.page.get_by_label("Device")
    one.until(lambda: chooser.input_value() == "cell/01", "the chooser shows it")


def test_one_device_needs_no_chooser(visit: Visits) -> None:
    """The chooser is there only where there is a choice."""
    one = visit()
    one.wait_for("#answers h3", "Why is the sky blue?")
    assert not one.page.get_by_label("Device").is_visible()


def test_a_line_is_broken_where_nothing_was_measured(visit: Visits) -> None:
    """Nulls and times without points are gaps of a line and not bridged."""
    shown = points(40)
    for at, point in enumerate(shown):
        point["alpha"] = None if at in (10, 11, 12) else 0.4
        point["at_s"] += 30.0 if at >= 25 else 0.0
    one = visit(empty(points=shown))
    path = one.page.get_by_role("region", name="Acceptance", exact=True).locator("path.line")
    one.until(lambda: path.count() == 1, "the chart is drawn")
    assert (path.get_attribute("d") or "").count("M") == 3


@pytest.mark.parametrize("window_s", (30, 120, 600))
def test_the_axis_has_the_time_that_was_chosen(visit: Visits, window_s: int) -> None:
    """The lines of a chart hold the points of the chosen time, and no others."""
    one = visit(empty(points=points(1200)))
    one.draw()
    one.page.locator(f"input[name=window][value='{window_s}']").check(force=True)
    path = one.page.get_by_role("region", name="Tokens a second", exact=True).locator("path.line.first")
    count = min(1199, 2 * window_s)
    one.until(lambda: (path.get_attribute("d") or "").count("L") == count, "the axis has that time")


def test_a_night_of_messages_stays_within_bounds(visit: Visits) -> None:
    """Ten thousand messages leave a page as large as a thousand do, and the newest is what is shown."""
    one = visit()
    one.wait_for("#answers h3", "Why is the sky blue?")
    sizes = one.page.evaluate(
        """async () => {
          const { emptyState, fold, LIMITS } = await import("/page/state.js");
          const state = emptyState();
          const text = "a token ".repeat(4);
          const tokens = Array.from({ length: 40 }, (_, at) => [text, at % 2 ? "bonus" : "accepted"]);
          for (let at = 0; at < 10_000; at += 1) {
            const answers = [{ request: `r${Math.floor(at / 100)}`, pieces: tokens }];
            fold(state, { at_s: at, points: [{ at_s: at }], decisions: [{ at_s: at, text }], answers });
          }
          const [points, decisions, answers] = [state.points, state.decisions, state.answers];
          return { points: points.length, decisions: decisions.length, answers: answers.length,
                   runs: Math.max(...answers.map((one) => one.runs.length)),
                   letters: Math.max(...answers.map((one) => one.letters)),
                   last: points.at(-1).at_s, newest: answers.at(-1).request, LIMITS };
        }"""
    )
    limits = sizes.pop("LIMITS")
    assert sizes == {
        "points": limits["points"],
        "decisions": limits["decisions"],
        "answers": limits["answers"],
        "runs": limits["runs"],
        "letters": limits["runs"] * len("a token ") * 4,
        "last": 9999,
        "newest": "r99",
    }


@pytest.mark.slow
def test_ten_thousand_messages_over_the_wire_leave_a_page_of_bounded_size(visit: Visits) -> None:
    """Elements of the page do not grow with what has been heard, all the way from the feed to the screen."""
    one = visit()
    counts = []
    for part in range(5):
        for at in range(2000 * part, 2000 * (part + 1)):
            one.stage.say(
                at_s=at / 4,
                points=[point | {"at_s": at / 4} for point in points(1)],
                answers=[answer(f"n{at // 50}", pieces=[["so ", "accepted"], ["on ", "bonus"]])],
                decisions=[{"at_s": at / 4, "text": f"K {at}: a test"}],
            )
        one.wait_for("#decisions li", f"K {2000 * (part + 1) - 1}")
        counts.append(one.page.locator("*").count())
    assert one.page.locator("#answers details").count() == 20
    assert one.page.locator("#decisions li").count() == 200
    assert all(after <= before * 1.1 for before, after in pairwise(counts[1:])), counts
