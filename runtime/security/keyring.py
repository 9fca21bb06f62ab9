"""A folder of keys: this machine's own, and under allowed/ those of others that it trusts.

    keys/NAME.secret          our own key, whole
    keys/NAME.key             its public half, to copy to other machines
    keys/allowed/NAME.key     a public key from another machine

Own keys are trusted without being copied to allowed/. Everything is read anew when the folder has changed, so
a key allowed, or taken away, counts from the next connection on. A file that can't be used takes nothing from
the others: `problems` tells why.
"""

import os
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Generic, TypeVar

import zmq

from draftwire.runtime.errors import ConfigurationError
from draftwire.runtime.security.keyfile import (
    PUBLIC_SUFFIX,
    SECRET_SUFFIX,
    KeyPair,
    NoFilesLeftError,
    PublicKey,
    allow_command,
    is_for_want_of_files,
    need_key_name,
    need_new,
    read_public,
    read_secret,
    write_public,
    write_secret,
)
from draftwire.runtime.security.roles import ADMITS, PERMITS, Role, Service, key_of, role_is_plain

ALLOWED: Final = "allowed"
"""The subfolder of keys that this machine trusts."""

LOOKED_S: Final = 0.5
"""While a folder has no file more or less, its files are looked at again after this time, for one that was
changed in its place: each connection asks, and a look takes 14 ms where there are a thousand keys."""

RACY_S: Final = 2.0
"""A folder that was changed a shorter time ago is looked at each time: it may be changed again at the same
time, as its file system tells times, and who has just changed it may be at it."""

K = TypeVar("K", KeyPair, PublicKey)


