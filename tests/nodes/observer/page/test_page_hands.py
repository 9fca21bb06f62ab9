"""What people do to the page and with it: sliders, questions, keys, screen readers, dark screens."""

import json
from typing import TYPE_CHECKING

import pytest
from tests.harness.page_scene import DEVICE, LINK, RIVERS, answer, empty, evening, flow, pieces, points
from tests.harness.page_stage import Message
from tests.harness.page_visit import REFUSED, Visits

from draftwire.nodes.console.answer_telling import LEFT

if TYPE_CHECKING:
    from playwright.sync_api import Locator

CHAT = "/v1/chat/completions"
COMPLETIONS = "/v1/completions"
LONG_MS = 5_000
"""Behind it nothing is waited for that a hand has set going."""

pytestmark = pytest.mark.slow


def test_the_ends_of_the_sliders_are_no_limit_and_the_most(visit: Visits) -> None:
    """The rate's upper end is no limit, its lower one 10 kbit/s; delay and loss end at 500 ms and 30 %."""
    one = visit(frozen=True)
    for label, key in (("Rate", "End"), ("Delay one way", "End"), ("Loss", "End")):
        one.slider(label).press(key)
    one.until(lambda: len(one.stage.orders) == 1, "the order goes out")
    ends = {"rate_bps": None, "delay_s": 0.5, "loss": 0.3}
    assert one.stage.orders == [ends | {"direction": "both", "device": None}]
    labels = ("Rate", "Delay one way", "Loss")
    texts = [one.slider(label).get_attribute("aria-valuetext") for label in labels]
    assert texts == ["no limit", "500 milliseconds", "30 percent"]
    one.slider("Rate").press("Home")
    one.until(lambda: len(one.stage.orders) == 2, "the second order goes out")
    assert one.stage.orders[1] == {"rate_bps": 10_000, "direction": "both", "device": None}


def test_one_direction_of_one_device_is_ordered_alone(visit: Visits) -> None:
    """Where there are several devices the order names the one shown; the direction is the chosen one."""
    one = visit(evening() | {"devices": ["a", DEVICE]}, frozen=True)
    one.page.get_by_label("uplink", exact=True).check(force=True)
    one.slider("Loss").press("ArrowRight")
    one.until(lambda: len(one.stage.orders) == 1, "the order goes out")
    assert one.stage.orders == [{"loss": 0.005, "direction": "uplink", "device": DEVICE}]


def test_a_refused_order_is_told_beside_the_sliders(visit: Visits) -> None:
    """The server's reason stands there until an order succeeds, and the sliders go back to what holds."""
    one = visit(frozen=True)
    one.stage.link_answer = (409, {"error": {"message": "the channel is gone"}})
    one.slider("Delay one way").press("End")
    one.wait_for("#link-error", "the channel is gone")
    one.page.clock.run_for(LONG_MS)
    assert one.text("#delay-words") == "20 ms"
    assert one.slider("Delay one way").input_value() == "20"
    one.stage.link_answer = (200, LINK)
    one.slider("Delay one way").press("Home")
    one.until(lambda: one.text("#link-error") == "", "the error goes away")
    one.forgive(REFUSED)


def test_sliders_follow_others_but_not_out_of_a_hand(visit: Visits) -> None:
    """What someone else orders moves them, except while a pointer holds one."""
    one = visit(frozen=True)
    one.stage.say(link=LINK | {"rate_bps": 1e5, "delay_s": 0.123, "loss": 0.02})
    one.wait_for("#rate-words", "100 kbit/s")
    assert one.text("#delay-words") == "123 ms" and one.text("#loss-words") == "2 %"
    box = one.slider("Rate").bounding_box()
    assert box is not None
    one.page.mouse.move(box["x"] + box["width"] * 0.9, box["y"] + box["height"] / 2)
    one.page.mouse.down()
    held = one.text("#rate-words")
    assert held != "100 kbit/s"
    one.until(lambda: len(one.stage.orders) == 1, "the order goes out")
    one.page.clock.run_for(LONG_MS)
    one.stage.say(link=LINK | {"rate_bps": 2e4, "uplink": "rate 20kbit"})
    one.wait_for("#link-words dd", "rate 20kbit")
    assert one.text("#rate-words") == held
    one.page.mouse.up()
    one.wait_for("#rate-words", "20 kbit/s")


