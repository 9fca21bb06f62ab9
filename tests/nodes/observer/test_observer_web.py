"""The observer over HTTP: the page and its parts, the feed, orders to the link, metrics."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from starlette.applications import Starlette
from starlette.types import Message
from tests.harness.events import asked_event, link_event, step_event, tokens_event

from draftwire.codecs.control import LinkState
from draftwire.nodes.observer.feed import EVERY_S, MAX_SUBSCRIBERS
from draftwire.nodes.observer.hearing import Hearing
from draftwire.nodes.observer.ordering import Order
from draftwire.nodes.observer.web import routes
from draftwire.runtime.clock import LoopClock, run_virtual
from draftwire.runtime.errors import PeerError


class Channel:
    """Obeys orders, or says why not."""

    def __init__(
        self,
        words: str = "rate 5mbit delay 40ms 5ms",
        *,
        downlink: str | None = None,
        refused: str | None = None,
    ) -> None:
        self.links = {"uplink": words, "downlink": words if downlink is None else downlink}
        self.refused = refused
        self.devices = list[str | None]()

    async def __call__(self, *, uplink: str | None, downlink: str | None, device: str | None) -> LinkState:
        self.devices.append(device)
        for direction, words in (("uplink", uplink), ("downlink", downlink)):
            if words is not None and self.refused is None:
                self.links[direction] = words
        return LinkState(uplink=self.links["uplink"], downlink=self.links["downlink"], refused=self.refused)


async def nobody(*, uplink: str | None, downlink: str | None, device: str | None) -> LinkState:
    """A channel that is not there."""
    raise PeerError("tcp://127.0.0.1:5703: no channel answered within 2 s")


def application(
    heard: Hearing | None = None,
    *,
    order: Order | None = None,
    asks: str | None = None,
    **more: Any,
) -> Starlette:
    """As the observer serves it, without the guard before it."""
    return Starlette(routes=routes(heard or Hearing(), order=order, asks=asks, **more))


def client_of(app: Starlette) -> httpx.AsyncClient:
    """Without a socket."""
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost")


def asked(app: Starlette, method: str, path: str, **more: Any) -> httpx.Response:
    """One request, answered."""

    async def ask() -> httpx.Response:
        async with client_of(app) as client:
            return await client.request(method, path, **more)

    return asyncio.run(ask())


class Reader:
    """A browser that reads a feed as fast, or as slowly, as it is told to."""

    def __init__(self, app: Starlette, query: bytes = b"") -> None:
        self._app, self._query = app, query
        self.status = 0
        self.chunks = list[bytes]()
        self.may_read = asyncio.Event()
        self.may_read.set()
        self.gone = asyncio.Event()

    async def run(self) -> None:
        """Until it is gone."""
        scope = {
            "type": "http",
            "asgi": {"spec_version": "2.3"},
            "method": "GET",
            "path": "/feed",
            "query_string": self._query,
            "headers": [],
        }
        await self._app(scope, self._receive, self._send)

    @property
    def messages(self) -> list[Any]:
        """What the feed has said."""
        told = [chunk for chunk in self.chunks if chunk.startswith(b"data: ")]
        assert all(chunk.endswith(b"\n\n") and chunk.count(b"\n") == 2 for chunk in told)
        return [orjson.loads(chunk[6:]) for chunk in told]

    async def _receive(self) -> Message:
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        await self.may_read.wait()
        if message["type"] == "http.response.start":
            self.status = message["status"]
        elif message["body"]:
            self.chunks.append(message["body"])


def reading(
    heard: Hearing, script: Callable[[Reader], Awaitable[None]], *, query: bytes = b"", **more: Any
) -> Reader:
    """A reader that has lived through a script in virtual time."""

    async def main() -> Reader:
        reader = Reader(application(heard, **more), query)
        task = asyncio.create_task(reader.run())
        await script(reader)
        reader.gone.set()
        await task
        return reader

    return run_virtual(main())


# The feed ---------------------------------------------------------------------------------------------------


def test_a_feed_begins_with_all_and_goes_on_with_what_is_new() -> None:
    """The first message is full; later ones come when something has happened, four a second at most."""
    heard = Hearing()
    heard.hear("target", step_event(), 0.0)

    async def script(reader: Reader) -> None:
        await asyncio.sleep(1.0)
        for number in range(20):
            heard.hear("phone", asked_event(request=str(number)), 1.0 + number * 0.1)
            await asyncio.sleep(0.1)

    reader = reading(heard, script)
    messages = reader.messages
    assert messages[0]["full"] and not any(message["full"] for message in messages[1:])
    assert sum(len(message["answers"]) for message in messages) == 20
    assert 8 <= len(messages) <= 11
    times = [message["at_s"] for message in messages]
    assert all(after - before >= EVERY_S - 1e-9 for before, after in pairwise(times))


def test_a_silent_feed_is_kept_open() -> None:
    """With nothing to tell there is a comment each 15 s, and no message."""

    async def script(reader: Reader) -> None:
        await asyncio.sleep(61.0)

    reader = reading(Hearing(), script)
    assert len(reader.messages) == 1
    assert sum(chunk.startswith(b":") for chunk in reader.chunks) == 4


def test_a_node_that_falls_silent_is_told() -> None:
    """What becomes so by the time alone, with no event at all, is news too."""
    heard = Hearing()
    heard.hear("channel", {"event": "alive", "role": "channel"}, 0.0)

    async def script(reader: Reader) -> None:
        await asyncio.sleep(14.0)

    states = [message["nodes"]["channel"]["state"] for message in reading(heard, script).messages]
    assert states == ["up", "silent"]


def test_a_slow_page_skips() -> None:
    """What a page does not read queues nowhere: the next message has what came meanwhile."""
    heard = Hearing()

    async def script(reader: Reader) -> None:
        await asyncio.sleep(0.3)
        reader.may_read.clear()
        for number in range(400):
            heard.hear("phone", tokens_event(pieces=[(f"{number} ", "alone")]), 1.0 + number * 0.1)
            await asyncio.sleep(0.1)
        reader.may_read.set()
        await asyncio.sleep(1.0)

    messages = reading(heard, script).messages
    text = "".join(piece[0] for message in messages for one in message["answers"] for piece in one["pieces"])
    assert text.split() == [str(number) for number in range(400)]
    assert len(messages) <= 5


def test_a_feed_says_what_this_server_can() -> None:
    """Whether the link can be ordered, and whom the page may ask."""
    heard = Hearing()
    heard.hear("channel", link_event("rate 1mbit"), 0.0)

    async def script(reader: Reader) -> None:
        await asyncio.sleep(0.1)

    (message,) = reading(heard, script, order=Channel(), asks="pair").messages
    assert message["link"]["controllable"] and message["asks"] == "pair"
    (message,) = reading(heard, script).messages
    assert not message["link"]["controllable"] and message["asks"] is None


def test_a_feed_is_of_one_device() -> None:
    """`device` names whose; a name that none can have is refused."""
    heard = Hearing()
    for name in ("one", "two"):
        heard.hear("target", step_event(name), 0.0)

    async def script(reader: Reader) -> None:
        await asyncio.sleep(0.1)

    (message,) = reading(heard, script, query=b"device=one").messages
    assert message["device"] == "one"
    refused = asked(application(), "GET", "/feed", params={"device": "x" * 129})
    assert refused.status_code == 400 and "device" in refused.json()["error"]["message"]


def test_feeds_are_bounded_and_places_come_back() -> None:
    """64 pages are served, one more is told so, and a page that is closed makes room."""

    async def main() -> None:
        app = application()
        readers = [Reader(app) for _ in range(MAX_SUBSCRIBERS + 1)]
        tasks = [asyncio.create_task(reader.run()) for reader in readers]
        await asyncio.sleep(1.0)
        assert [reader.status for reader in readers] == [200] * MAX_SUBSCRIBERS + [503]
        assert b"64 pages" in readers[-1].chunks[0]
        readers[0].gone.set()
        tasks[1].cancel()  # as a server that ends does
        await asyncio.sleep(1.0)
        more = [Reader(app) for _ in range(3)]
        tasks += [asyncio.create_task(reader.run()) for reader in more]
        await asyncio.sleep(1.0)
        assert [reader.status for reader in more] == [200, 200, 503]
        for reader in (*readers, *more):
            reader.gone.set()
        await asyncio.gather(*tasks, return_exceptions=True)

    run_virtual(main())


# The page ---------------------------------------------------------------------------------------------------


@pytest.fixture
def page(tmp_path: Path) -> Path:
    """A folder with a page, a secret beside it, and a file that is none of a page's."""
    folder = tmp_path / "page"
    folder.mkdir()
    (folder / "index.html").write_text("<!doctype html>")
    (folder / "main.js").write_text("go()")
    (folder / "notes.md").write_text("secret")
    (tmp_path / "secret.js").write_text("secret")
    return folder


