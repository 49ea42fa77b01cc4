"""Sphinx builds the documentation from this folder: `make docs`."""

import sys
import tomllib
from pathlib import Path

DOCS = Path(__file__).parent
REPOSITORY = DOCS.parent
sys.path[:0] = [str(DOCS), str(REPOSITORY)]

import site_links  # noqa: E402
import site_reference  # noqa: E402

_PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]

project = _PROJECT["name"]
release = version = _PROJECT["version"]
author = "deepfake_ms contributors"
copyright = "deepfake_ms contributors, MIT licence"

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
myst_heading_anchors = 3
default_role = "code"  # docstrings put names in single backticks
highlight_language = "none"
autodoc_member_order = "bysource"
autodoc_inherit_docstrings = False
autodoc_default_options = {"members": True, "show-inheritance": True, "ignore-module-all": True}
napoleon_use_rtype = False
napoleon_use_ivar = True  # attributes described by the class and by themselves would be listed twice
suppress_warnings = ["ref.python"]  # several classes have attributes of one name

html_theme = "furo"
html_title = f"deepfake_ms {version}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sourcelink = False


def setup(app):
    """Write the reference pages before Sphinx looks for pages, and adapt links while it reads them."""
    site_reference.write(DOCS / "reference")
    pages = site_links.RepositoryPages(DOCS)

    def adapt(app, name: str, source: list[str]) -> None:
        pages.adapt(name, source)
        if shown := site_links.shown_file(DOCS / f"{name}.md"):
            app.env.note_dependency(str(shown))  # Sphinx only watches the page itself

    app.connect("source-read", adapt)
    return {"parallel_read_safe": False}