@pytest.mark.parametrize(
    ("link", "reason"),
    (
        (None, "No channel has told of its link yet."),
        (LINK | {"controllable": False}, "can't be changed from here"),
    ),
)
def test_a_link_that_takes_no_orders_says_so(visit: Visits, link: Message | None, reason: str) -> None:
    """The sliders can't be moved then, and the reason stands below them."""
    one = visit(evening() | {"link": link}, frozen=True)
    one.wait_for("#link-note", reason)
    assert all(one.slider(label).is_disabled() for label in ("Rate", "Delay one way", "Loss"))


def test_an_error_of_a_question_is_shown(visit: Visits) -> None:
    """A refusal is, and an error in the middle of a stream."""
    one = visit(frozen=True)
    told = {"error": {"message": "64 requests are under way", "code": "rate_limited"}}
    one.stage.ask_answers[CHAT] = (429, [json.dumps(told)])
    one.page.get_by_label("Your question").fill("Why?")
    one.page.get_by_role("button", name="Ask").click()
    one.wait_for("#ask-error", "64 requests are under way")
    told = {"error": {"message": "the base station is gone"}}
    one.stage.ask_answers[CHAT] = (200, ['{"choices": []}', json.dumps(told)])
    one.page.get_by_role("button", name="Ask").click()
    one.wait_for("#ask-error", "the base station is gone")
    one.forgive(REFUSED)


def test_stop_breaks_the_answer_off(visit: Visits) -> None:
    """The server sees the client leave, the page says no error, but how much there is, without the text, and
    the next question can be asked.
    """
    one = visit(frozen=True)
    one.stage.ask_answers[CHAT] = (200, ['{"choices": []}', "[DONE]"])
    one.stage.ask_waits.clear()
    one.page.get_by_label("Your question").fill("Why?")
    one.page.get_by_label("Your question").press("Enter")
    one.until(lambda: one.page.get_by_role("button", name="Stop").is_enabled(), "it runs")
    one.page.get_by_label("Your question").press("Enter")
    one.page.get_by_role("button", name="Stop").click()
    one.until(lambda: one.stage.left == 1, "the server sees it leave")
    assert len(one.stage.asked) == 1
    assert one.text("#ask-error") == ""
    one.stage.say(answers=[answer("mine", pieces=pieces(RIVERS))])
    one.stage.say(answers=[answer("mine", state="failed", detail=LEFT, summary=None)])
    one.wait_for("#announcer", "Stopped, 7 tokens.")
    one.until(lambda: one.page.get_by_role("button", name="Stop").is_disabled(), "it has ended")


def test_an_answer_that_was_broken_off_has_not_failed(visit: Visits) -> None:
    """What a device says of an answer that nobody waits for is shown as stopped."""
    answers = [answer(name, state="failed", detail=detail) for name, detail in (("a", LEFT), ("b", "gone"))]
    one = visit(empty(answers=answers))
    one.wait_for("#answers .badge", "failed")
    assert one.page.locator("#answers .badge").all_text_contents() == ["failed", "stopped"]


@pytest.mark.parametrize("detail", ("length", "length; some tokens were lost"))
def test_an_answer_that_was_cut_says_where(visit: Visits, detail: str) -> None:
    """One that might not be longer does not look like one that came to its end."""
    one = visit(empty(answers=[answer("a", state="done", detail=detail), answer("b", state="done")]))
    one.wait_for("#answers .badge", "done")
    assert one.page.locator("#answers .badge").all_text_contents() == ["done", "cut at 97 tokens"]


