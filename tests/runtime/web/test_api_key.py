"""Keys of servers: read from a file or the environment, and needed where other machines can come."""

from pathlib import Path

import pytest

from draftwire.runtime.errors import ConfigurationError
from draftwire.runtime.web.keys import KEY_VARIABLE, api_key, check_open_to


def test_a_file_goes_before_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line, with or without its end; without a file the environment, where that says something."""
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    assert api_key(None, key="serve.key_file") is None
    monkeypatch.setenv(KEY_VARIABLE, "")
    assert api_key(None, key="serve.key_file") is None
    monkeypatch.setenv(KEY_VARIABLE, "of-the-environment")
    assert api_key(None, key="serve.key_file") == "of-the-environment"
    for text in ("of-a-file", "of-a-file\n", "of-a-file\r\n"):
        (tmp_path / "api.key").write_text(text)
        assert api_key(str(tmp_path / "api.key"), key="serve.key_file") == "of-a-file"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        "two\nlines",
        " space",
        "ключ",
        "x" * 1025,
        "a\tb",
        "a+b",
        "a/b",
        "a=",
        "a&b",
        "a#b",
        "50%",
        "a:b",
    ],
)
def test_what_is_no_key_is_refused(text: str, tmp_path: Path) -> None:
    """With the key of the topology, or the option, that named it."""
    (tmp_path / "api.key").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigurationError, match=r"--key-file.*openssl rand -hex 16"):
        api_key(str(tmp_path / "api.key"), key="--key-file")


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    """As a configuration error, with its name."""
    with pytest.raises(ConfigurationError, match=r"nowhere.*No such file"):
        api_key(str(tmp_path / "nowhere"), key="serve.key_file")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.4", "bs.lan"])
def test_other_machines_need_a_key(host: str) -> None:
    """A server that they can reach and that asks for none is refused, with the remedy."""
    with pytest.raises(ConfigurationError, match="give a key"):
        check_open_to(host, key=None, where="--host", remedy="give a key")
    check_open_to(host, key="a-key", where="--host", remedy="give a key")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost"])
def test_this_machine_needs_none(host: str) -> None:
    """Loopback is nobody else's."""
    check_open_to(host, key=None, where="--host", remedy="give a key")
