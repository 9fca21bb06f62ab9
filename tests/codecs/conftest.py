"""`row_codec`: tests with it run on each codec. Add yours: `pytest tests/codecs --row-codec mine:Codec`."""

from importlib import import_module

import pytest

from draftwire.codecs.blocks import Packed
from draftwire.codecs.rows import RowCodec


def load_row_codec(name: str) -> RowCodec:
    """The object at MODULE:OBJECT; a class is called without arguments."""
    module, separator, attribute = name.partition(":")
    if not separator:
        raise pytest.UsageError(f"--row-codec {name}: must be MODULE:OBJECT, as in my_package.codec:MyCodec")
    try:
        found = getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise pytest.UsageError(f"--row-codec {name}: {error}") from error
    codec: RowCodec = found() if isinstance(found, type) else found
    return codec


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One run of each row property for each codec."""
    if "row_codec" in metafunc.fixturenames:
        codecs = [Packed(), *map(load_row_codec, metafunc.config.getoption("--row-codec"))]
        metafunc.parametrize("row_codec", codecs, ids=lambda codec: codec.name)