def test_a_model_without_a_chat_template_completes_the_question(visit: Visits) -> None:
    """Where chat is refused for want of a template the text itself is completed."""
    one = visit(frozen=True)
    told = {"error": {"message": "this model has no chat template", "code": "no_chat_template"}}
    one.stage.ask_answers[CHAT] = (400, [json.dumps(told)])
    one.stage.ask_answers[COMPLETIONS] = (200, ["[DONE]"])
    one.page.get_by_label("Your question").fill("Once upon")
    one.page.get_by_label("Your question").press("Enter")
    one.until(lambda: len(one.stage.asked) == 2, "both are asked")
    body = {"model": "SmolLM2-135M-Instruct", "prompt": "Once upon", "stream": True}
    assert one.stage.asked[1] == (COMPLETIONS, body)
    one.forgive(REFUSED)


def test_without_an_api_nothing_can_be_asked(visit: Visits) -> None:
    """An observer by itself has no question box, and says how to ask."""
    one = visit(evening() | {"asks": None}, frozen=True)
    assert not one.page.get_by_label("Your question").is_visible()
    assert "draftwire generate" in one.text("#ask-none")


def test_a_chart_is_read_by_keys_and_as_a_table(visit: Visits) -> None:
    """Arrow keys say values at a time; the same are in a summary, and in a table."""
    one = visit(empty(points=points(20)), frozen=True)
    chart = one.page.get_by_role("slider", name="Link rate, bit/s: values over time")
    for key in ("Home", "ArrowRight", "ArrowRight", "ArrowLeft"):
        chart.press(key)
    assert "true 20 Mbit/s, estimated " in (chart.get_attribute("aria-valuetext") or "")
    assert (chart.get_attribute("aria-valuenow"), chart.get_attribute("aria-valuemax")) == ("1", "19")
    assert one.page.locator("line.cursor").count() == 4
    chart.press("End")
    assert "true 1 Mbit/s" in (chart.get_attribute("aria-valuetext") or "")
    chart.press("Escape")
    assert one.page.locator("line.cursor").count() == 0
    section = one.page.get_by_role("region", name="Link rate, bit/s", exact=True)
    assert "true: 1 Mbit/s now, 100 kbit/s to 20 Mbit/s in that time." in (section.text_content() or "")
    section.get_by_text("Show as table").click()
    one.until(lambda: section.locator("tbody tr").count() == 20, "the table is there")
    assert "1 Mbit/s" in (section.locator("tbody tr").first.text_content() or "")


def test_a_chart_tells_no_old_value_as_the_last_one(visit: Visits) -> None:
    """What is not known now is said to be so, a rate of null to be no limit, and equal words once."""
    shown = points(20)
    for at, point in enumerate(shown):
        point |= {"rate_bps": None, "estimated_bps": 1e6 + at, "alpha": 0.4 if at < 5 else None, "gamma": 3}
    one = visit(evening() | {"points": shown}, frozen=True)

    def summary(name: str) -> str:
        region = one.page.get_by_role("region", name=name, exact=True)
        return region.locator("p.hidden").text_content() or ""

    assert summary("Link rate, bit/s").endswith("true: no limit now. estimated: 1 Mbit/s now, all the time.")
    assert summary("Acceptance").endswith("alpha: none now, 0.40 in that time.")
    chart = one.page.get_by_role("slider", name="Acceptance: values over time")
    chart.press("End")
    assert (chart.get_attribute("aria-valuetext") or "").endswith(": alpha none")
    unheard = evening()["nodes"] | {"channel": {"state": "unknown", "detail": ""}}
    one.stage.say(nodes=unheard)
    one.until(lambda: "true: none now." in summary("Link rate, bit/s"), "nobody tells of a limit")


def test_a_pointer_reads_all_charts_at_once(visit: Visits) -> None:
    """Over one chart each shows the line and its values at that time."""
    one = visit(empty(points=points(240)), frozen=True)
    plot = one.page.get_by_role("slider", name="Acceptance: values over time")
    plot.hover(position={"x": 60, "y": 40})
    assert one.page.locator("line.cursor").count() == 4
    assert "true 20 Mbit/s" in one.text(".chart:nth-child(2) .keys")
    one.page.mouse.move(2, 2)
    assert one.page.locator("line.cursor").count() == 0


