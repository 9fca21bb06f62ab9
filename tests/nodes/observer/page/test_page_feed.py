"""What the page draws of a feed, in a real browser."""

from itertools import pairwise

import pytest

from tests.harness.page_scene import TEXT, answer, empty, evening, flow, pieces, points
from tests.harness.page_stage import PAGE
from tests.harness.page_visit import REFUSED, Visits

HOSTILE = "<script>window.hurt = 1</script><img src=x onerror='window.hurt = 1'>\u202e{{7*7}}"


def test_an_evening_is_drawn_whole(visit: Visits) -> None:
    """Nodes, bytes, figures, answers, charts and decisions of a full message are all on the page."""
    one = visit()
    one.wait_for("#answers h3", "Why is the sky blue?")
    assert [one.text(f"#node-{role} .word") for role in ("device", "channel", "target", "controller")] == ["up"] * 4
    assert one.text("#hop-near .up .figure") == "530\u00a0kbit/s of 1\u00a0Mbit/s"
    assert one.text("#hop-far .down .figure") == "31 kB so far"
    assert one.text("#queue-up-words") == "3.84 kB"
    assert one.text("#plan-words") == "K 96, gamma 3"
    assert one.text("#now-gain") == "1.09× the target alone"
    assert one.text("#connection-words") == "connected"
    shown = one.page.locator("#answers details")
    assert shown.nth(0).locator(".text").text_content() == TEXT
    assert "46 accepted" in (shown.nth(0).locator(".counts").text_content() or "")
    shown.nth(1).locator("summary").click()
    assert "17.9 tok/s · target alone about 14.4 · alpha 0.41 · 48.3 kB up, 6.02 kB down" in (
        shown.nth(1).locator(".summary").text_content() or ""
    )
    told = one.page.locator("#decisions li").all_text_contents()
    assert len(told) == 5
    assert "drafts again" in told[0] and "K 64 → 320" in told[-1]
    assert one.page.locator(".plot path.line").count() == 7


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


def test_a_running_answer_stands_above_newer_ones(visit: Visits) -> None:
    """The running answers come first, then the others, each newest first."""
    names = ("done", "running", "done", "failed")
    answers = [answer(f"r{at}", state=state, prompt=f"{at} {state}") for at, state in enumerate(names)]
    one = visit(empty(answers=answers))
    one.wait_for("#answers h3", "1 running")
    assert one.page.locator("#answers h3").all_text_contents() == ["1 running", "3 failed", "2 done", "0 done"]


def test_origins_differ_in_colour_and_in_line_and_the_legend_shows_how(visit: Visits) -> None:
    """Each origin has a colour and an underline of its own, in the text as in the legend."""
    one = visit()
    one.wait_for("#answers h3", "Why is the sky blue?")
    looks = {}
    for origin in ("accepted", "corrected", "bonus", "alone"):
        look = """(element) => { const style = getComputedStyle(element);
                  return [style.color, style.textDecorationLine + style.textDecorationStyle]; }"""
        piece, legend = (
            one.page.locator(f"{where} .{origin}").first.evaluate(look)
            for where in (".text", ".legend")
        )
        assert piece == legend, origin
        looks[origin] = piece
    assert len({colour for colour, _ in looks.values()}) == 4
    assert len({line for _, line in looks.values()}) == 4


def test_text_from_the_network_stays_text(visit: Visits) -> None:
    """Markup in prompts, tokens, reasons, names and words of links is shown, and neither read nor run."""
    link = {"uplink": HOSTILE, "downlink": HOSTILE, "controllable": False, "rate_bps": None, "delay_s": 0, "loss": 0}
    one = visit(
        empty(
            device=HOSTILE,
            devices=[HOSTILE, "b"],
            link=link,
            nodes={"target": {"state": "up", "detail": HOSTILE}},
            plan={"k": 3, "gamma": 2, "alone": False, "acceptance": HOSTILE},
            answers=[answer(state="failed", prompt=HOSTILE, detail=HOSTILE, pieces=[[HOSTILE, "x\" onload='1'"]])],
            decisions=[{"at_s": 0.0, "text": HOSTILE}],
        )
    )
    one.wait_for("#answers .text", HOSTILE)
    for place in ("#answers h3", "#answers .summary", "#link-words dd >> nth=0", "#node-target .detail", "#plan-acceptance"):
        assert HOSTILE in one.text(place), place
    assert HOSTILE in one.text("#decisions li")
    assert one.page.locator("script").count() == 1
    assert one.page.locator("img").count() == 0
    assert one.page.evaluate("window.hurt") is None


