"""What the doctor says of tables: what this machine has, what both ends agree on, and what rows cost."""

from dataclasses import replace
from pathlib import Path

import pytest
from tests.harness.tables import FINGERPRINT, usual_set

from draftwire.codecs.messages import Hello, Reason, Refused, Welcome
from draftwire.codecs.tables import TableSet, table_set_bytes
from draftwire.nodes.console.doctor.checks import Check, Status
from draftwire.nodes.console.doctor.spelling import TablesFound, judge_tables, look_at_tables
from draftwire.nodes.models.tables import tables_folder
from draftwire.nodes.speculation.frames import row_bits

V = 2000
A, B = usual_set(V, seed=0), usual_set(V, seed=1)
FILES = ((Path("/here/a.tables"), A), (Path("/here/b.tables"), B))
FOUND = TablesFound(vocab_size=V, chosen=False, files=FILES)
HELLO = Hello(
    protocol_version=4, noise_version=1, vocab_size=V, fingerprint=FINGERPRINT, tables=FOUND.hashes
)


def _one(found: TablesFound | None, *, agreed: TableSet | None = None, asked: bool = False) -> Check:
    answer = Welcome(boot=1, tables=None if agreed is None else agreed.hash) if asked else None
    (check,) = judge_tables(found, draft="my/draft", hello=HELLO if asked else None, answer=answer)
    assert check.name == "tables" and "\n" not in check.seen + check.remedy
    return check


def _figure(tables: TableSet | None) -> str:
    return f"{row_bits(k=320, vocab_size=V, tables=tables) / 320:.3g}"


def test_what_both_ends_agree_on() -> None:
    """Its hash, and what it makes of rows; nothing is to be done."""
    check = _one(FOUND, agreed=A, asked=True)
    assert (check.status, check.remedy) == (Status.OK, "")
    assert f"both ends agree on {A.hash.hex()[:8]}" in check.seen
    assert f"about {_figure(A)} bits an entry at K = 320, plain {_figure(None)}" in check.seen
    assert f"2 sets for this vocabulary, {A.hash.hex()[:8]} ({A.label}) and 1 more" in check.seen


def test_a_target_that_lacks_the_first_of_them() -> None:
    """What is agreed on, and the file that would bring the better one."""
    check = _one(FOUND, agreed=B, asked=True)
    assert check.status is Status.OK and f"both ends agree on {B.hash.hex()[:8]}" in check.seen
    assert f"the target lacks {A.hash.hex()[:8]}" in check.seen
    assert "copy /here/a.tables to the folder that `draftwire tables list` prints" in check.remedy


def test_a_target_that_has_none_of_them() -> None:
    """What is lost with plain rows, which file to copy, and where to: a folder of the other machine."""
    check = _one(FOUND, asked=True)
    lost = f"rows are plain, about {_figure(None)} bits an entry at K = 320 in place of {_figure(A)}"
    assert check.status is Status.OK and lost in check.seen
    assert "copy /here/a.tables to the folder that `draftwire tables list` prints" in check.remedy
    assert "unless plain rows were chosen" in check.remedy and str(tables_folder()) not in check.remedy


@pytest.mark.parametrize("answer", [None, Refused(reason=Reason.VOCABULARY, detail="no")])
def test_nothing_is_claimed_where_nobody_was_asked(answer: Refused | None) -> None:
    """A BS, or a device whose BS does not answer or refuses: only what is here."""
    (check,) = judge_tables(FOUND, draft="d", hello=HELLO, answer=answer)
    assert check.seen.startswith("2 sets for this vocabulary") and "agree" not in check.seen


def test_plain_rows_and_what_tables_would_save() -> None:
    """Figures of the sizes that are really sent; those of the shipped pair stand for what learning brings."""
    plain = _one(replace(FOUND, files=()))
    assert plain.seen == f"plain rows, about {_figure(None)} bits an entry at K = 320"
    assert "draftwire tables learn --draft my/draft --text FILE" in plain.remedy
    beside = _one(replace(FOUND, files=(), shipped=A))
    saved = f"from {_figure(None)} to {_figure(A)}"
    assert beside.seen.endswith(f"; there tables bring those of the shipped pair {saved}")
    chosen = _one(replace(FOUND, files=(), shipped=A, chosen=True))
    assert chosen.seen.endswith("as [pair] tables or --tables has it") and not chosen.remedy
    small = _one(replace(FOUND, vocab_size=64, files=(), shipped=A)).seen
    at_64 = (f"{row_bits(k=64, vocab_size=V, tables=one) / 64:.3g}" for one in (None, A))
    assert "at K = 64" in small and small.endswith("from {} to {}".format(*at_64))


def test_a_machine_without_models() -> None:
    """A channel's or a controller's: nothing to be looked at."""
    assert _one(None).status is Status.SKIP


def test_files_are_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that are found, one that is damaged, and one that is named and missing."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    tables_folder().mkdir(parents=True)
    (tables_folder() / "a.tables").write_bytes(table_set_bytes(A))
    (tables_folder() / "b.tables").write_bytes(b"DWTABLE1")
    found = look_at_tables(None, vocab_size=V, fingerprint=FINGERPRINT)
    assert found.hashes == (A.hash,)
    odd, fine = judge_tables(found, draft="d", hello=None, answer=None)
    assert (odd.status, odd.subject) == (Status.WARN, str(tables_folder() / "b.tables"))
    assert odd.remedy == "copy it again, or delete the file"
    assert fine.status is Status.OK
    missing = look_at_tables(["nowhere.tables"], vocab_size=V, fingerprint=FINGERPRINT)
    (check,) = judge_tables(missing, draft="d", hello=None, answer=None)
    assert check.status is Status.FAIL and "nowhere.tables" in check.seen and check.remedy
