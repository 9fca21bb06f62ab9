"""Key files: TOML, one key each; NAME.secret for its owner alone, NAME.key to copy.

    name = "phone-1"
    role = "device"
    public = "QJ8lqTw-E/?(gyk9n{XQ2?J%XV!iO/1t.0&3EoRQ"
    secret = "..."                                            # in NAME.secret only

Keys are those of CURVE, in Z85, whose characters need no escape in TOML.
"""

import errno
import os
import re
import secrets
import shlex
import stat
import struct
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import zmq
from zmq.utils import z85

from draftwire.codecs.limits import MAX_NAME_LENGTH
from draftwire.runtime.errors import ConfigurationError, nearest
from draftwire.runtime.security.roles import Role, role_is_plain

PUBLIC_SUFFIX: Final = ".key"
SECRET_SUFFIX: Final = ".secret"

KEY_CHARACTERS: Final = 40
"""32 bytes in Z85."""

_NAME = re.compile(rf"[0-9A-Za-z][0-9A-Za-z._-]{{0,{MAX_NAME_LENGTH - 1}}}")
"""A key's name is a file's name too, and copied between machines."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicKey:
    """What others know of a key."""

    name: str
    "how its owner is known; see is_key_name"
    role: Role
    public: str
    "40 characters of Z85"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyPair:
    """A key as its owner has it."""

    public: PublicKey
    secret: str = field(repr=False)
    "40 characters of Z85; never logged, never sent"


def is_key_name(text: str) -> bool:
    """Whether a key can have this name."""
    return _NAME.fullmatch(text) is not None


def allow_command(name: str, role: Role, *, folder: Path | None = None) -> str:
    """What is typed to allow the key of that name and role; `folder`: where that is not the usual one."""
    said = "" if role_is_plain(role, key_name=name) else f" --role {role}"
    where = "" if folder is None else f" --folder {shlex.quote(str(folder))}"
    return f"draftwire keys allow {name}{PUBLIC_SUFFIX}{said}{where}"


def need_key_name(name: str) -> None:
    """Raise ConfigurationError unless a key can have this name."""
    if not is_key_name(name):
        raise ConfigurationError(
            f"{name!r} can't be a key's name",
            remedy=f"take at most {MAX_NAME_LENGTH} letters, digits and . _ -, with a letter or digit first",
        )


def need_new(path: Path) -> None:
    """Raise ConfigurationError where that file exists."""
    if path.exists():
        raise _taken(path)


def read_public(path: Path) -> PublicKey:
    """The key in a NAME.key. Raises ConfigurationError for anything else."""
    return _public(_fields(path, "name", "role", "public"), path)


def read_secret(path: Path) -> KeyPair:
    """The key in a NAME.secret. Raises ConfigurationError for anything else, and where others can read it."""
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except OSError as error:
        raise _unreadable(path, error) from None
    if mode & 0o077:
        raise ConfigurationError(
            f"other users of this machine can use this secret (mode {mode:04o})",
            remedy=f"chmod 600 {path}",
            source=str(path),
        )
    fields = _fields(path, "name", "role", "public", "secret")
    pair = KeyPair(public=_public(fields, path), secret=fields["secret"])
    if not _is_key(pair.secret) or zmq.curve_public(pair.secret.encode()).decode() != pair.public.public:
        raise ConfigurationError(
            "its secret and its public key don't belong together",
            remedy="copy the file anew from where it was made, or make a new key",
            source=str(path),
        )
    return pair


def write_public(path: Path, key: PublicKey) -> None:
    """Write a NAME.key that was not there. Raises ConfigurationError."""
    _write_new(path, _toml(key), mode=0o644)


def write_secret(path: Path, pair: KeyPair) -> None:
    """Write a NAME.secret that was not there, for its owner's eyes only. Raises ConfigurationError."""
    _write_new(path, _toml(pair.public) + f'secret = "{pair.secret}"\n', mode=0o600)


def _toml(key: PublicKey) -> str:
    return f'name = "{key.name}"\nrole = "{key.role.value}"\npublic = "{key.public}"\n'