def test_after_a_lost_connection_the_full_message_replaces_everything(visit: Visits) -> None:
    """The page comes back by itself, and shows what the server that it then finds knows."""
    one = visit()
    one.wait_for("#answers h3", "Why is the sky blue?")
    one.stage.opening = empty(at_s=3.0, answers=[answer("b", state="done", prompt="Another evening", pieces=pieces())])
    one.stage.drop()
    one.wait_for("#answers h3", "Another evening")
    assert one.page.locator("#answers details").count() == 1
    assert one.page.locator("#decisions li").count() == 0
    assert one.text("#answers .text") == TEXT
    one.wait_for("#connection-words", "connected")


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
    hide = """(state) => { Object.defineProperty(document, "visibilityState", { value: state, configurable: true });
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
    one.until(lambda: one.stage.chosen[2:] == ["cell/01"], "it asks for the device")
    assert one.page.get_by_label("Device").input_value() == "cell/01"


def test_one_device_needs_no_chooser(visit: Visits) -> None:
    """The chooser is there only where there is a choice."""
    one = visit()
    one.wait_for("#answers h3", "Why is the sky blue?")
    assert not one.page.get_by_label("Device").is_visible()


def test_a_line_is_broken_where_nothing_was_measured(visit: Visits) -> None:
    """Nulls and times without points are gaps of a line and not bridged."""
    shown = points(40)
    for at in (10, 11, 12):
        shown[at]["alpha"] = None
    shown = shown[:25] + [one | {"at_s": one["at_s"] + 30.0} for one in shown[25:]]
    for one_ in shown:
        one_["alpha"] = None if one_["at_s"] in (5.0, 5.5, 6.0) else 0.4
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
    one.until(lambda: (path.get_attribute("d") or "").count("L") == min(1199, 2 * window_s), "the axis has that time")


def test_the_page_is_small_and_asks_nobody_else() -> None:
    """All files together stay below the bound; no address of another host, no script or style in the text."""
    files = {path.name: path.read_text() for path in PAGE.iterdir()}
    assert sum(len(text.encode()) for text in files.values()) <= 100_000
    for name, text in files.items():
        addresses = text.replace("http://www.w3.org/", "")  # a name, that nobody opens
        assert "http:" not in addresses and "https:" not in addresses, name
        assert "innerHTML" not in text and "insertAdjacentHTML" not in text, name
    page = files["index.html"]
    assert "<style" not in page and " style=" not in page and " onclick=" not in page
    assert all(" src=" in part.split(">")[0] for part in page.split("<script")[1:])


def test_a_night_of_messages_stays_within_bounds(visit: Visits) -> None:
    """Ten thousand messages leave a page as large as a thousand do, and the newest is what is shown."""
    one = visit()
    one.wait_for("#answers h3", "Why is the sky blue?")
    sizes = one.page.evaluate(
        """async () => {
          const { emptyState, fold, LIMITS } = await import("/page/state.js");
          const state = emptyState();
          const text = "a token ".repeat(4);
          for (let at = 0; at < 10_000; at += 1) {
            const answer = { request: `r${Math.floor(at / 100)}`, pieces: [] };
            for (let token = 0; token < 40; token += 1) answer.pieces.push([text, token % 2 ? "bonus" : "accepted"]);
            fold(state, { at_s: at, points: [{ at_s: at }], decisions: [{ at_s: at, text }], answers: [answer] });
          }
          return { points: state.points.length, decisions: state.decisions.length, answers: state.answers.length,
                   runs: Math.max(...state.answers.map((one) => one.runs.length)),
                   letters: Math.max(...state.answers.map((one) => one.letters)),
                   last: state.points.at(-1).at_s, newest: state.answers.at(-1).request, LIMITS };
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
                points=[one_ | {"at_s": at / 4} for one_ in points(1)],
                answers=[answer(f"n{at // 50}", prompt=f"night {at // 50}", pieces=[["so ", "accepted"], ["on ", "bonus"]])],
                decisions=[{"at_s": at / 4, "text": f"K {at}: a test"}],
            )
        one.wait_for("#decisions li", f"K {2000 * (part + 1) - 1}")
        counts.append(one.page.locator("*").count())
    assert one.page.locator("#answers details").count() == 20
    assert one.page.locator("#decisions li").count() == 200
    assert all(after <= before * 1.1 for before, after in pairwise(counts[1:])), counts
