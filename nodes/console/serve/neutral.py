"""What OpenAI's API has and this one can't do: taken where it says nothing, else refused with what to do."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from draftwire.nodes.console.serve.errors import bad

UNUSED: Final = frozenset({"user", "metadata", "store", "safety_identifier", "prompt_cache_key"})
"""Taken whatever they say, and used for nothing."""

UNUSED_OF_PARTS: Final = frozenset({"cache_control"})
"""As that of a message's parts: a hint for other servers, which changes no answer."""

_ONE_SAMPLER: Final = "drafts are tested against the target's own distribution, which nothing may bend"
_NO_TOOLS: Final = "no tools are called here: describe them in a message and read the answer's text"


@dataclass(frozen=True, slots=True)
class Cannot:
    """A field that has to be left out, or say nothing."""

    remedy: str
    neutral: tuple[Any, ...] = field(default=())
    "values that mean the same as nothing; null always does"


_BOTH: Final = {
    "presence_penalty": Cannot(_ONE_SAMPLER, (0,)),
    "frequency_penalty": Cannot(_ONE_SAMPLER, (0,)),
    "logit_bias": Cannot(_ONE_SAMPLER, ({},)),
    "service_tier": Cannot("there is one tier", ("auto", "default")),
}
COMPLETIONS: Final[Mapping[str, Cannot]] = {
    **_BOTH,
    "best_of": Cannot("ask for `n` answers and choose", (1,)),
    "echo": Cannot("put the prompt before the answer yourself", (False,)),
    "suffix": Cannot("text is only continued, and never filled in", ("",)),
    "logprobs": Cannot("the base station sends ids and no probabilities"),
}
CHAT: Final[Mapping[str, Cannot]] = {
    **_BOTH,
    "logprobs": Cannot("the base station sends ids and no probabilities", (False,)),
    "top_logprobs": Cannot("the base station sends ids and no probabilities", (0,)),
    "tools": Cannot(_NO_TOOLS, ([],)),
    "tool_choice": Cannot(_NO_TOOLS, ("none", "auto")),
    "parallel_tool_calls": Cannot(_NO_TOOLS, (False, True)),
    "functions": Cannot(_NO_TOOLS, ([],)),
    "function_call": Cannot(_NO_TOOLS, ("none", "auto")),
    "response_format": Cannot("ask for the format in a message", ({"type": "text"},)),
    "modalities": Cannot("answers are text", (["text"],)),
    "audio": Cannot("answers are text"),
    "prediction": Cannot("the draft model predicts"),
    "reasoning_effort": Cannot("say in a message how long to think", ("none",)),
    "verbosity": Cannot("say in a message how long the answer should be", ("medium",)),
    "web_search_options": Cannot("nothing is searched: put what was found into a message"),
}
MESSAGE: Final[Mapping[str, Cannot]] = {
    "name": Cannot("chat templates know no names: put it into the content"),
    "tool_calls": Cannot(_NO_TOOLS, ([],)),
    "tool_call_id": Cannot(_NO_TOOLS),
    "function_call": Cannot(_NO_TOOLS),
    "refusal": Cannot("put it into the content"),
    "audio": Cannot("messages are text"),
    "annotations": Cannot("put them into the content", ([],)),
}
"""What the official client's own messages have, when they are sent back."""


def without_neutral(body: Mapping[str, Any], cannot: Mapping[str, Cannot], *, at: str = "") -> dict[str, Any]:
    """The fields that say something. Raises ApiError for one that can't be done. `at`: before its name."""
    left = dict[str, Any]()
    for name, value in body.items():
        if value is None:
            continue
        if (entry := cannot.get(name)) is None:
            left[name] = value
        elif not any(value == one and (type(value) is bool) == (type(one) is bool) for one in entry.neutral):
            raise bad(f"this is not done here: leave it out; {entry.remedy}", param=f"{at}{name}")
    return left


__all__ = ["CHAT", "COMPLETIONS", "MESSAGE", "UNUSED", "UNUSED_OF_PARTS", "Cannot", "without_neutral"]
