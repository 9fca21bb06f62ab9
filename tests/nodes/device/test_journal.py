"""The journal's file: what was written comes back, wherever it is cut off; damage and rivals are errors."""

import os
import resource
import stat
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.harness.cell import VOCAB_SIZE, hello, request

from draftwire.codecs.messages import Acceptance, Origin, PendingBlock, Plan, Sampling
from draftwire.nodes.device.checks import InvalidRequestError, check_entry, model_name
from draftwire.nodes.device.entries import (
    DamagedError,
    Entry,
    Requests,
    line_of,
    request_event,
    state_event,
    tokens_event,
)
from draftwire.nodes.device.journal import Journal, JournalError, Page
from draftwire.runtime.errors import ConfigurationError
from draftwire.runtime.session.request import DeviceRecord, Request, Taken

ROOT = Path(__file__).parents[3]

OF_NUMPY: Any = np.int64(2)


def entry(id: str = "aaaaaaaa", *, wanted: Request | None = None, **changes: Any) -> Entry:
    """A request of device `dev`, at its beginning."""
    fields: dict[str, Any] = {
        "id": id,
        "number": 7,
        "device": "dev",
        "draft": "small",
        "vocab_size": VOCAB_SIZE,
        "fingerprint": hello().fingerprint,
        "request": wanted or request(),
        "text": "why?",
    }
    return Entry(**(fields | changes))


def record(device_try: int = 1, draft_epoch: int = 0, *, start: int | None = None) -> DeviceRecord:
    """A record; with `start` a block of its epoch is out."""
    block = None
    if start is not None:
        plan = Plan(number=1, k=8, gamma=4, min_draft=4)
        block = PendingBlock(
            draft_epoch=draft_epoch, start=start, length=4, plan=plan, rows_hash=draft_epoch.to_bytes(8)
        )
    return DeviceRecord(device_try=device_try, draft_epoch=draft_epoch, outstanding=block)


def taken(position: int, *tokens: int, origin: Origin = Origin.ACCEPTED) -> list[Taken]:
    """Tokens that follow each other."""
    return [Taken(position=position + i, token=one, origin=origin) for i, one in enumerate(tokens)]


def test_a_request_comes_back_as_it_was(tmp_path: Path) -> None:
    """What a device wrote of a request is what the next process reads: request, state, tokens, origins."""
    wanted = Request(
        prompt=(1, 2, 3),
        sampling=Sampling(temperature=0.7, top_k=5, top_p=0.9),
        seed=2**64 - 1,
        max_new_tokens=40,
        stop=("\n", "ünd"),
        k=8,
    )
    begun = entry(wanted=wanted, text="why\nnot?")
    with Journal(tmp_path / "j") as journal:
        page = journal.begin(begun)
        page.keep([], record(1), leaves=True, rests=True)
        page.keep(taken(3, 9, 8), record(1, 1, start=5), leaves=True, rests=True)
        page.keep(taken(5, 7, origin=Origin.BONUS), record(1, 1), leaves=False, rests=True)
        held = journal.entry(begun.id)
    with Journal(tmp_path / "j") as journal:
        assert journal.open_entries() == (held,)
        assert (held.request, held.text, held.number, held.device) == (wanted, "why\nnot?", 7, "dev")
        assert (held.output, held.record) == ((9, 8, 7), record(1, 1, start=5))
        assert held.origins == (Origin.ACCEPTED, Origin.ACCEPTED, Origin.BONUS)
        journal.page(begun.id).end(finish="length")
        assert journal.open_entries() == () and not journal.is_open(begun.id)
    with Journal(tmp_path / "j") as journal:
        with pytest.raises(ConfigurationError, match=r"has ended \(length\); none is open"):
            journal.entry(begun.id)


