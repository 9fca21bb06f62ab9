"""Who may talk to a server: by its name, from its pages, with its key."""

import asyncio
import string
from collections.abc import Mapping

import httpx
import pytest
from starlette.responses import PlainTextResponse

from draftwire.runtime.web.guard import Guard, hosts_of
from draftwire.runtime.web.keys import KEY_VARIABLE, api_key

KEY = "a-key-of-this-test"
JSON = {"content-type": "application/json"}


def asked(
    method: str,
    path: str = "/v1/models",
    *,
    headers: Mapping[str, str] | None = None,
    key: str | None = None,
    host: str = "127.0.0.1",
    base: str = "http://127.0.0.1:8000",
) -> httpx.Response:
    """The answer of a guarded application that would let everybody in."""

    async def ask() -> httpx.Response:
        app = Guard(PlainTextResponse("in"), hosts=hosts_of(host, key=key), key=key)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url=base) as client:
            return await client.request(method, path, headers=headers)

    return asyncio.run(ask())


@pytest.mark.parametrize("name", ["127.0.0.1:8000", "localhost:8000", "LOCALHOST", "[::1]:8000", "10.0.0.7"])
def test_its_own_names_are_known(name: str) -> None:
    """Addresses and localhost: no page of somebody else's has such a name."""
    assert asked("GET", headers={"host": name}).text == "in"


@pytest.mark.parametrize(
    "name", ["evil.example", "localhost.evil.example:8000", "", "[::1", "127.0.0.1.nip.io"]
)
def test_another_name_is_refused(name: str) -> None:
    """A name that resolves to this machine is how a foreign page reads answers."""
    response = asked("GET", headers={"host": name})
    assert response.status_code == 403 and response.json()["error"]["code"] == "unknown_host"


def test_the_name_that_it_is_bound_to_is_its_own() -> None:
    """And with a key any name: nobody who lacks it gets anything."""
    assert asked("GET", headers={"host": "bs.lan:8000"}, host="bs.lan").text == "in"
    word = {"host": "any.example", "authorization": f"Bearer {KEY}"}
    assert asked("GET", headers=word, key=KEY).text == "in"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        (JSON, 200),
        ({"content-type": "application/json; charset=utf-8"}, 200),
        ({"content-type": "text/plain"}, 415),
        ({"content-type": "application/x-www-form-urlencoded"}, 415),
        ({}, 415),
        (JSON | {"origin": "http://127.0.0.1:8000"}, 200),
        (JSON | {"origin": "http://127.0.0.1:8001"}, 403),
        (JSON | {"origin": "https://evil.example"}, 403),
        (JSON | {"origin": "null"}, 403),
        (JSON | {"origin": "http://[::1"}, 403),
    ],
)
def test_a_post_comes_from_a_program_or_its_own_page(headers: Mapping[str, str], status: int) -> None:
    """A foreign page can send a form and no JSON, and its Origin names it."""
    assert asked("POST", headers=headers).status_code == status


def test_without_the_key_nobody_is_let_in() -> None:
    """401 in the API's shape, and the key itself opens; a part of it, or another scheme, does not."""
    for words in ({}, {"authorization": f"Bearer {KEY}x"}, {"authorization": f"Basic {KEY}"}):
        response = asked("GET", headers=words, key=KEY)
        assert response.status_code == 401 and response.headers["www-authenticate"] == "Bearer"
        assert response.json()["error"]["code"] == "invalid_api_key"
    assert asked("GET", headers={"authorization": f"bearer {KEY}"}, key=KEY).text == "in"


def test_a_browser_gives_the_key_once() -> None:
    """The first address leads to the page, which then proves the key by a cookie that scripts can't read."""
    first = asked("GET", f"/?key={KEY}", key=KEY)
    cookie = first.headers["set-cookie"]
    assert first.status_code == 303 and first.headers["location"] == "/"
    assert "HttpOnly" in cookie and "SameSite=strict" in cookie and KEY not in cookie
    pair = cookie.partition(";")[0]
    assert asked("GET", "/feed", headers={"cookie": pair}, key=KEY).text == "in"
    assert asked("GET", "/feed", headers={"cookie": f"{pair}0"}, key=KEY).status_code == 401
    assert asked("GET", "/feed", headers={"cookie": pair}, key="another").status_code == 401
    assert asked("GET", "/?key=wrong", key=KEY).status_code == 401
    assert asked("GET", f"/v1/models?key={KEY}", key=KEY).status_code == 401


@pytest.mark.parametrize(
    "others",
    ['theme={"dark": true}', "_xsrf=2|a|b c", "a:b@c=d", "=", ";;", "no equals sign", 'open="', "\\"],
)
def test_cookies_of_others_do_not_hide_its_own(others: str) -> None:
    """All that ever served anything at localhost, whatever its port, has its cookies sent here too."""
    pair = asked("GET", f"/?key={KEY}", key=KEY).headers["set-cookie"].partition(";")[0]
    for cookie in (f"{others}; {pair}", f"{pair}; {others}", f"{others};{pair};{others}"):
        assert asked("GET", "/feed", headers={"cookie": cookie}, key=KEY).text == "in"
    assert asked("GET", "/feed", headers={"cookie": others}, key=KEY).status_code == 401


def test_each_key_that_may_be_is_taken_from_an_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """As somebody writes it behind /?key=, nothing quoted."""
    text = string.ascii_letters + string.digits + "._~-"
    monkeypatch.setenv(KEY_VARIABLE, text)
    key = api_key(None, key="serve.key_file")
    assert key == text and asked("GET", f"/?key={text}", key=key).status_code == 303


def test_a_cookie_is_no_way_around_the_origin() -> None:
    """A page of another port has the cookie sent along, and is refused all the same."""
    pair = asked("GET", f"/?key={KEY}", key=KEY).headers["set-cookie"].partition(";")[0]
    foreign = JSON | {"cookie": pair, "origin": "http://127.0.0.1:9999"}
    assert asked("POST", headers=foreign, key=KEY).status_code == 403
