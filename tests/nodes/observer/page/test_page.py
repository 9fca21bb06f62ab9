"""The page draws what it hears, takes orders and questions, and can be used by everybody."""

from itertools import pairwise

import pytest
from tests.harness.page_scene import DEVICE, LINK, TEXT, answer, empty, evening, pieces
from tests.harness.page_stage import PAGE
from tests.harness.page_visit import Visit, Visits

CHAT = "/v1/chat/completions"
HOSTILE = "<script>window.hurt = 1</script><img src=x onerror='window.hurt = 1'>\u202e{{7*7}}"
WIDTHS = (320, 700, 900, 1100, 1300, 1440)
LONG_MS = 5_000
"""Behind it nothing is waited for that a hand has set going."""


def names_of(one: Visit) -> list[tuple[str, str]]:
    """Role and name of all that can have the focus, as a screen reader is given them."""
    session = one.page.context.new_cdp_session(one.page)
    nodes = session.send("Accessibility.getFullAXTree")["nodes"]
    focusable = [
        node
        for node in nodes
        if not node.get("ignored")
        and any(had["name"] == "focusable" and had["value"]["value"] for had in node.get("properties", ()))
    ]
    return [(node["role"]["value"], node.get("name", {}).get("value", "")) for node in focusable]


def test_an_evening_is_drawn_whole(visit: Visits) -> None:
    """Nodes, bytes, figures, answers, charts and decisions of a full message are all on the page."""
    one = visit()
    one.wait_for("#answers h3", "Why is the sky blue?")
    assert one.page.locator(".node .word").all_text_contents() == ["up"] * 4
    assert one.text("#hop-near .up .figure") == "530\u00a0kbit/s of 1\u00a0Mbit/s"
    assert one.text("#hop-far .down .figure") == "31 kB so far"
    assert one.text("#queue-up-words") == "3.84 kB"
    assert one.text("#plan-words") == "K\u00a096, gamma\u00a03"
    assert one.text("#now-gain") == "1.18× the target alone"
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


def test_text_from_the_network_stays_text(visit: Visits) -> None:
    """Markup in prompts, tokens, reasons, names and words of links is shown, and neither read nor run."""
    link = LINK | {"uplink": HOSTILE, "downlink": HOSTILE}
    pieces_ = [[HOSTILE, "x\" onload='1'"]]
    one = visit(
        empty(
            device=HOSTILE,
            devices=[HOSTILE, "b"],
            link=link,
            nodes={"target": {"state": "up", "detail": HOSTILE}},
            plan={"k": 3, "gamma": 2, "alone": False, "acceptance": HOSTILE},
            answers=[answer(state="failed", prompt=HOSTILE, detail=HOSTILE, pieces=pieces_)],
            decisions=[{"at_s": 0.0, "text": HOSTILE}],
        )
    )
    one.wait_for("#answers .text", HOSTILE)
    places = ("#answers h3", "#answers p.summary", "#link-words dd >> nth=0", "#node-target .detail")
    for place in (*places, "#plan-acceptance"):
        assert HOSTILE in one.text(place), place
    assert HOSTILE in one.text("#decisions li")
    assert one.page.locator("script").count() == 1
    assert one.page.locator("img").count() == 0
    assert one.page.evaluate("window.hurt") is None


@pytest.mark.slow
def test_after_a_lost_connection_the_full_message_replaces_everything(visit: Visits) -> None:
    """The page comes back by itself, and shows what the server that it then finds knows."""
    one = visit()
    one.wait_for("#answers h3", "Why is the sky blue?")
    other = answer("b", state="done", prompt="Another evening", pieces=pieces())
    one.stage.opening = empty(at_s=3.0, answers=[other])
    one.stage.drop()
    one.wait_for("#answers h3", "Another evening")
    assert one.page.locator("#answers details").count() == 1
    assert one.page.locator("#decisions li").count() == 0
    assert one.text("#answers .text") == TEXT
    one.wait_for("#connection-words", "connected")


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