def test_what_a_request_says_of_its_drafts_comes_back(tmp_path: Path) -> None:
    """Acceptance as asked for and as settled, pins, the bound of waste, and how a block is to be tested."""
    wanted = request(acceptance=Acceptance.AUTO, min_draft=0, max_waste=0.25)
    settled = DeviceRecord(
        device_try=1, draft_epoch=2, outstanding=None, acceptance=Acceptance.COUPLED
    )
    plan = Plan(number=4, k=8, gamma=4, min_draft=4, blockwise=True)
    block = PendingBlock(draft_epoch=2, start=3, length=4, plan=plan, rows_hash=bytes(8))
    rows = DeviceRecord(
        device_try=1, draft_epoch=2, outstanding=block, acceptance=Acceptance.REJECTION
    )
    with Journal(tmp_path / "j") as journal:
        journal.begin(entry("aaaaaaaa", wanted=wanted)).keep([], settled, leaves=True, rests=True)
        journal.begin(entry("bbbbbbbb")).keep([], rows, leaves=True, rests=True)
    with Journal(tmp_path / "j") as journal:
        one, other = journal.open_entries()
        assert (one.request, one.record) == (wanted, settled)
        assert (other.request.acceptance, other.record) == (Acceptance.REJECTION, rows)


def test_a_journal_of_an_older_version_is_read(tmp_path: Path) -> None:
    """What its lines do not say had not been invented: rejection, no pins, blocks token by token."""
    new = {"min_draft", "acceptance", "max_waste"}
    asked = {key: value for key, value in request_event(entry()).items() if key not in new}
    state = state_event("aaaaaaaa", record(1, 1, start=3))
    del state["acceptance"], state["outstanding"]["blockwise"]
    (tmp_path / "j").write_bytes(line_of(asked) + line_of(state))
    with Journal(tmp_path / "j") as journal:
        held = journal.entry("aaaaaaaa")
        assert (held.request, held.record) == (request(), record(1, 1, start=3))


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"acceptance": "coupld"}, "acceptance: 'coupld' is none"),
        ({"acceptance": 1}, "acceptance: no text"),
        ({"min_draft": -1}, "min_draft: no number"),
        ({"min_draft": True}, "min_draft: no number"),
        ({"max_waste": -0.5}, "max_waste: no number from 0"),
        ({"max_waste": "much"}, "max_waste: no number"),
        ({"max_waste": 1e9}, "max_waste: no number from 0"),
    ],
)
def test_damaged_words_of_drafts_are_told(tmp_path: Path, change: dict[str, Any], problem: str) -> None:
    """By the line and the field."""
    (tmp_path / "j").write_bytes(line_of(request_event(entry()) | change))
    with pytest.raises(ConfigurationError, match=f"line 1: {problem}"):
        Journal(tmp_path / "j")


@pytest.mark.parametrize(
    ("asked", "settled"),
    [
        (Acceptance.REJECTION, [Acceptance.COUPLED]),
        (Acceptance.COUPLED, [Acceptance.REJECTION]),
        (Acceptance.AUTO, [Acceptance.COUPLED, Acceptance.REJECTION]),
    ],
)
def test_acceptance_is_settled_once(
    tmp_path: Path, asked: Acceptance, settled: list[Acceptance]
) -> None:
    """A journal in which it changes is damaged: the text would no longer be one draw."""
    lines = line_of(request_event(entry(wanted=request(acceptance=asked))))
    for number, one in enumerate(settled, 1):
        held = DeviceRecord(device_try=number, draft_epoch=0, outstanding=None, acceptance=one)
        lines += line_of(state_event("aaaaaaaa", held))
    (tmp_path / "j").write_bytes(lines)
    with pytest.raises(ConfigurationError, match=f"line {len(settled) + 1}: acceptance has changed"):
        Journal(tmp_path / "j")


def test_tokens_stand_before_the_record_that_leans_on_them(tmp_path: Path) -> None:
    """Torn between them, a journal has the tokens and the older record, which names the block they settle."""
    with Journal(tmp_path / "j") as journal:
        page = journal.begin(entry())
        page.keep(taken(3, 1), record(1, 1, start=4), leaves=True, rests=False)
        page.keep(taken(4, 2), record(1, 2, start=5), leaves=False, rests=False)
        page.keep(taken(5, 3), record(1, 3, start=6), leaves=True, rests=False)
    events = [line.split(b'"', 4)[3].decode() for line in (tmp_path / "j").read_bytes().splitlines()]
    assert events == ["request", "tokens", "state", "tokens", "tokens", "state"]


