"""What a journal says, apart from the file that it says it in: events in, requests out.

    request     a prompt is to be answered, with everything that the answer hangs on
    state       what the device must know to go on, before the message that uses it leaves
    tokens      output tokens that have become final, before they are shown
    end         the request has ended, and why

Each is one JSON object on a line of its own. Events of several requests may alternate; those of one request
stand in the order in which they happened, so every beginning of a journal is a journal as well. What older
versions did not write, they had not.
"""

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from draftwire.codecs.errors import LocalError as InvalidValueError
from draftwire.codecs.limits import MAX_UINT64, MAX_VOCAB_SIZE
from draftwire.codecs.messages import Acceptance, Origin, PendingBlock, Plan, Sampling
from draftwire.nodes.device.entry_fields import (
    DamagedError,
    acceptance_in,
    eight_bytes_in,
    ids_in,
    need,
    number_in,
    pin_of,
    real_in,
    text_in,
    truth_in,
    waste_in,
)
from draftwire.runtime.session.request import DeviceRecord, Request, Taken

ID_LENGTH: Final = 8
"""Characters: few enough to type, and enough that no two requests of a journal draw the same."""
ID_LETTERS: Final = "abcdefghjkmnpqrstuvwxyz23456789"
"""Those that nobody takes for another."""

NOTHING_YET: Final = DeviceRecord(device_try=0, draft_epoch=0, outstanding=None)
"""Of a request that has not been sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One request, as far as its journal knows it."""

    id: str
    "how people call it: ID_LENGTH of ID_LETTERS"
    number: int
    "its number on the wire, 32 bits"
    device: str
    "the name of the device that asked"
    draft: str
    "the draft model, as the topology names it"
    vocab_size: int
    fingerprint: bytes
    "of the tokenizer, 8 bytes"
    request: Request
    text: str = ""
    "of the prompt; empty where only its ids are known"
    record: DeviceRecord = NOTHING_YET
    output: tuple[int, ...] = ()
    origins: tuple[Origin, ...] = ()
    end: str = ""
    "the finish or the reason it ended with; empty: it is open"

    @property
    def summary(self) -> str:
        """A few words by which a person knows it again."""
        prompt = " ".join(self.text.split()) or f"{len(self.request.prompt)} token ids"
        short = prompt if len(prompt) <= 40 else prompt[:37] + "..."
        return f"{self.id} ({len(self.output)} of {self.request.max_new_tokens} tokens, {short!r})"


def new_id() -> str:
    """An id, drawn at random."""
    return "".join(secrets.choice(ID_LETTERS) for _ in range(ID_LENGTH))


# ------------------------------------------------------------------------------------------------ events


def request_event(entry: Entry) -> dict[str, Any]:
    """That it is to be answered."""
    request = entry.request
    return {
        "event": "request",
        "id": entry.id,
        "number": entry.number,
        "device": entry.device,
        "draft": entry.draft,
        "vocab_size": entry.vocab_size,
        "fingerprint": entry.fingerprint.hex(),
        "prompt": list(request.prompt),
        "text": entry.text,
        "temperature": request.sampling.temperature,
        "top_k": request.sampling.top_k,
        "top_p": request.sampling.top_p,
        "seed": request.seed,
        "max_new_tokens": request.max_new_tokens,
        "stop": list(request.stop),
        "k": request.k,
        "gamma": request.gamma,
        "min_draft": request.min_draft,
        "acceptance": request.acceptance.name.lower(),
        "max_waste": request.max_waste,
    }


def state_event(id: str, record: DeviceRecord) -> dict[str, Any]:
    """What the device must know to go on."""
    block = record.outstanding
    return {
        "event": "state",
        "id": id,
        "device_try": record.device_try,
        "draft_epoch": record.draft_epoch,
        "acceptance": record.acceptance.name.lower(),
        "outstanding": None
        if block is None
        else {
            "draft_epoch": block.draft_epoch,
            "start": block.start,
            "length": block.length,
            "plan": block.plan.number,
            "k": block.plan.k,
            "gamma": block.plan.gamma,
            "min_draft": block.plan.min_draft,
            "blockwise": block.plan.blockwise,
            "rows_hash": block.rows_hash.hex(),
        },
    }


