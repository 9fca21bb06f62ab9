"""Which sets of tables an end finds for its vocabulary, in which order, and what it says of odd files."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.harness.tables import FINGERPRINT, usual_set

from draftwire.codecs.limits import MAX_TABLE_SETS
from draftwire.codecs.tables import TableSet, table_set_bytes
from draftwire.nodes.models import tables as found_tables
from draftwire.nodes.models.tables import (
    MAX_HERE,
    find_files,
    find_tables,
    load_tables,
    tables_folder,
    tables_here,
    tables_name,
)
from draftwire.runtime.errors import ConfigurationError

V = 64
SETS = [usual_set(V, seed=seed) for seed in range(4)]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's folder of sets, empty, and no shipped set."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setattr(found_tables, "shipped_tables", lambda: tmp_path / "shipped" / "rows.tables")
    tables_folder().mkdir(parents=True)
    (tmp_path / "shipped").mkdir()
    return tables_folder()


def _put(path: Path, one: TableSet, *, age_s: float = 0.0) -> str:
    path.write_bytes(table_set_bytes(one))
    os.utime(path, (1e9 - age_s, 1e9 - age_s))
    return str(path)


def _find(named: tuple[str, ...] | None = None, *, fingerprint: bytes = FINGERPRINT) -> list[TableSet]:
    return list(find_tables(named, vocab_size=V, fingerprint=fingerprint))


def test_the_shipped_one_comes_first_and_then_the_newest(folder: Path, tmp_path: Path) -> None:
    """Whatever the files are called; a copy counts once. What is learnt takes no shipped set's place."""
    assert _find() == []
    _put(tmp_path / "shipped" / "rows.tables", SETS[3])
    _put(folder / "b.tables", SETS[0], age_s=5)
    _put(folder / "a.tables", SETS[1], age_s=9)
    _put(folder / "c.tables", SETS[2])
    _put(folder / "d.tables", SETS[2], age_s=7)
    _put(folder / "e.txt", usual_set(V, seed=9))
    assert _find() == [SETS[3], SETS[2], SETS[0], SETS[1]]


def test_sets_of_other_vocabularies_are_passed_over(folder: Path, tmp_path: Path) -> None:
    """Of another size, or of another tokenizer; the shipped one too."""
    _put(folder / "a.tables", usual_set(V + 1))
    _put(tmp_path / "shipped" / "rows.tables", SETS[0])
    assert _find() == [SETS[0]]
    assert _find(fingerprint=b"another!") == []


def test_a_damaged_file_is_told_and_left_out(folder: Path) -> None:
    """Whatever is wrong with it; the others count."""
    _put(folder / "a.tables", SETS[0])
    whole = table_set_bytes(SETS[1])
    (folder / "b.tables").write_bytes(whole[:-1])
    (folder / "c.tables").write_bytes(b"no set at all")
    (folder / "d.tables").write_bytes(b"")
    (folder / "e.tables").mkdir()
    told = dict[str, str]()

    def skipped(path: Path, why: str) -> None:
        told[path.name] = why

    found = find_tables(None, vocab_size=V, fingerprint=FINGERPRINT, skipped=skipped)
    assert found == (SETS[0],)
    assert set(told) == {"b.tables", "c.tables", "d.tables", "e.tables"} and all(told.values())


def test_no_more_are_found_than_a_hello_offers(folder: Path, tmp_path: Path) -> None:
    """The shipped set, where that fits, and the newest others."""
    every = [usual_set(V, seed=seed, tables=1) for seed in range(10, 20)]
    for age_s, one in enumerate(every):
        _put(folder / f"{age_s}.tables", one, age_s=age_s)
    assert _find() == every[:MAX_TABLE_SETS]
    shipped = tmp_path / "shipped" / "rows.tables"
    _put(shipped, SETS[3])
    assert _find() == [SETS[3], *every[: MAX_TABLE_SETS - 1]]
    _put(shipped, every[1])
    assert _find() == [every[1], every[0], *every[2:MAX_TABLE_SETS]]
    _put(shipped, usual_set(V + 1))
    assert _find() == every[:MAX_TABLE_SETS]


