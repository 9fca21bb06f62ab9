"""Answers of a server that are not what was asked for, in the shape that clients of OpenAI's API know."""

from collections.abc import Mapping
from typing import Final

import orjson
from starlette.responses import Response

JSON: Final = "application/json"


def error_body(message: str, *, kind: str, param: str | None = None, code: str | None = None) -> bytes:
    """One error as JSON; `kind` is what the shape calls its type, `param` the field to blame."""
    return orjson.dumps({"error": {"message": message, "type": kind, "param": param, "code": code}})


def refusal(
    status: int,
    message: str,
    *,
    kind: str = "invalid_request_error",
    param: str | None = None,
    code: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """A response that says why not."""
    body = error_body(message, kind=kind, param=param, code=code)
    return Response(body, status_code=status, headers=headers, media_type=JSON)


__all__ = ["JSON", "error_body", "refusal"]
