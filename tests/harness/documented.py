"""The command lines and files that the documentation shows, as its readers would copy them."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import dropwhile
from typing import Final

from tests.harness.namespaces import ROOT

DOCUMENTS: Final = (
    "README.md",
    "docs/tutorial.md",
    "docs/measured.md",
    "docs/operations.md",
    "docs/link.md",
)

_FIRST_WORDS: Final = (
    "draftwire", "make", "python", "python3", "pip", "mkdir", "sed", "cp", "scp", "ssh", "curl"
)  # fmt: skip
_FIRST_FOLDERS: Final = (".venv/", "scripts/")
_QUOTED: Final = r"""'[^']*'|"[^"]*" """.strip()
_FENCE: Final = re.compile(r"\s*```(\w*) *(\S*)")
"""Its language, and the name of the file that the block is, if it is one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Documented:
    """A command line of a document."""

    document: str
    section: str
    "the heading that it stands under"
    line: int
    text: str
    "in one line, without what is said about it behind it"

    @property
    def command(self) -> str:
        """The text as who has activated .venv would type it."""
        return self.text.replace(".venv/bin/", "")


def blocks(document: str) -> Iterator[Documented]:
    """The command lines that stand by themselves, in indented or fenced code other than Python and files."""
    section, fence, rest, began = "", None, "", 0
    for number, line in enumerate((ROOT / document).read_text(encoding="utf-8").splitlines(), start=1):
        if (marker := _FENCE.match(line)) is not None:
            opens = "file" if marker[2] else marker[1] or "text"
            fence = opens if fence is None else None
        elif fence is None and line.startswith("#"):
            section = line.lstrip("# ")
        elif fence in ("python", "file") or not (rest or fence or line.startswith("    ")):
            continue
        else:
            began = began if rest else number
            rest += line.strip()
            if rest.endswith("\\"):
                rest = rest[:-1].strip() + " "
                continue
            text, rest = _without_remark(rest.removeprefix("$ ")), ""
            if _is_command(text):
                yield Documented(document=document, section=section, line=began, text=text)


def files(document: str) -> dict[str, str]:
    """What a reader is to write: name -> text of each fenced block that begins with ```LANGUAGE NAME."""
    shown, name = dict[str, str](), ""
    for line in (ROOT / document).read_text(encoding="utf-8").splitlines():
        if (marker := _FENCE.match(line)) is not None:
            name = marker[2]
            assert name not in shown, f"{document} has {name} twice"
            if name:
                shown[name] = ""
        elif name:
            shown[name] += f"{line}\n"
    return shown


def inline(document: str) -> Iterator[str]:
    """The draftwire commands that a sentence or a table shows, with what may be left out of them."""
    text = (ROOT / document).read_text(encoding="utf-8")
    for shown in re.findall(r"`(draftwire\s[^`]+)`", text):
        yield re.sub(r"\s+", " ", shown.replace("[", "").replace("]", ""))


def _without_remark(line: str) -> str:
    """Up to a # or to three spaces, neither of them in quotes."""
    found = re.match(rf"(?:{_QUOTED}|(?!\s+#|\s{{3}})[^'\"])*", line)
    return found[0].strip() if found is not None else line


def without_settings(words: Iterable[str]) -> list[str]:
    """A command's words, without what it sets in the environment before it."""
    return list(dropwhile(lambda word: re.match(r"[A-Z_]+=", word), words))


def _is_command(text: str) -> bool:
    words = without_settings(text.split())
    return bool(words) and (words[0] in _FIRST_WORDS or words[0].startswith(_FIRST_FOLDERS))


__all__ = ["DOCUMENTS", "Documented", "blocks", "files", "inline", "without_settings"]
