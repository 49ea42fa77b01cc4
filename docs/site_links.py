"""Pages that are also read on GitHub: links to files of the repository, and READMEs as pages of the site.

A page that consists of one link to a Markdown file becomes that file. In all pages, links to such files lead to their
pages, and links to other files of the repository become paths, because the site does not contain them. Images are
copied.
"""

import os
import re
from pathlib import Path

IMAGE = re.compile(r"!\[([^\]]*)\]\(([^):\s]+)\)")
LINK = re.compile(r"(?<!!)\[([^\]]+)\]\(([^)#\s]*)(#[^)\s]*)?\)")
FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
NEEDS = {
    "corpus": "a corpus",
    "gpu": "a GPU",
    "cluster": "a SLURM cluster",
    "minutes": "some minutes",
    "hours": "an hour or more",
    "browser": "a browser",
    "network": "a network",
    "run": "a finished run",
    "files": "files of your own",
    "example": "the example",
}
"""Words after ``bash`` in the first line of a code block -> what its commands need, as the site shows it."""


class RepositoryPages:
    """The pages in a folder of documentation, in which links are adapted.

    Args:
        docs: the folder; its parent is the repository.
    """

    def __init__(self, docs: Path) -> None:
        self.docs, self.repository = docs.resolve(), docs.resolve().parent
        self.page_of = {self.repository / "conf": self.docs / "reference/configuration.md"}
        """File or folder of the repository -> the page that shows it."""
        for page in self.docs.rglob("*.md"):
            self.page_of[page] = page
            if shown := shown_file(page):
                self.page_of[shown] = page

    def adapt(self, name: str, source: list[str]) -> None:
        """Change the Markdown of the page `name` (without suffix), the only element of `source`, in place.

        Raises:
            ValueError: a link leads to no file.
        """
        page = self.docs / f"{name}.md"
        shown = shown_file(page)
        text = shown.read_text(encoding="utf-8") if shown else source[0]
        origin = (shown or page).parent
        parts, end = [], 0
        for fence in FENCE.finditer(text):
            parts += [self._adapt_links(text[end : fence.start()], origin, page), with_needs(fence.group())]
            end = fence.end()
        source[0] = "".join([*parts, self._adapt_links(text[end:], origin, page)])

    def _adapt_links(self, text: str, origin: Path, page: Path) -> str:
        def adapt(match: re.Match) -> str:
            label, target, anchor = match.group(1), match.group(2), match.group(3) or ""
            if not target or re.match(r"[a-z]+:", target):
                return match.group()
            path = (origin / target).resolve()
            if not path.exists():
                raise ValueError(f"{page}: there is no {path}")
            if path in self.page_of:
                return f"[{label}]({Path(os.path.relpath(self.page_of[path], page.parent)).as_posix()}{anchor})"
            code = f"`{path.relative_to(self.repository).as_posix()}`"
            return code if label.strip("`") in code else f"{label} ({code})"

        def adapt_image(match: re.Match) -> str:
            path = (origin / match.group(2)).resolve()
            return f"![{match.group(1)}]({Path(os.path.relpath(path, page.parent)).as_posix()})"

        return LINK.sub(adapt, IMAGE.sub(adapt_image, text))


def shown_file(page: Path) -> Path | None:
    """The Markdown file that the page consists of a link to; None for any other page."""
    match = LINK.fullmatch(page.read_text(encoding="utf-8").strip()) if page.is_file() else None
    return (page.parent / match.group(2)).resolve() if match and match.group(2).endswith(".md") else None


def with_needs(fence: str) -> str:
    """A block of commands with a caption that names what they need."""
    first, _, rest = fence.partition("\n")
    language, *needs = first.strip("`").split() or [""]
    if not needs or language != "bash":
        return fence
    named = [NEEDS[need] for need in needs]
    caption = " and ".join([", ".join(named[:-1]), named[-1]] if len(named) > 1 else named)
    return f"```{{code-block}} {language}\n:caption: Needs {caption}.\n\n{rest}"
