"""Configuration of Sphinx for the site (`make docs`).

Nothing is downloaded, and any warning is an error.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.metadata import version as version_of
from pathlib import Path

from sphinx.application import Sphinx

sys.path.insert(0, str(Path(__file__).parent))

from reference_pages import pages

ROOT = Path(__file__).resolve().parents[1]

project = "napari-blind-deconv"
author = "napari-blind-deconv maintainers"
version = release = version_of("napari-blind-deconv")
language = "en"

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_generated"]
default_role = "code"
myst_heading_anchors = 3
suppress_warnings = ["myst.header"]  # an included page begins at the second heading level
napoleon_use_ivar = False
napoleon_google_docstring = False
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the docstrings state the types
autodoc_class_signature = "separated"

html_theme = "pydata_sphinx_theme"
html_title = "napari-blind-deconv"
html_copy_source = False
html_theme_options = {
    "show_toc_level": 2,
    "secondary_sidebar_items": ["page-toc"],
    "navbar_end": ["theme-switcher"],
    "footer_start": ["copyright"],
    "footer_end": [],
    "show_prev_next": True,
}
copyright = "napari-blind-deconv maintainers, BSD-3-Clause"

# Files of the repository that are also pages of the site. The page in docs/ is a placeholder.
_PAGES = {
    "README.md": "readme.md",
    "benchmarks/README.md": "benchmarks.md",
    "CHANGELOG.md": "changelog.md",
    "SECURITY.md": "security.md",
}
_LINK = re.compile(r"\]\((?P<path>[^)#:\s]+)(?P<anchor>#[^)\s]*)?\)")


def _lead_to_pages(app: Sphinx, page: str, source: list[str]) -> None:
    """Read the files of the repository, and let their links lead to pages of the site."""
    here = Path(app.srcdir) / f"{page}.md"
    origin = here
    for file, name in _PAGES.items():
        if f"{page}.md" == name:
            origin = ROOT / file
            source[0] = origin.read_text(encoding="utf-8")

    def relative_link(link: re.Match[str]) -> str:
        target = Path(os.path.normpath(origin.parent / link["path"]))
        if target.is_relative_to(ROOT):
            name = _PAGES.get(target.relative_to(ROOT).as_posix())
            target = target if name is None else Path(app.srcdir) / name
        path = Path(os.path.relpath(target, here.parent)).as_posix()
        return f"]({path}{link['anchor'] or ''})"

    source[0] = _LINK.sub(relative_link, source[0])


def _write_reference(app: Sphinx) -> None:
    """Write the tables of `reference_pages` and the help of the command line, for the pages."""
    folder = Path(app.srcdir) / "_generated"
    folder.mkdir(exist_ok=True)
    for name, text in pages().items():
        (folder / name).write_text(text, encoding="utf-8")
    command = [sys.executable, "-m", "typer", "napari_blind_deconv.cli", "utils", "docs"]
    completed = subprocess.run(
        [*command, "--name", "blind-deconv"], capture_output=True, text=True, check=True
    )
    (folder / "command-line.md").write_text(completed.stdout.partition("\n")[2], encoding="utf-8")


def setup(app: Sphinx) -> None:
    """Connect the functions above; Sphinx calls this."""
    app.connect("builder-inited", _write_reference)
    app.connect("source-read", _lead_to_pages)