def tokens_event(id: str, taken: Sequence[Taken]) -> dict[str, Any]:
    """Tokens that follow each other in the output; at least one."""
    return {
        "event": "tokens",
        "id": id,
        "position": taken[0].position,
        "ids": [one.token for one in taken],
        "origins": [int(one.origin) for one in taken],
    }


def end_event(id: str, *, finish: str = "", reason: str = "") -> dict[str, Any]:
    """Why it is over: the BS ended the text (`finish`), or the request can never go on (`reason`)."""
    return {"event": "end", "id": id, **({"finish": finish} if finish else {"reason": reason})}


def line_of(event: Mapping[str, Any]) -> bytes:
    """An event as it stands in the file, the line's end included. Raises DamagedError where none can."""
    try:
        return orjson.dumps(event) + b"\n"
    except TypeError as error:
        raise DamagedError(str(error)) from None


# -------------------------------------------------------------------------------------------- their sum


class Requests:
    """The requests that events told of, event by event: when a journal is read, and while it is written."""

    def __init__(self) -> None:
        self._begun: dict[str, Entry] = {}
        self._records: dict[str, DeviceRecord] = {}
        self._output: dict[str, list[int]] = {}
        self._origins: dict[str, list[Origin]] = {}
        self._ends: dict[str, str] = {}

    def read(self, line: bytes) -> Callable[[], None]:
        """Take a line; the value takes it back, while no later one has been taken.

        Raises DamagedError, having taken nothing, for a line that no journal holds there.
        """
        try:
            event = orjson.loads(line)
            if not isinstance(event, dict):
                raise DamagedError("no JSON object")
            return self._take(event)
        except KeyError as error:
            raise DamagedError(f"no field {error.args[0]!r}") from None
        except InvalidValueError as error:
            raise DamagedError(str(error)) from None
        except orjson.JSONDecodeError:
            raise DamagedError("no JSON") from None

    def _take(self, event: Mapping[str, Any]) -> Callable[[], None]:
        kind, id = text_in(event, "event"), text_in(event, "id")
        if kind == "request":
            need(id not in self._begun, f"request {id} has begun already")
            return self._begin(_entry(event))
        need(id in self._begun, f"request {id} has not begun")
        need(id not in self._ends, f"request {id} has ended")
        match kind:
            case "state":
                return self._record(id, _record(event))
            case "tokens":
                return self._append(id, event)
            case "end":
                return self._end(id, text_in(event, "finish" if "finish" in event else "reason"))
            case _:
                raise DamagedError(f"an unknown event {kind!r}")

    def __contains__(self, id: str) -> bool:
        return id in self._begun

    def __getitem__(self, id: str) -> Entry:
        """The request as it stands now. Raises KeyError."""
        begun = self._begun[id]
        return Entry(
            id=id,
            number=begun.number,
            device=begun.device,
            draft=begun.draft,
            vocab_size=begun.vocab_size,
            fingerprint=begun.fingerprint,
            request=begun.request,
            text=begun.text,
            record=self._records[id],
            output=tuple(self._output[id]),
            origins=tuple(self._origins[id]),
            end=self._ends.get(id, ""),
        )

    def all(self) -> tuple[Entry, ...]:
        """In the order in which they began."""
        return tuple(self[id] for id in self._begun)

    def _begin(self, entry: Entry) -> Callable[[], None]:
        of_one = (self._begun, self._records, self._output, self._origins)
        self._begun[entry.id], self._records[entry.id] = entry, entry.record
        self._output[entry.id], self._origins[entry.id] = [], []

        def take_back() -> None:
            for held in of_one:
                held.pop(entry.id)

        return take_back

    def _record(self, id: str, record: DeviceRecord) -> Callable[[], None]:
        before = self._records[id]
        self._records[id] = _later(record, before, asked=self._begun[id].request.acceptance)
        return lambda: self._records.update({id: before})

    def _end(self, id: str, why: str) -> Callable[[], None]:
        need(bool(why), "an end without a reason")
        self._ends[id] = why
        return lambda: self._ends.__delitem__(id)

    def _append(self, id: str, event: Mapping[str, Any]) -> Callable[[], None]:
        begun, output = self._begun[id], self._output[id]
        ids = ids_in(event, "ids", below=begun.vocab_size)
        origins = ids_in(event, "origins", below=len(Origin))
        need(number_in(event, "position") == len(begun.request.prompt) + len(output), "tokens are missing")
        need(0 < len(ids) == len(origins), "not one origin for each of some ids")
        length = len(output)
        output += ids
        self._origins[id] += [Origin(one) for one in origins]

        def take_back() -> None:
            del output[length:], self._origins[id][length:]

        return take_back