class Keyring:
    """The keys in a folder, which needs not be there yet."""

    def __init__(self, folder: Path) -> None:
        self.folder: Final = folder
        self._own = _Files(folder, SECRET_SUFFIX, read_secret)
        self._allowed = _Files(folder / ALLOWED, PUBLIC_SUFFIX, read_public)

    def new(self, name: str, *, role: Role) -> KeyPair:
        """Make a key of our own. Raises ConfigurationError for a name that can't be, or that has a key."""
        need_key_name(name)
        public, secret = (half.decode() for half in zmq.curve_keypair())
        pair = KeyPair(public=PublicKey(name=name, role=role, public=public), secret=secret)
        secret_path, public_path = (self.folder / (name + one) for one in (SECRET_SUFFIX, PUBLIC_SUFFIX))
        need_new(secret_path)
        write_public(public_path, pair.public)
        try:
            write_secret(secret_path, pair)
        except ConfigurationError:
            public_path.unlink()  # without its secret it is nobody's, and would be in the next one's way
            raise
        return pair

    def allow(self, path: Path, *, role: Role | None = None) -> PublicKey:
        """Trust the key in a NAME.key; returns it. Trusted already, nothing changes.

        What the file says of its role, a stranger may have written: `role` is what whoever allows it takes
        it for, and needs not be said of a device's key, nor of one whose name is its role. Raises
        ConfigurationError for another role, for any other file, and where another key of that name is
        trusted.
        """
        if path.suffix == SECRET_SUFFIX:
            raise ConfigurationError(
                "a secret stays on the machine that it was made on",
                remedy=f"copy {path.stem}{PUBLIC_SUFFIX} from there and allow that",
                source=str(path),
            )
        key = read_public(path)
        _need_role(key, role, path)
        if any(pair.public.name == key.name and pair.public != key for pair in self.own()):
            raise ConfigurationError(
                f"this machine has a key of its own called {key.name}",
                remedy="make one of the two anew under another name",
                source=str(path),
            )
        kept = self.folder / ALLOWED / (key.name + PUBLIC_SUFFIX)
        if not kept.exists():
            write_public(kept, key)
        elif read_public(kept) != key:
            raise ConfigurationError(
                f"another key called {key.name} is allowed here",
                remedy=f"if that one is no longer in use, remove {kept} and try again",
                source=str(path),
            )
        return key

    def own(self) -> tuple[KeyPair, ...]:
        """This machine's keys, by name: those that can be used."""
        return self._own.read()[0]

    def allowed(self) -> tuple[PublicKey, ...]:
        """The keys of others that are trusted, by name: those that can be used."""
        return self._allowed.read()[0]

    def trusted(self) -> tuple[PublicKey, ...]:
        """Whom this machine takes for what a key says: those that it allows, and itself."""
        return *self.allowed(), *(pair.public for pair in self.own())

    def problems(self) -> tuple[ConfigurationError, ...]:
        """What is wrong with files of either kind; all else works with the others."""
        return *self._own.read()[1], *self._allowed.read()[1]

    def problem_of(self, name: str) -> ConfigurationError | None:
        """What is wrong with the file of the key called so, if anything is."""
        return next((problem for problem in self.problems() if Path(problem.source).stem == name), None)

    def own_key(self, role: Role, name: str | None = None) -> KeyPair:
        """The key of our own to play this role with; `name`: its own, or one below it.

        Raises ConfigurationError where there is none, or where there are several and no name tells which.
        """
        of_role = [pair for pair in self.own() if pair.public.role is role]
        found = of_role
        if name is not None:
            found = [pair for pair in of_role if pair.public.name == key_of(name)]
        match found:
            case [pair]:
                return pair
            case []:
                raise self._no_own_key(role, name, [pair.public for pair in of_role])
            case _:
                names = _names(pair.public for pair in found)
                raise ConfigurationError(
                    f"there are several keys of role {role} in {self.folder}: {names}",
                    remedy="name one of them, or remove the others",
                )

    def server_key(self, role: Role, name: str | None = None) -> PublicKey:
        """The public key that whoever serves in this role must prove itself with.

        Raises ConfigurationError where none is trusted, or where several are and no name tells which.
        """
        of_role = list({key.public: key for key in self.trusted() if key.role is role}.values())
        found = [key for key in of_role if name in (None, key.name)]
        match found:
            case [key]:
                return key
            case []:
                raise self._no_server_key(role, name, of_role)
            case _:
                raise ConfigurationError(
                    f"several keys of role {role} are allowed in {self.folder}: {_names(found)}",
                    remedy=f'write which one to expect: [{role}] key = "{found[0].name}"',
                )

    def admits(self, service: Service, public: str) -> PublicKey | None:
        """The key with this public half if it may connect to that service."""
        admitted = ADMITS[service]
        return next((key for key in self.trusted() if key.public == public and key.role in admitted), None)

    def known(self, public: str) -> PublicKey | None:
        """The key with this public half, whatever it may do."""
        return next((key for key in self.trusted() if key.public == public), None)

    def _no_server_key(self, role: Role, name: str | None, of_role: list[PublicKey]) -> ConfigurationError:
        wanted, called = name or role.value, f" called {name}" if name else ""
        return self.problem_of(wanted) or ConfigurationError(
            f"no key of role {role}{called} is allowed in {self.folder}{self._there(of_role)}",
            remedy=f"copy {wanted}{PUBLIC_SUFFIX} from that machine's keys, and: "
            + allow_command(wanted, role, folder=self.folder),
        )

    def _no_own_key(self, role: Role, name: str | None, of_role: list[PublicKey]) -> ConfigurationError:
        wanted = role.value if name is None else key_of(name)
        called = f" called {wanted}" if name is not None else ""
        implied = wanted if wanted in tuple(Role) else Role.DEVICE  # by `keys new` from the name
        as_role = "" if implied == role else f" --role {role}"
        return self.problem_of(wanted) or ConfigurationError(
            f"there is no key of role {role}{called} in {self.folder}{self._there(of_role)}",
            remedy=f"make one: draftwire keys new {wanted}{as_role} --folder {self.folder}",
        )

    def _there(self, of_role: list[PublicKey]) -> str:
        """What else is in the folder that may have been meant."""
        unusable = ", ".join(Path(problem.source).name for problem in self.problems())
        there = [f"there are: {_names(of_role)}"] if of_role else []
        there += [f"can't be used: {unusable}"] if unusable else []
        return f" ({'; '.join(there)})" if there else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeKeys:
    """What a node proves itself with, and whom it trusts."""

    keyring: Keyring
    own: KeyPair
    server_names: Mapping[Role, str] = field(default_factory=dict)
    "of the keys to expect of servers, where several of a role are allowed"