def test_a_base_station_takes_more_than_a_hello_offers(folder: Path, tmp_path: Path) -> None:
    """It only has to know what devices offer: `most`, of named ones too."""
    every = [usual_set(V, seed=seed, tables=1) for seed in range(10, 10 + MAX_TABLE_SETS + 2)]
    names = [_put(folder / f"{age_s}.tables", one, age_s=age_s) for age_s, one in enumerate(every)]
    _put(tmp_path / "shipped" / "rows.tables", SETS[3])
    for named, expected in ((None, [SETS[3], *every]), (names, every)):
        found = find_tables(named, vocab_size=V, fingerprint=FINGERPRINT, most=MAX_HERE)
        assert list(found) == expected
    with pytest.raises(ConfigurationError, match="10 files"):
        _find(tuple(names))


def _find_told() -> tuple[list[TableSet], dict[str, str]]:
    told = dict[str, str]()
    found = find_tables(
        None,
        vocab_size=V,
        fingerprint=FINGERPRINT,
        skipped=lambda path, why: told.update({str(path): why}),
    )
    return list(found), told


def test_a_node_needs_no_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user without one, or whose folders can't be read, gets the shipped set and a line that says why."""
    _put(tmp_path / "shipped" / "rows.tables", SETS[3])

    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    def closed(path: Path) -> list[str]:
        raise PermissionError(13, "Permission denied", str(path))

    with monkeypatch.context() as patched:
        patched.setattr(os, "listdir", closed)
        folder = str(tables_folder())
        assert _find_told() == ([SETS[3]], {folder: "Permission denied"})
    monkeypatch.delenv("XDG_DATA_HOME")
    monkeypatch.setattr(Path, "home", no_home)
    found, told = _find_told()
    assert found == [SETS[3]]
    assert list(told) == ["~/.local/share/draftwire/tables"] and "no home folder" in "".join(told.values())
    with pytest.raises(ConfigurationError) as caught:
        tables_folder()
    assert caught.value.key == "XDG_DATA_HOME" and caught.value.remedy


def test_a_node_started_in_such_a_home_finds_the_shipped_set(tmp_path: Path) -> None:
    """In a process of its own, by a user that may not look into the home that it is given."""
    home = tmp_path / "home"
    home.mkdir(mode=0)
    home.chmod(0)
    words = (
        "import os, sys\n"
        "from draftwire.nodes.models.tables import tables_here\n"
        "if os.getuid() == 0: os.setgroups([]); os.setgid(54321); os.setuid(54321)\n"
        "told = []\n"
        "found = tables_here(None, skipped=lambda path, why: told.append((str(path), why)))\n"
        "print(len(found), told)\n"
    )
    environment = {name: value for name, value in os.environ.items() if name not in ("XDG_DATA_HOME", "HOME")}
    for given, why in (({"HOME": str(home)}, "Permission denied"), ({}, "no home folder")):
        if not given and os.getuid() != 0:
            continue  # this user has an entry in passwd
        ran = subprocess.run(
            [sys.executable, "-c", words], env=environment | given, capture_output=True, text=True, timeout=60
        )
        assert ran.stderr == "" and why in ran.stdout, given


def test_a_pipe_in_the_folder_is_left_out(folder: Path) -> None:
    """Unopened: that would wait for who writes it, for ever."""
    pipe = folder / "pipe.tables"
    os.mkfifo(pipe)
    writer = os.open(pipe, os.O_RDWR | os.O_NONBLOCK)  # so that a reader fails here, and does not wait
    try:
        os.write(writer, bytes(128))
        _put(folder / "a.tables", SETS[0])
        assert _find_told() == ([SETS[0]], {str(pipe): "no regular file"})
        assert os.read(writer, 256) == bytes(128)
    finally:
        os.close(writer)


def test_named_files_are_taken_in_their_order_and_no_others(folder: Path, tmp_path: Path) -> None:
    """None named: none taken."""
    _put(folder / "a.tables", SETS[0])
    named = (_put(tmp_path / "y", SETS[2]), _put(tmp_path / "x", SETS[1]))
    assert _find(named) == [SETS[2], SETS[1]]
    assert _find(()) == []