Story = list[tuple[str, Callable[[Page], None]]]
"""Ids of requests, and what happens to each in turn."""


@st.composite
def _stories(draw: st.DrawFn) -> Story:
    """What may happen to some requests, step by step."""
    story = Story()
    lengths = dict[str, int]()
    tries = dict[str, int]()
    ids = ("aaaaaaaa", "bbbbbbbb", "cccccccc")
    for _ in range(draw(st.integers(0, 12))):
        id = draw(st.sampled_from(ids))
        length, attempt = lengths.get(id, 3), tries.get(id, 0)
        if length < 0:
            continue
        match draw(st.sampled_from(["step", "step", "step", "retry", "end"])):
            case "end":
                story.append((id, lambda page: page.end(finish="eos")))
                lengths[id] = -1
            case "retry":
                tries[id] = attempt + 1
                story.append((id, _kept([], record(attempt + 1, 2 * length))))
            case _:
                new = draw(st.lists(st.integers(0, VOCAB_SIZE - 1), max_size=4))
                story.append((id, _kept(taken(length, *new), record(attempt, 2 * length, start=length))))
                lengths[id] = length + len(new)
    return story


def _kept(new: Sequence[Taken], state: DeviceRecord) -> Callable[[Page], None]:
    return lambda page: page.keep(new, state, leaves=True, rests=True)


def _write(path: Path, story: Story) -> None:
    with Journal(path) as journal:
        pages = dict[str, Page]()
        for id, step in story:
            if id not in pages:
                pages[id] = journal.begin(entry(id))
            step(pages[id])


@given(story=_stories(), data=st.data())
@settings(max_examples=60, deadline=None)
def test_any_beginning_of_a_journal_is_a_journal(
    tmp_path_factory: pytest.TempPathFactory, story: Story, data: st.DataObject
) -> None:
    """Cut off at any byte, a file holds what its whole lines say, can be written on, and says so once."""
    path = tmp_path_factory.mktemp("j") / "j"
    _write(path, story)
    whole = path.read_bytes()
    cut = data.draw(st.integers(0, len(whole)), label="cut")
    path.write_bytes(whole[:cut])
    expected = Requests()
    *lines, torn = whole[:cut].split(b"\n")
    for line in lines:
        expected.read(line)
    still_open = tuple(one for one in expected.all() if not one.end)
    with Journal(path) as journal:
        assert journal.open_entries() == still_open
        assert journal.cut_bytes == len(torn)
        journal.begin(entry("zzzzzzzz"))
    with Journal(path) as journal:
        assert journal.cut_bytes == 0
        assert journal.open_entries() == (*still_open, entry("zzzzzzzz"))