def test_the_page_is_served_safely(page: Path) -> None:
    """Parts have their types, and headers that keep the page to itself."""
    app = application(page=page)
    index, script = asked(app, "GET", "/"), asked(app, "GET", "/page/main.js")
    assert index.headers["content-type"].startswith("text/html") and index.text == "<!doctype html>"
    assert script.headers["content-type"].startswith("text/javascript")
    for response in (index, script, asked(app, "GET", "/page/none.js"), asked(app, "GET", "/metrics")):
        assert "default-src 'self'" in response.headers["content-security-policy"]
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["referrer-policy"] == "no-referrer"


@pytest.mark.parametrize(
    "name", ["..%2fsecret.js", "notes.md", "%2e%2e/secret.js", "none.js", "MAIN.JS", ".js"]
)
def test_nothing_else_is_served(page: Path, name: str) -> None:
    """No name leads out of the folder, nor to what is no part of a page."""
    response = asked(application(page=page), "GET", f"/page/{name}")
    assert response.status_code == 404 and "secret" not in response.text.replace("secret.js", "")


def test_a_part_is_sent_once(page: Path) -> None:
    """A browser asks whether its copy is right, and gets the part again only when it has changed."""
    app = application(page=page)
    tag = asked(app, "GET", "/page/main.js").headers["etag"]
    again = asked(app, "GET", "/page/main.js", headers={"If-None-Match": tag})
    assert again.status_code == 304 and again.content == b"" and again.headers["cache-control"] == "no-cache"
    (page / "main.js").write_text("go(2)")
    assert asked(app, "GET", "/page/main.js", headers={"If-None-Match": tag}).text == "go(2)"


