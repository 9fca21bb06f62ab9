"""Errors as a client of the API sees them: a status, and OpenAI's shape."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from starlette.responses import Response

from draftwire.codecs.messages import Reason
from draftwire.nodes.console.launch import ChildFailedError
from draftwire.nodes.device.checks import InvalidRequestError
from draftwire.nodes.device.errors import DraftFailedError, RequestRefusedError
from draftwire.nodes.models.base import UnsupportedModelError
from draftwire.runtime.errors import ConfigurationError, DraftwireError, EndpointClosedError
from draftwire.runtime.web.replies import error_body, refusal

CONTEXT_CODE: Final = "context_length_exceeded"
LOST_CODE: Final = "base_station_unavailable"
ENDING_CODE: Final = "server_ending"
SERVER: Final = "server_error"

_PARAMS: Final = MappingProxyType(
    {name: f"draftwire.{name}" for name in ("k", "gamma", "acceptance", "min_draft", "max_waste")}
    | {"max_new_tokens": "max_tokens"}
)
"""What the Python interface calls a value -> the field of a request."""


class ApiError(DraftwireError):
    """Raised when a request can't be answered; becomes an HTTP status, or the last event of a stream."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        kind: str = "invalid_request_error",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.status, self.message, self.param, self.code, self.kind = status, message, param, code, kind
        self.headers = headers
        super().__init__(message)

    @property
    def name(self) -> str:
        """As the log has it."""
        return self.code or self.kind

    @property
    def response(self) -> Response:
        """As an answer of its own."""
        return refusal(
            self.status,
            self.message,
            kind=self.kind,
            param=self.param,
            code=self.code,
            headers=self.headers,
        )

    @property
    def event(self) -> bytes:
        """As an event of a stream."""
        body = error_body(self.message, kind=self.kind, param=self.param, code=self.code)
        return b"data: " + body + b"\n\n"


def bad(message: str, *, param: str | None = None, code: str | None = None) -> ApiError:
    """400: the request itself is wrong."""
    where = f"{param}: " if param else ""
    return ApiError(400, f"{where}{message}", param=param, code=code)


def unavailable(message: str) -> ApiError:
    """503: nobody answers now, and may later."""
    return ApiError(503, message, kind=SERVER, code=LOST_CODE, headers={"retry-after": "5"})


def as_api_error(
    error: Exception, *, max_tokens: str = "max_tokens", unsaid: int | None = None
) -> ApiError | None:
    """What a client is told of an error of the device; None: it is a bug. `max_tokens`: as that field is
    called; `unsaid`: what it was taken for, where the request doesn't say it.
    """
    match error:
        case ApiError():
            return error
        case InvalidRequestError() | ConfigurationError():
            param = _PARAMS.get(error.key, error.key) or None
            text = f"{error.problem}; {error.remedy}" if error.remedy else error.problem
            return bad(text, param=max_tokens if param == "max_tokens" else param)
        case RequestRefusedError(reason=Reason.PROMPT_TOO_LONG.name):
            # The target's context, or memory, which only the base station knows.
            why = f"; no {max_tokens} was given, so {unsaid} new tokens were asked for: give fewer"
            return bad(f"{error}{'' if unsaid is None else why}", code=CONTEXT_CODE)
        case RequestRefusedError(reason=Reason.BAD_SAMPLING.name):
            return bad(str(error))
        case RequestRefusedError(reason=Reason.BUSY.name | Reason.ABSENT.name):
            return unavailable(str(error))
        case RequestRefusedError():  # it would be refused again
            return ApiError(500, str(error), kind=SERVER, code=error.reason.lower())
        case ChildFailedError():
            return ApiError(500, str(error), kind=SERVER, code="node_failed")
        case EndpointClosedError():
            return ApiError(503, "this server is ending", kind=SERVER, code=ENDING_CODE)
        case DraftFailedError():
            return ApiError(500, str(error), kind=SERVER, code="draft_failed")
        case UnsupportedModelError():
            return bad(str(error))
    return None


__all__ = [
    "CONTEXT_CODE",
    "ENDING_CODE",
    "LOST_CODE",
    "SERVER",
    "ApiError",
    "as_api_error",
    "bad",
    "unavailable",
]
