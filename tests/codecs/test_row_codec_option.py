"""`--row-codec`: the property suite on a codec of one's own, tried in a pytest of its own."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def suite(codec: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`pytest tests/codecs/test_row_codecs.py --row-codec codec`."""
    command = [sys.executable, "-P", "-m", "pytest", "-q", "tests/codecs/test_row_codecs.py", *arguments]
    return subprocess.run(
        [*command, "--row-codec", codec], cwd=ROOT, capture_output=True, text=True, timeout=100
    )


def test_a_codec_of_ones_own_joins_the_suite() -> None:
    """Every row property runs on a codec that is named on the command line, beside our own."""
    run = suite(
        "tests.codecs.plain_json_codec:PlainJson", "-v", "-k", "plain-json and (cut or vocabulary or block)"
    )
    assert run.returncode == 0, run.stdout
    assert "test_every_cut_is_refused[plain-json] PASSED" in run.stdout


def test_a_broken_codec_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A codec that takes what it did not write fails the suite."""
    (tmp_path / "lenient_codec.py").write_text(
        "from tests.codecs.plain_json_codec import PlainJson\n"
        "class Lenient(PlainJson):\n"
        "    name = 'lenient'\n"
        "    def decode(self, data, *, vocab_size=None):\n"
        "        return super().decode(data.rstrip(b'\\0'), vocab_size=vocab_size)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    run = suite("lenient_codec:Lenient", "-k", "lenient and cut")
    assert run.returncode == 1, run.stdout
    assert "test_every_cut_is_refused[lenient]" in run.stdout


@pytest.mark.parametrize("codec", ["no_colon", "no_such_module:X", "tests.codecs.plain_json_codec:Nothing"])
def test_a_name_that_leads_nowhere(codec: str) -> None:
    """A codec that can't be loaded stops pytest with the name in the message."""
    run = suite(codec, "--collect-only")
    assert run.returncode != 0
    assert f"--row-codec {codec}" in run.stdout + run.stderr
