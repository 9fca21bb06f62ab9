"""Answers as JSON, as OpenAI's API has them."""

import secrets
from collections.abc import Mapping
from typing import Any, Final

import orjson

from draftwire.nodes.console.serve.answering import Answering, Choice, Piece
from draftwire.nodes.console.serve.usage import usage

DONE: Final = b"data: [DONE]\n\n"
"""The last event of a stream that has come to its end."""


class Shape:
    """Of one request: all that its response, or its chunks, have in common."""

    def __init__(self, *, chat: bool, model: str, fingerprint: str, created_s: int) -> None:
        self._chat = chat
        self._head = {
            "id": f"{'chatcmpl' if chat else 'cmpl'}-{secrets.token_hex(12)}",
            "created": created_s,
            "model": model,
            "system_fingerprint": fingerprint,
        }

    def whole(self, answering: Answering) -> bytes:
        """The response of a request that does not stream."""
        return orjson.dumps(
            self._head
            | {
                "object": "chat.completion" if self._chat else "text_completion",
                "choices": [self._choice(one) for one in answering.choices],
                "usage": usage(answering),
            }
        )

    def opening(self, choice: Choice) -> bytes:
        """The first event of a choice: whose turn it is. Empty where texts are only continued."""
        return self._event(choice.number, {"role": "assistant", "content": ""}, None) if self._chat else b""

    def piece(self, piece: Piece) -> bytes:
        """The event of a piece, and of its choice's end."""
        events = b""
        if piece.text:
            events = self._event(piece.choice, self._delta(piece.text), None)
        if piece.finish is not None:
            events += self._event(piece.choice, {} if self._chat else self._delta(""), piece.finish)
        return events

    def usage(self, answering: Answering) -> bytes:
        """The event that tells what it came to."""
        return _event(self._head | {"object": self._kind, "choices": [], "usage": usage(answering)})

    @property
    def _kind(self) -> str:
        return "chat.completion.chunk" if self._chat else "text_completion"

    def _delta(self, text: str) -> Mapping[str, Any]:
        return {"content": text} if self._chat else {"text": text}

    def _event(self, number: int, news: Mapping[str, Any], finish: str | None) -> bytes:
        choice: dict[str, Any] = {"index": number, "finish_reason": finish, "logprobs": None}
        choice |= {"delta": news} if self._chat else news
        return _event(self._head | {"object": self._kind, "choices": [choice]})

    def _choice(self, choice: Choice) -> Mapping[str, Any]:
        said: dict[str, Any] = {"index": choice.number, "finish_reason": choice.finish, "logprobs": None}
        if self._chat:
            return said | {"message": {"role": "assistant", "content": choice.text, "refusal": None}}
        return said | {"text": choice.text}


def _event(value: Mapping[str, Any]) -> bytes:
    return b"data: " + orjson.dumps(value) + b"\n\n"


__all__ = ["DONE", "Shape"]