def _entry(event: Mapping[str, Any]) -> Entry:
    vocab_size = number_in(event, "vocab_size", most=MAX_VOCAB_SIZE)
    stop = event["stop"]
    need(isinstance(stop, list) and all(isinstance(one, str) for one in stop), "stop: no list of texts")
    return Entry(
        id=text_in(event, "id"),
        number=number_in(event, "number"),
        device=text_in(event, "device"),
        draft=text_in(event, "draft"),
        vocab_size=vocab_size,
        fingerprint=eight_bytes_in(event, "fingerprint"),
        request=Request(
            prompt=tuple(ids_in(event, "prompt", below=vocab_size)),
            sampling=Sampling(
                temperature=real_in(event, "temperature"),
                top_k=number_in(event, "top_k"),
                top_p=real_in(event, "top_p"),
            ),
            seed=number_in(event, "seed", most=MAX_UINT64),
            max_new_tokens=number_in(event, "max_new_tokens"),
            stop=tuple(stop),
            k=pin_of(event["k"], "k"),
            gamma=pin_of(event["gamma"], "gamma"),
            min_draft=pin_of(event.get("min_draft"), "min_draft"),
            acceptance=acceptance_in(event, otherwise=Acceptance.REJECTION),
            max_waste=None if event.get("max_waste") is None else waste_in(event),
        ),
        text=text_in(event, "text"),
    )


def _record(event: Mapping[str, Any]) -> DeviceRecord:
    block = event["outstanding"]
    need(block is None or isinstance(block, dict), "outstanding: no block")
    return DeviceRecord(
        device_try=number_in(event, "device_try"),
        draft_epoch=number_in(event, "draft_epoch"),
        acceptance=acceptance_in(event, otherwise=Acceptance.AUTO),
        outstanding=None
        if block is None
        else PendingBlock(
            draft_epoch=number_in(block, "draft_epoch"),
            start=number_in(block, "start"),
            length=number_in(block, "length"),
            plan=Plan(
                number=number_in(block, "plan"),
                k=number_in(block, "k"),
                gamma=number_in(block, "gamma"),
                min_draft=number_in(block, "min_draft"),
                blockwise=truth_in(block, "blockwise") if "blockwise" in block else False,
            ),
            rows_hash=eight_bytes_in(block, "rows_hash"),
        ),
    )


def _later(record: DeviceRecord, before: DeviceRecord, *, asked: Acceptance) -> DeviceRecord:
    """Tries and epochs may not repeat: the BS takes the older for a copy, and keys of draws would come twice.
    Acceptance is settled once.
    """
    settled = {asked, before.acceptance, record.acceptance} - {Acceptance.AUTO}
    need(len(settled) <= 1, "acceptance has changed")
    grows = record.device_try >= before.device_try and record.draft_epoch >= before.draft_epoch
    need(grows, "device_try or draft_epoch has gone back")
    return record


__all__ = [
    "ID_LENGTH",
    "ID_LETTERS",
    "DamagedError",
    "Entry",
    "Requests",
    "end_event",
    "line_of",
    "new_id",
    "request_event",
    "state_event",
    "tokens_event",
]