class _Files(Generic[K]):
    """The key files of one folder, read again when one was added, changed or taken away."""

    def __init__(self, folder: Path, suffix: str, read: Callable[[Path], K]) -> None:
        self._folder, self._suffix = folder, suffix
        self._read_one: Callable[[Path], K] = read
        self._seen: object = None
        self._changed_ns: int | None = None
        "when the folder was, at the last look; None: that is not to be relied on"
        self._looked_s = 0.0
        self._keys: tuple[K, ...] = ()
        self._problems: tuple[ConfigurationError, ...] = ()

    def read(self) -> tuple[tuple[K, ...], tuple[ConfigurationError, ...]]:
        """What can be used, and why the rest can't. No key goes with the last free file: all is as it was."""
        changed_ns, now_s = self._settled_ns(), time.monotonic()
        if changed_ns is not None and changed_ns == self._changed_ns and now_s < self._looked_s + LOOKED_S:
            return self._keys, self._problems
        self._changed_ns, self._looked_s = changed_ns, now_s
        try:
            seen = self._look()
            if seen != self._seen:
                self._keys, self._problems = self._read_all(name for name, *_ in seen)
                self._seen = seen
        except NoFilesLeftError as error:
            if self._seen is None:
                self._problems = (error,)
        except OSError:
            pass
        return self._keys, self._problems

    def _read_all(self, names: Iterable[str]) -> tuple[tuple[K, ...], tuple[ConfigurationError, ...]]:
        """Raises NoFilesLeftError."""
        keys, problems = list[K](), list[ConfigurationError]()
        for name in names:
            try:
                keys.append(self._read_one(self._folder / name))
            except NoFilesLeftError:
                raise
            except ConfigurationError as error:
                problems.append(error)
        return tuple(keys), tuple(problems)

    def _settled_ns(self) -> int | None:
        """When a file was last added or taken away; None where another one may follow unseen."""
        try:
            changed_ns = self._folder.stat().st_mtime_ns
        except OSError:  # no such folder
            return None
        return changed_ns if time.time_ns() - changed_ns > RACY_S * 1e9 else None

    def _look(self) -> list[tuple[str, int, int, int, int]]:
        """Cheap: a file that is the same here has not changed. Raises OSError where no file is left."""
        seen = list[tuple[str, int, int, int, int]]()
        try:
            for entry in os.scandir(self._folder):
                with suppress(OSError):  # taken away meanwhile
                    if self._is_key(entry):
                        now = entry.stat()
                        seen.append((entry.name, now.st_ino, now.st_mtime_ns, now.st_size, now.st_mode))
        except OSError as error:
            if is_for_want_of_files(error):
                raise
            # no such folder: no keys
        return sorted(seen)

    def _is_key(self, entry: os.DirEntry[str]) -> bool:
        return entry.name.endswith(self._suffix) and not entry.name.startswith(".") and entry.is_file()


def _need_role(key: PublicKey, said: Role | None, path: Path) -> None:
    """Raise ConfigurationError unless whoever allows the key knows its role."""
    if said is None and not role_is_plain(key.role, key_name=key.name):
        raise ConfigurationError(
            f"this key is of role {key.role}, and would be allowed to {PERMITS[key.role]}",
            key="role",
            remedy=f"if that is what {key.name} is for, say so: --role {key.role}",
            source=str(path),
        )
    if said not in (None, key.role):
        raise ConfigurationError(
            f"this key is of role {key.role}, not {said}",
            key="--role",
            remedy="make sure that it is the right file; its owner makes a key of another role anew",
            source=str(path),
        )


def _names(keys: Iterable[PublicKey]) -> str:
    return ", ".join(key.name for key in keys)


__all__ = ["ALLOWED", "Keyring", "NodeKeys"]
