"""[serve] of a topology: defaults, a round trip, and what can't be."""

from dataclasses import replace
from pathlib import Path

import pytest

from draftwire.runtime.config import ServeSettings, Topology, load_topology, parse_topology, to_toml
from draftwire.runtime.errors import ConfigurationError


def test_it_is_there_without_being_written() -> None:
    """This machine alone, without a key; and any values come back from a file as they were."""
    assert Topology().serve == ServeSettings(host="127.0.0.1", port=8000, key_file=None, max_requests=64)
    serve = ServeSettings(host="bs.lan", port=0, key_file="/a/b c.key", max_requests=1)
    topology = replace(Topology(), serve=serve)
    assert parse_topology(to_toml(topology)) == topology


def test_a_key_file_is_found_from_the_files_folder(tmp_path: Path) -> None:
    """Wherever the command is run."""
    (tmp_path / "topology.toml").write_text("[serve]\nkey_file = 'api.key'\n")
    assert load_topology(tmp_path / "topology.toml").serve.key_file == str(tmp_path / "api.key")


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("port = 65536", "serve.port"),
        ("port = '8000'", "serve.port"),
        ("host = ''", "serve.host"),
        ("host = 'http://here'", "serve.host"),
        ("key_file = ''", "serve.key_file"),
        ("max_requests = 0", "serve.max_requests"),
        ("max_request = 1", "serve.max_request"),
    ],
)
def test_what_can_not_be_is_told_by_its_key(text: str, key: str) -> None:
    """With what to write instead."""
    with pytest.raises(ConfigurationError) as wrong:
        parse_topology(f"[serve]\n{text}\n")
    assert wrong.value.key == key and wrong.value.remedy
