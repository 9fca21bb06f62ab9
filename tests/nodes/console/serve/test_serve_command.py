"""`draftwire serve`: its options, what it refuses, what it says, and what others do not pay for it."""

import subprocess
import sys
from pathlib import Path

import pytest

from draftwire.nodes.console.cli import main, parser
from draftwire.nodes.console.serve import command
from draftwire.nodes.console.serve.hosting import _greeting
from draftwire.runtime.config import SamplingSettings, ServeSettings, Topology
from draftwire.runtime.web.keys import KEY_VARIABLE


def told(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """What the command says as it refuses, before a node is started."""
    assert main(["serve", *words]) == 2
    return capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--host", "0.0.0.0"), "--host"),
        (("--host", "a b"), "--host"),
        (("--port", "-1"), "--port"),
        (("--port", "65536"), "--port"),
        (("--key-file", "/nowhere/api.key"), "--key-file: '/nowhere/api.key'"),
        (("--link", "rate fast"), "--link"),
        (("--max-new-tokens", "0"), "--max-new-tokens"),
        (("--config", "FILE", "--top-p", "2"), "--top-p"),
        (("--config", "FILE", "--link", "rate 1mbit"), "--link: with --config the other nodes run already"),
        (("--config", "FILE", "--target", "tiny:"), "the file of the target"),
        (("--draft", "nobody"), "There is no model 'nobody'"),
    ],
)
def test_what_can_not_be_is_refused_at_once(
    words: tuple[str, ...],
    said: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By the option's name, with a remedy."""
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    (tmp_path / "file.toml").write_text("")
    assert said in told(capsys, *(str(tmp_path / "file.toml") if one == "FILE" else one for one in words))


def test_a_file_with_a_host_for_all_needs_a_key(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What [serve] says is told by its key."""
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    (tmp_path / "file.toml").write_text("[serve]\nhost = '0.0.0.0'\n")
    assert "serve.host" in told(capsys, "--config", str(tmp_path / "file.toml"))


def test_options_go_before_the_file(tmp_path: Path) -> None:
    """Of host, port and key; what they leave out is the file's."""
    file = tmp_path / "file.toml"
    file.write_text("[serve]\nport = 9000\nkey_file = 'api.key'\nmax_requests = 3\n[sampling]\ntop_k = 7\n")
    args = parser().parse_args(["serve", "--config", str(file), "--host", "10.0.0.1", "--acceptance", "auto"])
    topology = command._topology(args)
    assert topology.serve == ServeSettings(
        host="10.0.0.1", port=9000, key_file=str(tmp_path / "api.key"), max_requests=3
    )
    assert (topology.sampling.top_k, topology.sampling.acceptance) == (7, "auto")


@pytest.mark.parametrize("config", [True, False])
def test_options_say_what_holds_where_requests_say_nothing(config: bool, tmp_path: Path) -> None:
    """Of a file's [sampling] the rest stays; without one, of the default."""
    file = tmp_path / "file.toml"
    file.write_text("[sampling]\ntop_k = 7\ntemperature = 0.7\n")
    words = ("--max-new-tokens", "300", "--temperature", "0.2", "--top-p", "0.9", "--seed", "4")
    args = parser().parse_args(["serve", *words, *(("--config", str(file)) if config else ())])
    assert command._topology(args).sampling == SamplingSettings(
        max_new_tokens=300, temperature=0.2, top_p=0.9, seed=4, top_k=7 if config else 0
    )


@pytest.mark.parametrize("chat", [True, False])
def test_it_says_how_to_ask_in_words_that_run(chat: bool) -> None:
    """The lines of Python compile, the lines for a shell are a command, and the key itself is not told."""
    text = _greeting("http://127.0.0.1:8000", Topology(), key="a-key", chat=chat, page=True)
    python = "\n".join(
        line.strip()
        for line in text.splitlines()
        if line.startswith(("  from", "  client", "  answer", "  print"))
    )
    compile(python, "greeting", "exec")
    assert python.count("\n") == 3
    shell = text[text.index("  curl") : text.index("  from")]
    assert subprocess.run(["sh", "-n"], input=shell, text=True).returncode == 0
    assert f"/v1/{'chat/' if chat else ''}completions" in shell and f"Bearer ${KEY_VARIABLE}" in shell
    assert "a-key" not in text and "http://127.0.0.1:8000/?key=KEY" in text


def test_other_commands_do_not_wait_for_a_servers_libraries() -> None:
    """`draftwire --help` and `generate` import none of them."""
    code = (
        "import sys\n"
        "from draftwire.nodes.console.cli import parser\n"
        "parser().parse_args(['serve'])\n"
        "import draftwire.nodes.console.generate\n"
        "print({'starlette', 'uvicorn', 'pydantic', 'prometheus_client'} & set(sys.modules))\n"
    )
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True)
    assert done.stdout == "set()\n", done.stderr
