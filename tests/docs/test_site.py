"""The documentation site: links, reference pages, and a strict build."""

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from commands import ANY_BLOCK, REPOSITORY, documents

from deepfake_ms.cli import COMMANDS
from deepfake_ms.composition import CONFIG_FOLDER

sys.path.insert(0, str(REPOSITORY / "docs"))
import site_links
import site_reference


@pytest.fixture
def pages(tmp_path):
    """A small repository with a page and a README that is a page."""
    for name, text in {
        "docs/start.md": "",
        "docs/parts/part.md": "[part](../../part/README.md)\n",
        "part/README.md": "# Part\n\n[start](../docs/start.md#top), [code](code.py), [the web](https://example.org).\n",
        "part/code.py": "",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return site_links.RepositoryPages(tmp_path / "docs")


def adapted(pages, name: str, text: str = "") -> str:
    source = [text or (pages.docs / f"{name}.md").read_text()]
    pages.adapt(name, source)
    return source[0]


def test_links_lead_to_pages_or_become_paths(pages):
    text = "[the part](../part/README.md#x), [see `code.py`](../part/code.py), [its code](../part/code.py), [up](#here)"
    assert adapted(pages, "start", text) == (
        "[the part](parts/part.md#x), see `code.py` (`part/code.py`), its code (`part/code.py`), [up](#here)"
    )
    assert adapted(pages, "start", "[`part/code.py`](../part/code.py) ![a](b.svg)") == "`part/code.py` ![a](b.svg)"


def test_a_page_that_is_one_link_becomes_the_file(pages):
    assert adapted(pages, "parts/part") == (
        "# Part\n\n[start](../start.md#top), `part/code.py`, [the web](https://example.org).\n"
    )


def test_an_image_of_a_file_that_becomes_a_page_is_found(pages):
    readme = pages.docs.parent / "part" / "README.md"
    readme.write_text("![curves](results/a.svg)")
    assert adapted(pages, "parts/part") == "![curves](../../part/results/a.svg)"


def test_a_broken_link_is_an_error(pages):
    with pytest.raises(ValueError, match=r"there is no .*missing"):
        adapted(pages, "start", "[x](../missing.md)")


def test_commands_say_what_they_need(pages):
    text = "```bash corpus gpu\nrun [a](b)\n```\n\n```bash\nrun\n```\n\n```\n[x](missing.md)\n```\n"
    assert adapted(pages, "start", text) == (
        "```{code-block} bash\n:caption: Needs a corpus and a GPU.\n\nrun [a](b)\n```\n\n"
        "```bash\nrun\n```\n\n```\n[x](missing.md)\n```\n"
    )


def test_the_reference_has_every_file_command_and_module(tmp_path):
    (tmp_path / "api").mkdir()
    (tmp_path / "api/removed.md").write_text("# Old\n")
    site_reference.write(tmp_path)
    assert not (tmp_path / "api/removed.md").exists()
    configuration = (tmp_path / "configuration.md").read_text()
    assert configuration.count("\n### ") == len(list(CONFIG_FOLDER.rglob("*.yaml")))
    assert "lower: 0.035" in configuration
    commands = (tmp_path / "commands.md").read_text()
    assert re.findall(r"^## deepfake-ms (\w+)$", commands, re.MULTILINE) == list(COMMANDS)
    assert "--json" in commands
    written = "".join(path.read_text() for path in (tmp_path / "api").glob("*.md"))
    for path in (REPOSITORY / "deepfake_ms").rglob("*.py"):
        module = ".".join(path.relative_to(REPOSITORY).with_suffix("").parts).removesuffix(".__init__")
        documented = bool(path.read_text().strip()) and module != "deepfake_ms"
        assert (f".. automodule:: {module}\n" in written) == documented, module
    index = (tmp_path / "index.md").read_text()
    assert all(f"api/{path.stem}\n" in index for path in (tmp_path / "api").glob("*.md"))


def slugs(path: Path) -> set[str]:
    """The anchors of a Markdown file's headings, as GitHub and MyST make them."""
    headings = re.findall(r"^#+ (.*)$", ANY_BLOCK.sub("", path.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", documents(), ids=lambda path: path.relative_to(REPOSITORY).as_posix())
def test_links_work_on_github_too(path):
    for match in site_links.LINK.finditer(ANY_BLOCK.sub("", path.read_text())):
        target, anchor = match.group(2), match.group(3)
        if not re.match(r"[a-z]+:", target):
            file = (path.parent / target).resolve() if target else path
            assert file.exists(), target
            assert not anchor or anchor[1:] in slugs(file), f"{target}{anchor}"


class Links(HTMLParser):
    """Collects the targets of links and images, and the ids, of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.targets, self.ids = set(), set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.ids |= {values[name] for name in ("id", "name") if values.get(name)}
        self.targets |= {values[name] for name in ("href", "src") if values.get(name)}


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_site_builds_without_warnings_and_broken_links(tmp_path):
    site = tmp_path / "html"
    sphinx = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html", "-d", tmp_path / "cache"]
    done = subprocess.run([*sphinx, REPOSITORY / "docs", site], capture_output=True, text=True, timeout=550)
    assert done.returncode == 0, done.stderr
    built = {path: Links(path) for path in site.rglob("*.html")}
    assert len(built) > 40
    for path, links in built.items():
        for target in links.targets:
            parts = urlsplit(target)
            if parts.scheme or parts.netloc:
                continue
            leads_to = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            assert leads_to.is_file(), f"{path.relative_to(site)}: {target}"
            if parts.fragment and leads_to in built:
                assert unquote(parts.fragment) in built[leads_to].ids, f"{path.relative_to(site)}: {target}"