def test_a_slider_moved_by_keys_orders_once_when_it_rests(visit: Visits) -> None:
    """Five steps are one order, of that slider alone, behind a quarter of a second of rest."""
    one = visit(frozen=True)
    rate = one.slider("Rate")
    rate.focus()
    for _ in range(5):
        rate.press("ArrowLeft")
    assert one.text("#rate-words") == "560 kbit/s"
    assert rate.get_attribute("aria-valuetext") == "560 kilobits per second"
    one.page.clock.run_for(200)
    assert one.stage.orders == []
    one.until(lambda: len(one.stage.orders) == 1, "the order goes out")
    one.page.clock.run_for(LONG_MS)
    assert one.stage.orders == [{"rate_bps": 560_000, "direction": "both", "device": None}]


@pytest.mark.slow
def test_enter_asks_and_shift_enter_begins_a_line(visit: Visits) -> None:
    """The question goes to this page's own port, streamed, to the model that the feed names."""
    one = visit(frozen=True)
    one.stage.ask_answers[CHAT] = (200, ['{"choices": []}', "[DONE]"])
    box = one.page.get_by_label("Your question")
    box.type("Why")
    box.press("Shift+Enter")
    box.type("not?")
    assert one.stage.asked == []
    box.press("Enter")
    one.until(lambda: len(one.stage.asked) == 1, "the question is asked")
    messages = [{"role": "user", "content": "Why\nnot?"}]
    body = {"model": "SmolLM2-135M-Instruct", "messages": messages, "stream": True}
    assert one.stage.asked == [(CHAT, body)]
    one.until(lambda: one.page.get_by_role("button", name="Stop").is_disabled(), "it has ended")
    assert one.text("#ask-error") == ""


def test_whatever_takes_the_focus_has_a_name_and_the_page_landmarks(visit: Visits) -> None:
    """Controls, regions and charts have names; there is one main, one h1, and no level is left out."""
    one = visit(evening() | {"devices": ["a", DEVICE]}, frozen=True)
    one.page.get_by_text("Show as table").first.click()
    plain = ("RootWebArea", "generic", "main")
    found = [(role, name) for role, name in names_of(one) if role not in plain]
    assert len(found) > 20
    assert [role for role, name in found if not name.strip()] == []
    for role, count in (("main", 1), ("banner", 1), ("contentinfo", 1)):
        assert one.page.get_by_role(role).count() == count, role  # type: ignore[arg-type]
    headings = "[...document.querySelectorAll('h1, h2, h3, h4')].map((e) => Number(e.tagName[1]))"
    levels = one.page.evaluate(headings)
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert one.page.evaluate("document.documentElement.lang") == "en"
    assert "img" not in one.page.locator("main").aria_snapshot()


@pytest.mark.parametrize("width", (390, *(pytest.param(width, marks=pytest.mark.slow) for width in WIDTHS)))
def test_no_width_scrolls_sideways(visit: Visits, width: int) -> None:
    """Names and words without an end are broken or cut, and nothing of a narrow screen lies outside."""
    long = "W" * 300
    busy = evening()
    busy |= {
        "devices": ["d" * 64, DEVICE],
        "answers": [*busy["answers"], answer("long", prompt=long, pieces=[[long, "bonus"]])],
        "decisions": [*busy["decisions"], {"at_s": 119.0, "text": long}],
        "link": LINK | {"uplink": long},
        "nodes": busy["nodes"] | {"target": {"state": "silent", "detail": long}},
    }
    one = visit(busy, viewport={"width": width, "height": 844})
    one.wait_for("#answers h3", "W")
    one.draw()
    assert one.page.evaluate("document.documentElement.scrollWidth") <= width
    outside = """(width) => [...document.querySelectorAll("body *")].filter((element) => {
        const box = element.getBoundingClientRect();
        const end = element.closest(".node")?.getBoundingClientRect().right ?? width;
        return box.width > 1 && box.left >= 0 && box.right > end + 1 && !element.closest("svg"); })
        .map((element) => element.outerHTML.slice(0, 80))"""
    assert one.page.evaluate(outside, width) == []