@given(data=st.data())
@settings(max_examples=100, deadline=None)
def test_a_line_is_an_event_or_a_damaged_one(data: st.DataObject) -> None:
    """Whatever a line says, it is taken or refused with the one typed error; nothing else escapes."""
    requests = Requests()
    requests.read(line_of(request_event(entry())))
    keys = st.sampled_from(
        "event id finish reason position ids origins device_try draft_epoch outstanding plan k gamma "
        "min_draft start length rows_hash acceptance max_waste blockwise".split()
    )
    leaves = (
        st.none() | st.booleans() | st.integers(-2, 70) | st.floats() | st.text(max_size=3)
        | st.sampled_from(["request", "state", "tokens", "end", "aaaaaaaa", "00" * 8])
    )  # fmt: skip
    values = st.recursive(
        leaves,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=9),
        max_leaves=12,
    )
    event = data.draw(st.dictionaries(keys, values) | values, label="event")
    line = data.draw(st.sampled_from([line_of(event), repr(event).encode(errors="replace")]), label="line")  # type: ignore[arg-type]
    try:
        requests.read(line)
    except DamagedError:
        pass


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("{}", "no field 'event'"),
        ("[1]", "no JSON object"),
        ("nonsense", "no JSON"),
        ('{"event":"tokens","id":"bbbbbbbb","position":3,"ids":[1],"origins":[1]}', "bbbbbbbb has not begun"),
        ('{"event":"tokens","id":"aaaaaaaa","position":4,"ids":[1],"origins":[1]}', "tokens are missing"),
        ('{"event":"tokens","id":"aaaaaaaa","position":3,"ids":[64],"origins":[1]}', "ids: no list of"),
        ('{"event":"tokens","id":"aaaaaaaa","position":3,"ids":[1],"origins":[5]}', "origins: no list"),
        ('{"event":"state","id":"aaaaaaaa","device_try":0,"draft_epoch":0,"outstanding":null}', "gone back"),
        ('{"event":"state","id":"aaaaaaaa","device_try":true,"draft_epoch":0}', "no field 'outstanding'"),
        ('{"event":"state","id":"aaaaaaaa","device_try":1.5,"outstanding":null}', "device_try: no number"),
        ('{"event":"state","id":"aaaaaaaa","device_try":1,"draft_epoch":0,"outstanding":3}', "no block"),
        ('{"event":"end","id":"aaaaaaaa"}', "no field 'reason'"),
        ('{"event":"verse","id":"aaaaaaaa"}', "an unknown event 'verse'"),
    ],
)
def test_damage_is_told_with_its_line(tmp_path: Path, line: str, problem: str) -> None:
    """Damage that no torn write explains is an error that names file, line and fault; nothing is cut."""
    path = tmp_path / "j"
    with Journal(path) as journal:
        journal.begin(entry()).keep([], record(1), leaves=True, rests=True)
    end = line_of({"event": "end", "id": "aaaaaaaa", "finish": "eos"})
    before = path.read_bytes() + line.encode() + b"\n" + end
    path.write_bytes(before)
    with pytest.raises(ConfigurationError) as caught:
        Journal(path)
    assert f"{path}: line 3: " in str(caught.value) and problem in str(caught.value), str(caught.value)
    assert path.read_bytes() == before
    with pytest.raises(ConfigurationError, match="line 3"):  # the lock is free again
        Journal(path)


def test_one_process_at_a_time(tmp_path: Path) -> None:
    """While a journal is open nobody else gets it, and the error says who may hold it; closed, it is free."""
    with Journal(tmp_path / "j"):
        with pytest.raises(ConfigurationError, match=r"another process writes to it.*draftwire device"):
            Journal(tmp_path / "j")
    Journal(tmp_path / "j").close()


@pytest.mark.parametrize("name", ["/dev/full", "/dev/null", "folder", "missing/j", "fifo"])
def test_what_can_be_no_journal(tmp_path: Path, name: str) -> None:
    """A device, a folder, a pipe or a place that is not there is refused at once, naming --journal."""
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(ConfigurationError, match=r"--journal: .*name"):
        Journal(tmp_path / name)


def test_a_full_disk_is_an_error_and_leaves_no_trace(tmp_path: Path) -> None:
    """What does not fit raises; the file ends with the last whole event, and later ones are refused too."""
    path = tmp_path / "j"
    with Journal(path) as journal:
        page = journal.begin(entry())
        page.keep([], record(1), leaves=True, rests=True)
        size, limits = path.stat().st_size, resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 20, limits[1]))
        try:
            with pytest.raises(JournalError, match=r"can't be written: File too large.*--resume"):
                page.keep(taken(3, 1), record(1), leaves=False, rests=True)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert path.stat().st_size == size
        with pytest.raises(JournalError):
            page.keep(taken(4, 1), record(1), leaves=False, rests=True)
        assert journal.entry("aaaaaaaa").output == ()
    with Journal(path) as journal:
        assert (journal.cut_bytes, journal.entry("aaaaaaaa").output) == (0, ())