def _write_new(path: Path, text: str, *, mode: int) -> None:
    """Another process may read the folder now, so the file gets its name when it is whole."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        _make_private(path.parent)
        _write(draft, text, mode)
        try:
            _name(draft, path, text, mode)
        except FileExistsError:
            raise _taken(path) from None
        finally:
            os.unlink(draft)
    except OSError as error:
        raise ConfigurationError(
            f"can't be written ({error.strerror})", remedy="choose another folder", source=str(path)
        ) from None


def _name(draft: Path, path: Path, text: str, mode: int) -> None:
    """Raises FileExistsError where another file has that name: a rename would replace it."""
    try:
        os.link(draft, path)
    except FileExistsError:
        raise
    except OSError:  # FAT, for one, has no second names: whoever reads now finds half a key, and reads again
        _write(path, text, mode)


def _write(path: Path, text: str, mode: int) -> None:
    """Make a file that was not there; nothing of it is left where that fails."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with open(descriptor, "w") as file:
            file.write(text)
    except OSError:
        os.unlink(path)
        raise


def _make_private(folder: Path) -> None:
    """Whoever may write to a folder of keys decides who is trusted, and so does who may replace it."""
    if not folder.is_dir():
        _make_private(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)


def _fields(path: Path, *names: str) -> dict[str, str]:
    """The strings in a key file, these and no others."""
    try:
        table = tomllib.loads(path.read_text())
    except OSError as error:
        raise _unreadable(path, error) from None
    except (ValueError, RecursionError):  # no TOML, or nested without end
        table = {}
    if set(table) != set(names) or not all(isinstance(value, str) for value in table.values()):
        raise ConfigurationError(
            "this is no key file", remedy=f"one holds {', '.join(names)}; copy it anew", source=str(path)
        )
    return table


def _public(fields: dict[str, str], path: Path) -> PublicKey:
    name, role, public = fields["name"], fields["role"], fields["public"]
    source = str(path)
    if not is_key_name(name) or path.stem != name:
        raise ConfigurationError(
            f"the file's name and {name!r} differ",
            key="name",
            remedy=f"call the file {name}{path.suffix}" if is_key_name(name) else "copy it anew",
            source=source,
        )
    if role not in tuple(Role):
        remedy = nearest(role, [one.value for one in Role])
        raise ConfigurationError(f"unknown role {role!r}", key="role", remedy=remedy, source=source)
    if not _is_key(public):
        raise ConfigurationError(
            f"{public!r} is no key: {KEY_CHARACTERS} characters of Z85 are needed",
            key="public",
            remedy="copy it anew",
            source=source,
        )
    return PublicKey(name=name, role=Role(role), public=public)


def _is_key(text: str) -> bool:
    try:
        return len(text) == KEY_CHARACTERS and bool(z85.decode(text.encode("ascii")))
    except (ValueError, KeyError, struct.error):  # other characters, or five of them that are above 2**32
        return False


def _taken(path: Path) -> ConfigurationError:
    return ConfigurationError(
        "there is such a key already", remedy="take another name, or remove the file first", source=str(path)
    )


class NoFilesLeftError(ConfigurationError):
    """Raised when a key can't be read as this process, or this host, has no file left: that passes."""


def is_for_want_of_files(error: OSError) -> bool:
    """Whether what failed would succeed with a file, or with memory, more."""
    return error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM)


def _unreadable(path: Path, error: OSError) -> ConfigurationError:
    kind = NoFilesLeftError if is_for_want_of_files(error) else ConfigurationError
    return kind(
        f"can't be read ({error.strerror})", remedy="check the path and its permissions", source=str(path)
    )


__all__ = [
    "PUBLIC_SUFFIX",
    "SECRET_SUFFIX",
    "KeyPair",
    "NoFilesLeftError",
    "PublicKey",
    "allow_command",
    "is_for_want_of_files",
    "is_key_name",
    "need_key_name",
    "need_new",
    "read_public",
    "read_secret",
    "write_public",
    "write_secret",
]
