"""The package's public face: what it offers, lazily, and nothing else."""

import subprocess
import sys

import draftwire
from draftwire.nodes.console import api


def test_all_names_are_there() -> None:
    """Each name of __all__ can be had, and an unknown one is an AttributeError that names it."""
    for name in draftwire.__all__:
        assert getattr(draftwire, name) is not None
    try:
        _ = draftwire.conect
    except AttributeError as error:
        assert "conect" in str(error)
    else:
        raise AssertionError("an unknown name was found")


def test_what_a_user_annotates_with() -> None:
    """Token, Generation, connect and connect_all are those of the Python interface; __all__ has them."""
    for name in ("Generation", "Token", "connect", "connect_all"):
        assert name in draftwire.__all__
        assert getattr(draftwire, name) is getattr(api, name)


def test_import_is_light() -> None:
    """`import draftwire` loads no torch, no transformers and no ZeroMQ."""
    heavy = "{'torch', 'transformers', 'zmq', 'numpy'}"
    code = f"import sys, draftwire; print(sorted({heavy} & set(sys.modules)))"
    ran = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