def test_a_disk_that_fails_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where what was written may not be on disk, the device hears of it before it goes on."""

    with Journal(tmp_path / "j") as journal:
        page = journal.begin(entry())
        monkeypatch.setattr("draftwire.nodes.device.journal._sync", _no_disk)
        with pytest.raises(JournalError, match="Input/output error"):
            page.keep([], record(1), leaves=True, rests=False)
        with pytest.raises(JournalError, match="Input/output error"):
            page.keep(taken(3, 1), record(1), leaves=False, rests=True)


def test_a_failed_disk_holds_up_the_other_requests_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What one request has written and another's failed write left in doubt is not taken for kept."""
    with Journal(tmp_path / "j") as journal:
        page, other = journal.begin(entry("aaaaaaaa")), journal.begin(entry("bbbbbbbb"))
        monkeypatch.setattr("draftwire.nodes.device.journal._sync", _no_disk)
        with pytest.raises(JournalError):
            page.keep([], record(1), leaves=True, rests=False)
        with pytest.raises(JournalError, match="Input/output error"):
            other.keep([], entry().record, leaves=True, rests=True)


def _no_disk(file: int) -> None:
    raise OSError(5, "Input/output error")


def test_a_request_that_does_not_fit_has_not_begun(tmp_path: Path) -> None:
    """Where its first line can't be written the error says so, not that it stays open."""
    with Journal(tmp_path / "j") as journal:
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20, limits[1]))
        try:
            with pytest.raises(JournalError, match="File too large; the request has not begun") as caught:
                journal.begin(entry())
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert "stays open" not in str(caught.value)
        assert not journal.is_open("aaaaaaaa") and journal.open_entries() == ()


@pytest.mark.parametrize("ended", [False, True])
def test_an_id_begins_once(tmp_path: Path, ended: bool) -> None:
    """A second request of an id, open or ended, is refused before it is written: the journal stays one."""
    path = tmp_path / "j"
    with Journal(path) as journal:
        page = journal.begin(entry())
        if ended:
            page.end(finish="length")
        before, held = path.read_bytes(), journal.open_entries()
        with pytest.raises(InvalidRequestError, match="aaaaaaaa has ended" if ended else "has begun"):
            journal.begin(entry())
        assert path.read_bytes() == before
    with Journal(path) as journal:
        assert journal.open_entries() == held


@pytest.mark.parametrize(
    ("events", "problem"),
    [
        ([tokens_event("aaaaaaaa", taken(4, 1))], "tokens are missing"),
        ([tokens_event("aaaaaaaa", taken(3, 7)), tokens_event("aaaaaaaa", taken(3, 8))], "are missing"),
        ([tokens_event("aaaaaaaa", taken(3, 7)), {"event": "end", "id": "aaaaaaaa"}], "'reason'"),
        ([{"event": "end", "id": "aaaaaaaa", "finish": "x"}, state_event("aaaaaaaa", record(9))], "ended"),
        ([state_event("aaaaaaaa", record(9)), {"event": "verse", "id": "aaaaaaaa"}], "unknown event"),
        ([request_event(entry("bbbbbbbb")), request_event(entry("bbbbbbbb"))], "has begun already"),
        ([request_event(entry("bbbbbbbb", wanted=request(k=True)))], "k: no number"),
        ([request_event(entry("bbbbbbbb", wanted=request((1, OF_NUMPY))))], "not JSON serializable"),
        ([request_event(entry("bbbbbbbb", text="caf\udce9"))], "surrogates"),
    ],
)
def test_what_could_not_be_read_again_is_not_written(
    tmp_path: Path, events: list[dict[str, object]], problem: str
) -> None:
    """It is an error of its own, nothing of it is in the file or known, and the journal goes on."""
    path = tmp_path / "j"
    with Journal(path) as journal:
        page = journal.begin(entry())
        page.keep([], record(1), leaves=True, rests=True)
        before, held = path.read_bytes(), journal.open_entries()
        with pytest.raises(JournalError, match=problem):
            journal.append(*events)
        assert (path.read_bytes(), journal.open_entries()) == (before, held)
        page.keep(taken(3, 1), record(2), leaves=True, rests=True)
        held = journal.open_entries()
    with Journal(path) as journal:
        assert journal.open_entries() == held and held[0].output == (1,)


def test_who_goes_on_begins_no_journal(tmp_path: Path) -> None:
    """With `new` off a file that is not there is an error, and is not there afterwards either."""
    with pytest.raises(ConfigurationError, match=r"typo.*No such file.*the journal that has the request"):
        Journal(tmp_path / "typo", new=False)
    assert list(tmp_path.iterdir()) == []