def test_the_shipped_page_is_there() -> None:
    """The page that ships is served with all that it names."""
    app = application()
    index = asked(app, "GET", "/")
    assert index.status_code == 200
    parts = [word.split('"')[0].split("'")[0] for word in index.text.split("page/")[1:]]
    assert parts
    assert {asked(app, "GET", f"/page/{part}").status_code for part in parts} == {200}


# Orders -----------------------------------------------------------------------------------------------------

WISH = {"rate_bps": 1e6, "delay_s": 0.02, "loss": 0.01, "direction": "both", "device": None}


def post(
    order: Order | None, wish: Mapping[str, Any] | bytes, *, heard: Hearing | None = None
) -> httpx.Response:
    """What a page's sliders send."""
    body = wish if isinstance(wish, bytes) else orjson.dumps(wish)
    headers = {"content-type": "application/json"}
    return asked(application(heard, order=order), "POST", "/link", content=body, headers=headers)


def test_sliders_set_the_link() -> None:
    """Both directions become what the sliders say, other words stay, and the answer is what holds then."""
    channel = Channel()
    response = post(channel, WISH)
    assert response.status_code == 200
    assert channel.links == {"uplink": "rate 1mbit delay 20ms 5ms loss 1%"} | {
        "downlink": "rate 1mbit delay 20ms 5ms loss 1%"
    }
    assert response.json() == {
        "uplink": "rate 1mbit delay 20ms 5ms loss 1%",
        "downlink": "rate 1mbit delay 20ms 5ms loss 1%",
        "controllable": True,
        "rate_bps": 1e6,
        "delay_s": 0.02,
        "loss": 0.01,
    }


