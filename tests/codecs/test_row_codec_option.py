"""`--row-codec`: the property suite on a codec of one's own, tried in a pytest of its own."""

import subprocess
import sys
from pathlib import Path

import pytest
from tests.codecs.conftest import load_row_codec

ROOT = Path(__file__).parents[2]


def suite(*codecs: str, selection: str) -> subprocess.CompletedProcess[str]:
    """`pytest tests/codecs/test_row_codecs.py --row-codec codec ...`, only the tests selected."""
    command = [sys.executable, "-P", "-m", "pytest", "-rA", "tests/codecs/test_row_codecs.py"]
    options = [*(f"--row-codec={codec}" for codec in codecs), "-k", selection]
    return subprocess.run([*command, *options], cwd=ROOT, capture_output=True, text=True, timeout=100)


def test_codecs_of_ones_own_join_the_suite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Row properties run on codecs that the command line names, beside our own; a broken one fails."""
    (tmp_path / "lenient_codec.py").write_text(
        "from tests.codecs.plain_json_codec import PlainJson\n"
        "class Lenient(PlainJson):\n"
        "    name = 'lenient'\n"
        "    def decode(self, data, *, vocab_size=None):\n"
        "        return super().decode(data)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    own = ("tests.codecs.plain_json_codec:PlainJson", "lenient_codec:Lenient")
    run = suite(*own, selection="vocabulary or block")
    assert run.returncode == 1, run.stdout
    test = "tests/codecs/test_row_codecs.py::test_another_vocabulary_is_refused"
    assert f"FAILED {test}[lenient]" in run.stdout
    for name in ("plain-json", "packed", "ranked"):
        assert f"PASSED {test}[{name}]" in run.stdout
    assert "1 failed, 23 passed" in run.stdout


@pytest.mark.parametrize("codec", ["no_colon", "no_such_module:X", "tests.codecs.plain_json_codec:Nothing"])
def test_a_name_that_leads_nowhere(codec: str) -> None:
    """A codec that can't be loaded is a usage error with the option and the name in it."""
    with pytest.raises(pytest.UsageError, match=f"--row-codec {codec}"):
        load_row_codec(codec)