def test_requests_that_have_ended_may_be_deleted(tmp_path: Path) -> None:
    """What the documentation says to prune a journal with leaves one, with its open requests, for its owner
    only; the last request of a journal can be deleted too.
    """
    path = tmp_path / "journal.jsonl"
    with Journal(path) as journal:
        ended, other = journal.begin(entry("k3f9a2bx")), journal.begin(entry("bbbbbbbb"))
        for page in (ended, other):
            page.keep(taken(3, 1, 2), record(1), leaves=True, rests=True)
        ended.end(finish="length")
        left = journal.open_entries()
    assert _mode(path) == 0o600
    prune = """sed -i '/"id":"k3f9a2bx"/d' journal.jsonl"""
    assert f"    {prune}\n" in (ROOT / "docs/operations.md").read_text()
    subprocess.run(prune, shell=True, cwd=tmp_path, check=True)
    with Journal(path) as journal:
        assert journal.open_entries() == left and "k3f9a2bx" not in journal._requests
    subprocess.run(prune.replace("k3f9a2bx", "bbbbbbbb"), shell=True, cwd=tmp_path, check=True)
    assert (path.read_bytes(), _mode(path), list(tmp_path.iterdir())) == (b"", 0o600, [path])


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_an_unknown_request_is_told_the_open_ones(tmp_path: Path) -> None:
    """Who mistypes an id, or takes one that has ended, is told the open ones by prompt and length."""
    with Journal(tmp_path / "j") as journal:
        journal.begin(entry("aaaaaaaa", text="Why is the sky blue, and why is the sea green?"))
        journal.begin(entry("bbbbbbbb", text="")).keep(taken(3, 5, 6), record(1), leaves=True, rests=True)
        journal.begin(entry("cccccccc")).end(reason="superseded")
        with pytest.raises(ConfigurationError) as caught:
            journal.entry("cccccccc")
        for words in (
            "request cccccccc has ended (superseded)",
            "aaaaaaaa (0 of 40 tokens, 'Why is the sky blue, and why is the s...')",
            "bbbbbbbb (2 of 40 tokens, '3 token ids')",
        ):
            assert words in str(caught.value)
        with pytest.raises(ConfigurationError, match="no request 'dddddddd' in it; open: aaaaaaaa"):
            journal.entry("dddddddd")


@pytest.mark.parametrize(
    ("changes", "values"),
    [
        ({"device": "other"}, ("device", "other", "dev")),
        ({"draft": "large"}, ("draft", "large", "small", "called by the same name")),
        ({"fingerprint": bytes(8)}, ("vocabulary", "00" * 8, hello().fingerprint.hex())),
        ({"vocab_size": 128}, ("vocabulary", "128 ids", "64 ids")),
    ],
)
def test_a_request_of_others_is_told_with_both_values(
    changes: dict[str, Any], values: tuple[str, ...]
) -> None:
    """Another device, draft model or vocabulary than a request began with is an error that names both."""
    with pytest.raises(InvalidRequestError) as caught:
        check_entry(entry(**changes), device="dev", draft="small", hello=hello())
    assert all(value in str(caught.value) for value in values), str(caught.value)


def test_a_draft_model_is_known_by_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder or a file is the same however it is spelt, wherever one looks from; other names count."""
    folder = tmp_path / "models" / "small"
    folder.mkdir(parents=True)
    (folder / "draft.gguf").touch()
    monkeypatch.chdir(tmp_path)
    kept = {model_name(one) for one in ("models/small", "./models/small/", "models/../models/small")}
    file = model_name("models/small/draft.gguf")
    monkeypatch.chdir(folder)
    assert kept == {str(folder)} == {model_name(".")}
    assert file == model_name("draft.gguf") == str(folder / "draft.gguf")
    check_entry(entry(draft=str(folder)), device="dev", draft="../small", hello=hello())
    (folder / "smollm2").mkdir()
    for name in ("smollm2", "synthetic:V=64,seed=1", "owner/model", "x" * 5000, "~nobody-of-this-name/m", ""):
        assert model_name(name) == name
