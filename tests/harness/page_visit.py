"""The observer's page, open in a browser, with the stage that it listens to."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from tests.harness.page_scene import evening
from tests.harness.page_stage import Message, Stage, played
from tests.harness.processes import wait_until

if TYPE_CHECKING:
    from playwright.sync_api import Browser, ConsoleMessage, Locator, Page

REFUSED: Final = "Failed to load resource"
"""What a browser's console has of a status that the page shows by itself."""

FRAME_MS: Final = 20
FRAMES: Final = "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"


@dataclass(slots=True, kw_only=True)
class Visit:
    """A page that is open."""

    page: "Page"
    stage: Stage
    frozen: bool
    "whether its time goes on only while something is waited for, one frame with each look"
    complaints: list[str] = field(default_factory=list)
    "of the browser: errors of scripts, and whatever its console has of errors and warnings"

    def text(self, selector: str) -> str:
        """Of one element, as it is."""
        return self.page.locator(selector).text_content() or ""

    def wait_for(self, selector: str, text: str) -> None:
        """Until the first such element holds the text."""
        found = self.page.locator(selector)
        what = f"{text!r} in {selector}"
        self.until(lambda: any(text in said for said in found.all_text_contents()[:1]), what)

    def until(self, condition: Callable[[], bool], what: str) -> None:
        """Until it holds; the browser's events are heard meanwhile."""

        def holds() -> bool:
            if self.frozen:
                self.page.clock.run_for(FRAME_MS)
            self.page.evaluate("0")
            return condition()

        wait_until(holds, what)

    def slider(self, name: str) -> "Locator":
        """One of the link's, or of the charts'."""
        return self.page.get_by_role("slider", name=name, exact=True)

    def draw(self) -> None:
        """Until whatever has come is on the screen."""
        if self.frozen:
            self.page.clock.run_for(2 * FRAME_MS)
        else:
            self.page.evaluate(FRAMES)

    def forgive(self, complaint: str) -> None:
        """Take off what the browser says of it."""
        self.complaints = [said for said in self.complaints if complaint not in said]


class Visits:
    """Opens pages, and closes them all."""

    def __init__(self, browser: "Browser", closing: ExitStack) -> None:
        self._browser, self._closing = browser, closing
        self._made: list[Visit] = []

    def __call__(
        self, opening: Message | None = None, *, frozen: bool = False, path: str = "", **options: Any
    ) -> Visit:
        """A page; `opening`: the first message, an evening's by default; `frozen`: its time stands still, but
        for what `page.clock` says; `options`: of the browser's context.
        """
        stage = self._closing.enter_context(played(evening() if opening is None else opening))
        page = self._browser.new_page(**{"viewport": {"width": 1440, "height": 900}} | options)
        self._closing.callback(page.close)
        made = Visit(page=page, stage=stage, frozen=frozen)
        self._made.append(made)
        page.on("pageerror", lambda error: made.complaints.append(str(error)))
        page.on("console", lambda said: _hear(made, said))
        if frozen:
            page.clock.install(time=0)
        page.goto(stage.url + path)
        if frozen:
            page.clock.pause_at(60_000)
        made.until(lambda: made.text("#connection-words") == "connected", "the page listens")
        made.draw()
        return made

    @property
    def complaints(self) -> list[str]:
        """Of the browser about all of them."""
        return [said for one in self._made for said in one.complaints]


def _hear(visit: Visit, said: "ConsoleMessage") -> None:
    if said.type in ("error", "warning"):
        visit.complaints.append(said.text)


@contextmanager
def visits(browser: "Browser") -> Iterator[Visits]:
    """Until the block ends; a complaint of the browser that the test has not taken off fails it."""
    with ExitStack() as closing:
        made = Visits(browser, closing)
        yield made
    assert not made.complaints, made.complaints


__all__ = ["REFUSED", "Visit", "Visits", "visits"]
