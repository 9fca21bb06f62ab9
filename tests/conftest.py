"""Options and settings of the whole suite. They stand here: pytest reads options from no deeper folder."""

import os
import sys
from collections.abc import Iterator

import pytest
import structlog
from hypothesis import HealthCheck, settings

# The machines that run this are shared: a slow example is no failure.
settings.register_profile("thorough", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("draftwire", settings.get_profile("thorough"), max_examples=40)


def pytest_configure(config: pytest.Config) -> None:
    """With the slow tests, properties that do not say how many examples they need are tried on 100."""
    settings.load_profile("draftwire" if config.getoption("markexpr") == "not slow" else "thorough")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add our options."""
    group = parser.getgroup("draftwire")
    group.addoption(
        "--row-codec",
        action="append",
        default=[],
        metavar="MODULE:OBJECT",
        help="also run the row properties on this RowCodec (an object, or a class without arguments)",
    )
    group.addoption(
        "--write-golden",
        action="store_true",
        help="rewrite tests/codecs/golden: a deliberate change of the wire",
    )


@pytest.fixture(autouse=True, scope="session")
def no_tables_of_this_user(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Nodes find the sets of tables that a test puts somewhere, and not those learnt on this machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_DATA_HOME", str(tmp_path_factory.mktemp("data")))
        yield


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    """A command that a test runs in this process sets logging up; the next test finds it as it was."""
    yield
    structlog.reset_defaults()


@pytest.fixture(autouse=True)
def scheduling_as_it_was() -> Iterator[None]:
    """A channel that a test runs in this process may ask to go before all others; the next test does not."""
    yield
    if sys.platform == "linux" and os.sched_getscheduler(0) == os.SCHED_RR:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
