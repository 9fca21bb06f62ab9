"""`--row-codec`: the property suite on a codec of one's own, tried in a pytest of its own."""

import subprocess
import sys
from pathlib import Path

import pytest
from tests.codecs.conftest import load_row_codec

ROOT = Path(__file__).parents[2]


def suite(codec: str, selection: str) -> subprocess.CompletedProcess[str]:
    """`pytest tests/codecs/test_row_codecs.py --row-codec codec`, only the tests selected."""
    command = [sys.executable, "-P", "-m", "pytest", "-rA", "tests/codecs/test_row_codecs.py"]
    options = ["--row-codec", codec, "-k", selection]
    return subprocess.run([*command, *options], cwd=ROOT, capture_output=True, text=True, timeout=100)


def test_a_codec_of_ones_own_joins_the_suite() -> None:
    """Row properties run on a codec that is named on the command line, beside our own."""
    run = suite("tests.codecs.plain_json_codec:PlainJson", "vocabulary or block")
    assert run.returncode == 0, run.stdout
    for name in ("plain-json", "packed", "ranked"):
        assert (
            f"PASSED tests/codecs/test_row_codecs.py::test_another_vocabulary_is_refused[{name}]"
            in run.stdout
        )


def test_a_broken_codec_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A codec that breaks a rule fails the suite, and it alone."""
    (tmp_path / "lenient_codec.py").write_text(
        "from tests.codecs.plain_json_codec import PlainJson\n"
        "class Lenient(PlainJson):\n"
        "    name = 'lenient'\n"
        "    def decode(self, data, *, vocab_size=None):\n"
        "        return super().decode(data)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    run = suite("lenient_codec:Lenient", "vocabulary")
    assert run.returncode == 1, run.stdout
    assert "FAILED tests/codecs/test_row_codecs.py::test_another_vocabulary_is_refused[lenient]" in run.stdout
    assert "1 failed, 2 passed" in run.stdout


@pytest.mark.parametrize("codec", ["no_colon", "no_such_module:X", "tests.codecs.plain_json_codec:Nothing"])
def test_a_name_that_leads_nowhere(codec: str) -> None:
    """A codec that can't be loaded is a usage error with the option and the name in it."""
    with pytest.raises(pytest.UsageError, match=f"--row-codec {codec}"):
        load_row_codec(codec)