def test_a_screen_reader_is_told_of_answers_and_not_of_tokens(visit: Visits) -> None:
    """One announcement when an answer begins, one with its text when it ends, none for what was there."""
    one = visit(empty(), frozen=True)
    one.page.evaluate(
        """() => {
          window.told = [];
          const announcer = document.getElementById("announcer");
          const tell = () => window.told.push(announcer.textContent);
          new MutationObserver(tell).observe(announcer, { childList: true });
        }"""
    )
    for part in ([], *([piece] for piece in pieces(RIVERS)[:-1])):
        one.stage.say(answers=[answer("new", pieces=part)])
    one.stage.say(answers=[answer("new", state="done", pieces=pieces(RIVERS)[-1:])])
    one.wait_for("#answers .badge", "done")
    told = one.page.evaluate("window.told")
    assert told[-1] == f"Answer: {RIVERS}"
    assert told[:-1] in ([], ["Answering: Why is the sky blue?"])  # all may have come before one drawing
    long = [["so on ", "bonus"]] * 100
    one.stage.say(answers=[answer("long", state="done", detail="length", pieces=long)])
    one.wait_for("#announcer", "Answer, cut at 97 tokens: so on")
    assert one.text("#announcer").endswith("so on so on… 97 tokens in all.")
    live = "[...document.querySelectorAll('output, [aria-live], [role=status], [role=log]')].map((e) => e.id)"
    assert one.page.evaluate(live) == ["announcer"]


def test_each_direction_and_each_answer_is_called_by_its_name_once(visit: Visits) -> None:
    """A screen reader hears whose text a region has, and no words twice."""
    one = visit(frozen=True)
    assert one.text("#hop-far .up").replace("\u2191 ", "") == "Uplink: 248 kB so far"
    one.page.locator("#answers summary").nth(1).click()
    for prompt in ("Why is the sky blue?", "Name three rivers in Europe."):
        assert one.page.get_by_role("region", name=f"The answer to: {prompt}", exact=True).count() == 1


def test_what_a_finger_touches_is_large_on_a_phone(visit: Visits) -> None:
    """Below 560 px nothing that is touched is lower than 40 px."""
    busy = evening() | {"devices": ["a", DEVICE]}
    one = visit(busy, viewport={"width": 390, "height": 844}, frozen=True)
    what = "button, select, textarea, a, summary, input[type=range], label span"
    heights = """(what) => [...document.querySelectorAll(what)]
        .filter((e) => e.checkVisibility() && !e.matches(".skip, .hidden"))
        .map((e) => [e.outerHTML.slice(0, 60), e.getBoundingClientRect().height])"""
    touched = one.page.evaluate(heights, what)
    assert len(touched) > 15
    assert [had for had in touched if had[1] < 39.5] == []


def test_on_a_desk_sliders_answers_and_charts_are_seen_together(visit: Visits) -> None:
    """At 1280 px charts stand two in a row and level, the sliders beside the question, decisions below."""
    one = visit(viewport={"width": 1280, "height": 900}, frozen=True)

    def box(selector: str) -> list[float]:
        found = one.page.locator(selector).bounding_box()
        assert found is not None, selector
        return [found["x"], found["y"], found["x"] + found["width"], found["y"] + found["height"]]

    first, second, third = (box(f".chart:nth-child({at}) .plot") for at in (1, 2, 3))
    assert first[1] == second[1] and first[2] < second[0] and third[1] > first[3]
    ask, link, text, told = (box(what) for what in ("#ask", "#link", "#answers .text >> nth=0", "#decisions"))
    assert ask[2] < link[0] and link[3] < text[1] and (text[1] + text[3]) / 2 < 900
    assert told[1] > text[3] and told[2] < first[0]


