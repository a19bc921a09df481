"""What pages point to is there: links, headings and files. Commands: cli_torch/test_pages.py."""

import re
from pathlib import Path

import pytest
import yaml

HOME = Path(__file__).parent.parent
DOCS = HOME / "docs"
PAGES = sorted(path.relative_to(HOME).as_posix() for path in DOCS.rglob("*.md"))
TEXTS = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", *PAGES]
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```$", re.M | re.S)
MADE = {
    "project/architecture.md",
    "project/changelog.md",
    "project/contributing.md",
    "reference/commands.md",
}
"""Pages that docs/hooks/pages.py makes."""
WORDS_OF_README = 700


def text_of(page):
    return (HOME / page).read_text()


def prose_of(page):
    return FENCE.sub("", text_of(page))


def anchors(path):
    """The ids that MkDocs and GitHub give to the headings of a page."""
    found = set()
    for heading in re.findall(r"^#+ (.*)$", path.read_text(), re.M):
        words = re.sub(r"[^\w\s-]", "", heading.lower())
        found.add(re.sub(r"[\s]+", "-", words.strip()))
    return found


@pytest.mark.parametrize("page", TEXTS)
def test_links_lead_somewhere(page):
    for link in LINK.findall(prose_of(page)):
        if link.startswith(("http://", "https://")):
            continue
        place, _, anchor = link.partition("#")
        target = (HOME / page).parent / place if place else HOME / page
        known = target.is_file() or target.resolve() in [DOCS / page for page in MADE]
        assert known, f"{page} links to {place}, which is not there"
        if anchor and target.suffix == ".md" and target.is_file():
            assert anchor in anchors(target), f"{page} links to #{anchor} of {target.name}"


@pytest.mark.parametrize("page", TEXTS)
def test_files_that_are_named_exist(page):
    named = re.findall(
        r"\b((?:experiments|docs|tests|nas|search_spaces)/[\w/.-]+\.\w+)", text_of(page)
    )
    missing = [path for path in named if not (HOME / path).exists()]
    assert not missing, f"{page} names {missing}"


def test_every_page_is_in_the_navigation():
    listed = set(re.findall(r"[\w/]+\.md", (HOME / "mkdocs.yml").read_text()))
    pages = {path.removeprefix("docs/") for path in PAGES} | MADE
    assert pages == listed


def test_the_configuration_is_yaml():
    assert yaml.safe_load((HOME / "mkdocs.yml").read_text())["docs_dir"] == "docs"


def test_the_readme_is_short():
    assert len(text_of("README.md").split()) <= WORDS_OF_README