def test_a_named_file_that_cannot_be_used_is_an_error(tmp_path: Path) -> None:
    """With its name, what is wrong, and both vocabularies where they differ."""
    other = _put(tmp_path / "other", usual_set(V + 1))
    for name, words in (
        (str(tmp_path / "missing"), ("missing", "No such file")),
        (str(tmp_path), ("directory",)),
        (other, (repr(other), f"{V + 1} ids", f"{V}, ", FINGERPRINT.hex())),
    ):
        with pytest.raises(ConfigurationError) as caught:
            _find((name,))
        assert caught.value.key == "pair.tables" and caught.value.remedy
        assert all(word in str(caught.value) for word in words)
    odd = tmp_path / "odd"
    odd.write_bytes(table_set_bytes(SETS[0]) + b"\0")
    with pytest.raises(ConfigurationError, match=r"odd.*no set of tables.*trailing"):
        load_tables(odd)


def test_what_is_cut_short_is_told_from_what_is_no_set(tmp_path: Path) -> None:
    """A file that lost its end is to be copied again; a few bytes of text were never a set."""
    whole = table_set_bytes(SETS[0])
    for data, problem, remedy in (
        (whole[:-1], "cut short", "copy it again"),
        (whole[:5], "cut short", "copy it again"),
        (b"hi\n", "no set of tables", "draftwire tables learn"),
        (b"", "no set of tables", "draftwire tables learn"),
        (b"a longer text than that", "no set of tables", "draftwire tables learn"),
    ):
        (tmp_path / "odd").write_bytes(data)
        with pytest.raises(ConfigurationError) as caught:
            load_tables(tmp_path / "odd")
        assert problem in caught.value.problem and remedy in caught.value.remedy
        assert ("truncated" in caught.value.problem) is (problem == "cut short")


def test_files_come_with_their_sets(folder: Path, tmp_path: Path) -> None:
    """So that people can be told which one to copy: found ones and named ones."""
    shipped, own = tmp_path / "shipped" / "rows.tables", folder / "a.tables"
    _put(shipped, SETS[3])
    _put(own, SETS[0])
    for named, expected in ((None, ((shipped, SETS[3]), (own, SETS[0]))), ([str(own)], ((own, SETS[0]),))):
        assert find_files(named, vocab_size=V, fingerprint=FINGERPRINT) == expected


def test_a_controller_has_the_sets_of_every_vocabulary(folder: Path, tmp_path: Path) -> None:
    """In the same order, 32 at most; what is named counts alone, and damaged files are treated as ever."""
    others = [usual_set(V + i) for i in range(1, MAX_TABLE_SETS + 4)]
    for i, one in enumerate([SETS[0], *others]):
        _put(folder / f"{i}.tables", one, age_s=i)
    _put(tmp_path / "shipped" / "rows.tables", SETS[3])
    (folder / "odd.tables").write_bytes(b"DWTABLE1")
    told = list[Path]()
    assert list(tables_here(None, skipped=lambda path, _: told.append(path))) == [SETS[3], SETS[0], *others]
    assert told == [folder / "odd.tables"]
    assert list(tables_here([_put(tmp_path / "x", others[1]), _put(tmp_path / "y", SETS[1])])) == [
        others[1],
        SETS[1],
    ]
    assert tables_here(()) == ()


def test_a_controller_goes_without_a_named_file_that_it_lacks(tmp_path: Path) -> None:
    """Missing or damaged, it is told and left out: sizes of rows are guessed without it."""
    (tmp_path / "odd").write_bytes(b"no set")
    named = [str(tmp_path / "missing"), _put(tmp_path / "x", SETS[0]), str(tmp_path / "odd"), str(tmp_path)]
    told = dict[str, str]()
    found = tables_here(named, skipped=lambda path, why: told.update({path.name: why}))
    assert found == (SETS[0],)
    assert list(told) == ["missing", "odd", tmp_path.name] and told["missing"] == "no such file"


def test_names_of_spellings() -> None:
    """For logs: a hash in hex, or a word."""
    assert (tables_name(None), tables_name(SETS[0].hash)) == ("plain", SETS[0].hash.hex())