def test_a_slider_changes_nothing_else_in_either_direction() -> None:
    """Where the two directions differ, one slider moves what it stands for in both, and no more."""
    channel = Channel("rate 1mbit delay 5ms", downlink="rate 20mbit delay 5ms")
    assert post(channel, {"delay_s": 0.05}).status_code == 200
    assert channel.links == {"uplink": "rate 1mbit delay 50ms", "downlink": "rate 20mbit delay 50ms"}


def test_a_slider_bends_what_a_schedule_does_now() -> None:
    """The step that the channel told last is what a slider starts from, of the device that is meant."""
    steps, heard = "rate 1mbit delay 50ms; 10s rate 5mbit delay 9ms", Hearing()
    heard.hear("channel", link_event("rate 5mbit delay 9ms", device="phone"), 0.0)
    channel = Channel(steps)
    assert post(channel, {"loss": 0.1, "device": "phone"}, heard=heard).status_code == 200
    assert channel.links["uplink"] == "rate 5mbit delay 9ms loss 10%"
    assert channel.links["downlink"] == "rate 1mbit delay 50ms loss 10%"


def test_one_direction_of_one_device() -> None:
    """The other direction stays as it is, and the order names the device."""
    channel = Channel()
    assert post(channel, WISH | {"direction": "downlink", "device": "phone"}).status_code == 200
    assert channel.links["uplink"] == "rate 5mbit delay 40ms 5ms" and channel.links["downlink"] != ""
    assert channel.devices == ["phone", "phone"]


def test_a_link_without_any_limit_can_be_ordered() -> None:
    """Nothing at all is a link, too, though it has no words."""
    channel = Channel("rate 5mbit")
    assert post(channel, WISH | {"rate_bps": None, "delay_s": 0, "loss": 0}).json()["uplink"] == "delay 0"


@pytest.mark.parametrize(
    ("order", "wish", "status", "words"),
    [
        (None, WISH, 409, "no channel"),
        (nobody, WISH, 409, "no channel answered"),
        (Channel(refused="no device 'phone' here"), WISH, 409, "no device 'phone' here"),
        (Channel(), WISH | {"loss": 2}, 400, "loss"),
        (Channel(), WISH | {"rate_bps": 5}, 400, "rate"),
        (Channel(), b"{" * 10, 400, "JSON"),
        (Channel(), b" " * 5000, 400, "4096 bytes"),
    ],
)
def test_an_order_that_fails_says_why(
    order: Order | None, wish: Mapping[str, Any] | bytes, status: int, words: str
) -> None:
    """400 for what was asked wrongly, 409 for what can't be done now, each with a sentence for people."""
    response = post(order, wish)
    assert response.status_code == status and words in response.json()["error"]["message"]


def test_only_a_post_changes_the_link() -> None:
    """No address that somebody is led to changes anything."""
    assert asked(application(order=Channel()), "GET", "/link").status_code == 405


def test_metrics_are_prometheus_text() -> None:
    """As Prometheus reads it, with nodes by the clock of the observer."""

    async def main() -> httpx.Response:
        heard, clock = Hearing(), LoopClock()
        heard.hear("target", {"event": "alive", "role": "target"}, clock.now_s())
        app = Starlette(routes=routes(heard, order=None, asks=None, clock=clock))
        async with client_of(app) as client:
            return await client.get("/metrics")

    response = asyncio.run(main())
    assert response.headers["content-type"].startswith("text/plain")
    assert 'draftwire_node_up{node="target",role="target"} 1.0' in response.text
