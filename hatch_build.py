"""The package's page on PyPI and the napari hub: README with addresses that lead somewhere there.

The public address of the repository is known where a release is built, on GitHub, which names it in
the environment. Built elsewhere, the page keeps the words of a link into the repository and leaves
its pictures out.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

_INTO_REPOSITORY = re.compile(r"(!?)\[([^\]]*)\]\((?!https?:)([^)]*)\)")
_PAPER = "https://doi.org/10.1007/s11263-023-01883-x"  # of the method


class PackagePage(MetadataHookInterface):
    """Adds README and the project's addresses to the metadata."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Called by hatch with the table `project` of pyproject.toml."""
        readme = (Path(self.root) / "README.md").read_text(encoding="utf-8")
        urls = {"Paper": _PAPER}
        name = os.environ.get("GITHUB_REPOSITORY")
        if name is None:
            readme = _INTO_REPOSITORY.sub(lambda link: "" if link[1] else link[2], readme)
        else:
            home = f"{os.environ['GITHUB_SERVER_URL']}/{name}"
            readme = _with_addresses(readme, home, f"v{metadata['version']}")
            owner, _, repository = name.partition("/")
            urls |= {
                "Source": home,
                "Documentation": f"https://{owner}.github.io/{repository}/",
                "Issues": f"{home}/issues",
            }
        metadata["readme"] = {"content-type": "text/markdown", "text": readme}
        metadata["urls"] = urls


def _with_addresses(readme: str, home: str, tag: str) -> str:
    """Pictures and links of a README as they are at a tag of the repository at `home`."""

    def address(link: re.Match[str]) -> str:
        picture, words, path = link.groups()
        shown = f"raw/{tag}" if picture else f"blob/{tag}"
        page = f"README.md{path}" if path.startswith("#") else path
        return f"{picture}[{words}]({home}/{shown}/{page})"

    return _INTO_REPOSITORY.sub(address, readme)
