"""The reference pages: commands, configuration and Python modules, written from the code at every build."""

import importlib
import io
import sys
from contextlib import redirect_stdout
from pathlib import Path
from unittest import mock

from deepfake_ms.cli import COMMANDS
from deepfake_ms.composition import CONFIG_FOLDER

PACKAGE = Path(__file__).resolve().parents[1] / "deepfake_ms"


def write(folder: Path) -> None:
    """Write all pages into `folder`; pages that would not change are left as they are."""
    pages = {"commands.md": commands(), "configuration.md": configuration(), **api()}
    pages["index.md"] = _index(sorted(name for name in pages if name.startswith("api/")))
    for old in folder.rglob("*.md"):
        if old.relative_to(folder).as_posix() not in pages:
            old.unlink()
    for name, text in pages.items():
        path = folder / name
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")


def _index(api_pages: list[str]) -> str:
    names = "\n".join(name.removesuffix(".md") for name in api_pages)
    return (
        "# Reference\n\nWritten from the code: help of the commands, configuration files, docstrings.\n\n"
        f"```{{toctree}}\n:maxdepth: 1\n\ncommands\nconfiguration\n{names}\n```\n"
    )


def commands() -> str:
    """The help of every command with plain arguments, and where the settings of the others are."""
    text = ["# Commands\n"]
    for name, purpose in COMMANDS.items():
        text.append(f"## deepfake-ms {name}\n\n{purpose[0].upper()}{purpose[1:]}.\n")
        if (CONFIG_FOLDER / f"{name}.yaml").is_file():
            text.append(
                f"Takes Hydra overrides: [its configuration](#conf-{name}). `--help` lists the "
                "choices, `--cfg job` prints the composed configuration, `-m` runs a sweep.\n"
            )
        else:
            text.append(f"```text\n{_help(name)}```\n")
    return "\n".join(text)


def _help(command: str) -> str:
    printed = io.StringIO()
    arguments = mock.patch.object(sys, "argv", [f"deepfake-ms {command}", "--help"])
    columns = mock.patch.dict("os.environ", {"COLUMNS": "84", "NO_COLOR": "1"})
    with arguments, columns, redirect_stdout(printed):
        try:
            importlib.import_module(f"deepfake_ms.{command}").main()
        except SystemExit as stop:
            if stop.code:
                raise RuntimeError(f"deepfake-ms {command} --help ends with status {stop.code}") from stop
    return printed.getvalue()


def configuration() -> str:
    """Every file in ``conf``; their comments describe them and their keys."""
    text = [
        "# Configuration",
        "A file of a group is chosen with `group=file`, and every value can be overridden with `group.key=value`. "
        "`--cfg job` prints what a command composes.",
        "## Commands",
        *(f"(conf-{path.stem})=\n{_file(path, path.name)}" for path in sorted(CONFIG_FOLDER.glob("*.yaml"))),
    ]
    for group in sorted(path for path in CONFIG_FOLDER.iterdir() if path.is_dir()):
        text.append(f"## {group.name}")
        for path in sorted(group.rglob("*.yaml")):
            choice = path.relative_to(group).with_suffix("").as_posix()
            text.append(_file(path, f"{group.name}={choice}" if "/" not in choice else f"{group.name}: {choice}"))
    return "\n\n".join(text) + "\n"


def _file(path: Path, heading: str) -> str:
    return f"### {heading}\n\n```yaml\n{path.read_text(encoding='utf-8').strip()}\n```"


def api() -> dict[str, str]:
    """Name of a page -> its text: a page per package, and one for the modules at the top."""
    top = sorted(path for path in PACKAGE.glob("*.py") if path.stem != "__init__")
    pages = {"api/deepfake_ms.md": _page("deepfake_ms", top)}
    for package in sorted(path for path in PACKAGE.iterdir() if (path / "__init__.py").is_file()):
        pages[f"api/{package.name}.md"] = _page(f"deepfake_ms.{package.name}", sorted(package.rglob("*.py")))
    return pages


def _page(title: str, files: list[Path]) -> str:
    sections = [f"# {title}\n"]
    for path in files:
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        if path.read_text(encoding="utf-8").strip():
            heading = "" if name == title else f"## {name}\n\n"
            sections.append(f"{heading}```{{eval-rst}}\n.. automodule:: {name}\n```\n")
    return "\n".join(sections)
