"""Makes a site of the repository's pages as they are: both READMEs, docs/, and every Markdown file
that one of them links to.

A page's links are those that work in the repository. In the site, a link to another page leads to
that page, and a link to any other file leads to the repository at `repo_url`. Without a `repo_url`
the file is copied into the site, and a link to a folder becomes plain text. Pictures are always
copied.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
FRONT_PAGES = {"README.md": "index.md", "README.zh.md": "zh/index.md"}
"""Where in the site they are; all other files keep their path, less docs/."""
_PICTURES = (".gif", ".png", ".svg", ".jpg")
_CODE_OR_LINK = re.compile(
    r"""^(?P<fence>`{3,}|~{3,}).*?^(?P=fence)              # a block of code
    |(?P<bang>!?)\[(?P<text>(?:[^\[\]]|\[[^\]]*\])*)\]\((?P<target>[^()\s]+)\)  # [text](target)
    |`[^`\n]+`                                            # code within a line
    |(?P<attribute>src|href)="(?P<value>[^"]+)"           # HTML
    """,
    re.M | re.S | re.X,
)


def site_path(source: str) -> str:
    """Path in the site, as Markdown, of a file of the repository."""
    return FRONT_PAGES.get(source, source.removeprefix("docs/"))


def linked_file(source: str, target: str) -> str | None:
    """Path in the repository that a link in the file `source` means; None if it is an address, an
    anchor alone, or if nothing is there.
    """
    path = target.partition("#")[0]
    if not path or re.match(r"[a-z]+:|/", path):
        return None
    meant = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
    return meant if not meant.startswith("..") and (ROOT / meant).exists() else None


def links(source: str) -> list[str]:
    """Files and folders of the repository that a page links to, in its order."""
    targets = _targets((ROOT / source).read_text(encoding="utf-8"))
    return [meant for target in targets if (meant := linked_file(source, target)) is not None]


def _targets(text: str) -> Iterator[str]:
    for found in _CODE_OR_LINK.finditer(text):
        if target := found["target"] or found["value"]:
            yield target
            yield from _targets(found["text"] or "")  # a picture that is a link


def pages() -> list[str]:
    """Every page of the site: the READMEs, what they link to, what that links to, and the rest of
    docs/. The order is that in which a reader of the READMEs meets them.
    """
    found = list(FRONT_PAGES)
    for page in found:  # grows meanwhile
        found += [f for f in dict.fromkeys(links(page)) if f.endswith(".md") and f not in found]
    rest = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md"))
    return found + [page for page in rest if page not in found]


def copied_files(repo_url: str | None) -> set[str]:
    """Files other than pages that the site has to hold."""
    every = {file for page in pages() for file in links(page) if (ROOT / file).is_file()}
    return {
        file
        for file in every
        if not file.endswith(".md") and (repo_url is None or file.endswith(_PICTURES))
    }


def rewritten(text: str, source: str, repo_url: str | None) -> str:
    """The Markdown of a page with its links as they are in the site."""
    folder = posixpath.dirname(site_path(source)) or "."

    def replace(found: re.Match[str]) -> str:
        target = found["target"] or found["value"]
        meant = linked_file(source, target) if target else None
        if meant is None:
            return found[0]
        words = _CODE_OR_LINK.sub(replace, found["text"] or "")
        anchor = "".join(target.partition("#")[1:])
        if meant.endswith((".md", *_PICTURES)) or (repo_url is None and (ROOT / meant).is_file()):
            there = posixpath.relpath(site_path(meant), folder) + anchor
        elif repo_url is not None:
            kind = "tree" if (ROOT / meant).is_dir() else "blob"
            there = f"{repo_url.rstrip('/')}/{kind}/HEAD/{meant}{anchor}"
        else:
            return words or found[0]
        if found["attribute"]:
            return f'{found["attribute"]}="{there}"'
        return f"{found['bang']}[{words}]({there})"

    return _CODE_OR_LINK.sub(replace, text)


# --- what MkDocs calls ----------------------------------------------------------------------------


def on_files(files: Files, config: MkDocsConfig) -> Files:
    from mkdocs.structure.files import File

    every = pages()
    for source in (*every, *sorted(copied_files(config.repo_url or None))):
        if files.get_file_from_path(site_path(source)) is None:
            path = str(ROOT / source)
            files.append(File.generated(config, site_path(source), abs_src_path=path))
    chinese = [site_path(page) for page in every if site_path(page).startswith("zh/")]
    english = [site_path(page) for page in every if site_path(page) not in chinese]
    config.nav = [{"English": english}, {"中文": chinese}]
    return files


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:
    """The theme knows one language; browsers and readers of screens are given the page's own."""
    if page.file.src_uri.startswith("zh/"):
        return output.replace('<html lang="en"', '<html lang="zh"', 1)
    return output


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    source = Path(page.file.abs_src_path).relative_to(ROOT).as_posix()
    return rewritten(markdown, source, config.repo_url or None)
