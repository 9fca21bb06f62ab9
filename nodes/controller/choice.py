"""From the name of a policy, as a topology gives it, to the policy."""

from importlib import import_module

from draftwire.nodes.controller.policy import Policy
from draftwire.runtime.errors import ConfigurationError

BUILT_IN = {
    "adaptive": "draftwire.nodes.controller.adaptive:AdaptivePolicy",
    "ucb": "draftwire.nodes.controller.baselines:UcbPolicy",
    "pid": "draftwire.nodes.controller.baselines:PidPolicy",
}
"""Imported when asked for: a controller of one's own needs none of them."""

METHODS = ("observe", "plan")


def make_policy(name: str) -> Policy:
    """The policy of this name: of BUILT_IN, or `package.module:attribute`.

    The attribute is an object with the two methods of Policy, or makes one when called without arguments, as
    its class does. Raises ConfigurationError, which names controller.policy and the remedy.
    """
    module_name, _, attribute = BUILT_IN.get(name, name).partition(":")
    try:
        found = import_module(module_name)
    except Exception as error:  # whatever a module does when it is imported
        cause = f"{type(error).__name__}: {error}"
        raise _wrong(f"{module_name} can't be imported ({cause})", _REACHABLE) from error
    try:
        made = getattr(found, attribute)
    except AttributeError:
        raise _wrong(
            f"{module_name} has no {attribute!r}", f"name what {module_name} defines behind the colon"
        ) from None
    if isinstance(made, type) or not _has_methods(made):
        if not callable(made):
            raise _wrong(f"{name} is a {type(made).__name__}", _TWO_METHODS)
        try:
            made = made()
        except Exception as error:
            cause = f"{type(error).__name__}: {error}"
            raise _wrong(f"{name}() raised {cause}", "let it be callable without arguments") from error
    lacking = [method for method in METHODS if not callable(getattr(made, method, None))]
    if lacking:
        raise _wrong(f"{name} has no method {lacking[0]!r}", _TWO_METHODS)
    policy: Policy = made
    return policy


_REACHABLE = "write package.module:attribute, and start draftwire where Python finds that module (PYTHONPATH)"
_TWO_METHODS = "give an object with observe(report) and plan(device, request), or its class"


def _has_methods(made: object) -> bool:
    return all(callable(getattr(made, method, None)) for method in METHODS)


def _wrong(problem: str, remedy: str) -> ConfigurationError:
    return ConfigurationError(" ".join(problem.split()), key="controller.policy", remedy=remedy)


__all__ = ["BUILT_IN", "make_policy"]