def test_the_first_stop_of_the_keyboard_leads_past_the_picture(visit: Visits) -> None:
    """Tab reaches a link to the main part first, and what has the focus can be seen."""
    one = visit(frozen=True)
    one.page.keyboard.press("Tab")
    assert one.page.evaluate("document.activeElement.textContent") == "Skip to the answers"
    one.page.keyboard.press("Enter")
    one.page.keyboard.press("Tab")
    assert one.page.evaluate("document.activeElement.id") == "question"
    assert one.page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"


CONTRASTS = """() => {
  const parse = (text) => (text.match(/[\\d.]+/g) ?? []).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((part) => part / 255)
    .map((part) => (part <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4))
    .reduce((sum, part, at) => sum + part * [0.2126, 0.7152, 0.0722][at], 0);
  const ground = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = parse(getComputedStyle(at).backgroundColor);
      if (colour.length === 3 || colour[3] === 1) return colour;
    }
    return [255, 255, 255];
  };
  const found = {};
  for (const element of document.querySelectorAll("body *")) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    if (!own || !element.checkVisibility() || element.closest(":disabled, script, noscript, .skip")) continue;
    const style = getComputedStyle(element);
    const ink = parse(element.closest("svg") ? style.fill : style.color);
    const flag = element.classList.contains("flag-words") && document.querySelector(".flag");
    const under = flag ? parse(getComputedStyle(flag).fill) : ground(element);
    const [low, high] = [light(ink), light(under)].sort((a, b) => a - b);
    const ratio = (high + 0.05) / (low + 0.05);
    const name = element.tagName + "." + element.getAttribute("class");
    found[name] = Math.min(found[name] ?? 99, ratio);
  }
  return found;
}"""


@pytest.mark.parametrize("scheme", ("light", "dark"))
def test_text_has_contrast_in_both_schemes(visit: Visits, scheme: str) -> None:
    """All text stands out from its ground by 4.5 to 1 at least, errors and marks included."""
    busy = evening()
    busy["answers"].append(answer("x", state="failed", detail="gone", prompt="Bad"))
    busy["nodes"]["target"]["state"] = "silent"
    one = visit(busy, frozen=True, color_scheme=scheme)
    one.stage.link_answer = (409, {"error": {"message": "the channel is gone"}})
    one.slider("Loss").press("End")
    one.wait_for("#link-error", "the channel is gone")
    one.page.get_by_role("slider", name="Acceptance: values over time").hover()
    found = one.page.evaluate(CONTRASTS)
    assert len(found) > 30
    assert {name: ratio for name, ratio in found.items() if ratio < 4.5} == {}
    ground = one.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, ground[4:-1].split(", "))) < 128) == (scheme == "dark")
    one.forgive(REFUSED)


def offset(dots: "Locator") -> float:
    """How far the dots of a link have run."""
    return float(dots.evaluate("(element) => parseFloat(element.style.strokeDashoffset || '0')"))


def test_bytes_move_and_stand_still_where_nobody_wants_movement(visit: Visits) -> None:
    """Dots run while bytes do; with reduced motion there are none, and nothing else moves either."""
    one = visit(frozen=True)
    dots = one.page.locator("#hop-near .dots.uplink")
    before = offset(dots)
    one.page.clock.run_for(500)
    assert offset(dots) < before - 10
    one.stage.say(flow=flow(1e6, idle=True))
    one.wait_for("#hop-near .up .figure", "0\u00a0bit/s")
    one.until(lambda: dots.evaluate("(element) => element.style.visibility") == "hidden", "the dots go")
    calm = visit(reduced_motion="reduce", frozen=True)
    assert calm.text("#hop-near .up .figure") == "530\u00a0kbit/s of 1\u00a0Mbit/s"
    shown = calm.page.locator("#hop-near .dots.uplink").evaluate("(element) => element.style.visibility")
    assert shown == "hidden"
    assert calm.page.evaluate("document.getAnimations().length") == 0
