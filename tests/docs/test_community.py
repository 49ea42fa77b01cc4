"""The files that GitHub and citation tools read."""

import re
import tomllib

import pytest
import yaml
from commands import REPOSITORY

TEMPLATES = sorted((REPOSITORY / ".github/ISSUE_TEMPLATE").glob("*.yml"))
VERSION = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["version"]


def test_the_citation_names_this_version_and_the_paper():
    citation = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text())
    assert citation["version"] == VERSION
    assert citation["cff-version"] == "1.2.0"
    assert citation["authors"] == [{"name": "deepfake_ms contributors"}]
    (paper,) = citation["references"]
    assert {"type", "title", "authors"} <= paper.keys()
    readme = " ".join((REPOSITORY / "README.md").read_text().split())
    assert paper["title"].replace(" -- ", " – ") in readme


def test_the_newest_change_is_this_version():
    assert re.search(r"^## (\S+)", (REPOSITORY / "CHANGELOG.md").read_text(), re.MULTILINE).group(1) == VERSION


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.stem)
def test_issue_templates(path):
    template = yaml.safe_load(path.read_text())
    if path.stem == "config":
        return
    assert {"name", "description", "body"} <= template.keys()
    fields = {field["id"]: field for field in template["body"]}
    assert len(fields) == len(template["body"])
    assert all(field["attributes"]["label"] for field in fields.values())
    if path.stem in ("bug_report", "result"):
        assert "deepfake-ms doctor --json" in fields["doctor"]["attributes"]["label"]
        assert fields["doctor"]["validations"]["required"]
