"""Links of the documents lead somewhere: files that they name exist, and anchors are headings there."""

import re
from pathlib import Path
from typing import Final

import pytest
from tests.harness.namespaces import ROOT

DOCUMENTS: Final = (
    ROOT / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
    ROOT / "nodes" / "models" / "pairs" / "smollm2" / "README.md",
    ROOT / "runtime" / "link" / "data" / "README.md",
)

_LINK: Final = re.compile(r"\]\(([^)\s]+)\)|^\[[^\]]+\]: (\S+)", re.MULTILINE)
_FENCED: Final = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


def _prose(document: Path) -> str:
    """Without fenced code, in which # and brackets mean something else."""
    return _FENCED.sub("", document.read_text(encoding="utf-8"))


def _anchors(document: Path) -> set[str]:
    """Those of its headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", _prose(document), re.MULTILINE)
    return {re.sub(r"[^\w-]", "", heading.lower().replace(" ", "-")) for heading in headings}


def _broken(document: Path) -> list[str]:
    """Links that lead nowhere; those to other sites are not tried."""
    wrong = list[str]()
    for found in _LINK.finditer(_prose(document)):
        link = found[1] or found[2]
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = document if path == "" else document.parent / path
        if not target.exists() or (anchor and anchor not in _anchors(target)):
            wrong.append(link)
    return wrong


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_somewhere(document: Path) -> None:
    """Files exist, anchors are headings."""
    assert _broken(document) == []


def test_what_is_broken_is_found(tmp_path: Path) -> None:
    """A file that is not there, a heading that is not, in links over two lines too; code is no link."""
    (tmp_path / "other.md").write_text("# Two words, and `one`\n```\n# no heading\n```\n")
    page = tmp_path / "page.md"
    page.write_text(
        "# Here\n[a](other.md#two-words-and-one) [b](#here) [c\nd](other.md#no-heading) [e](gone.md)\n"
        "[f](#there) [g](https://example.org/x#y)\n[h]: lost.md\n```\n[i](code.md)\n```\n"
    )
    assert _broken(page) == ["other.md#no-heading", "gone.md", "#there", "lost.md"]
