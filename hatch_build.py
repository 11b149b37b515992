"""The page of the package on PyPI and the napari hub: the README with absolute addresses.

Releases are built on GitHub, which sets the public address of the repository in the environment.
In other builds this address is unknown. Then the page keeps the text of links into the repository,
and leaves out its images.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

_INTO_REPOSITORY = re.compile(r"(!?)\[([^\]]*)\]\((?!https?:)([^)]*)\)")
_PAPER = "https://doi.org/10.1007/s11263-023-01883-x"  # on the method


class PackagePage(MetadataHookInterface):
    """Add the README and the addresses of the project to the metadata."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Update the table `project` of pyproject.toml; hatch calls this."""
        readme = (Path(self.root) / "README.md").read_text(encoding="utf-8")
        urls = {"Paper": _PAPER}
        name = os.environ.get("GITHUB_REPOSITORY")
        if name is None:
            readme = _INTO_REPOSITORY.sub(lambda link: "" if link[1] else link[2], readme)
        else:
            base = f"{os.environ['GITHUB_SERVER_URL']}/{name}"
            readme = _with_addresses(readme, base, f"v{metadata['version']}")
            owner, _, repository = name.partition("/")
            urls |= {
                "Source": base,
                "Documentation": f"https://{owner}.github.io/{repository}/",
                "Issues": f"{base}/issues",
            }
        metadata["readme"] = {"content-type": "text/markdown", "text": readme}
        metadata["urls"] = urls


def _with_addresses(readme: str, base: str, tag: str) -> str:
    """Return the README with absolute addresses at a tag of the repository with address `base`."""

    def address(link: re.Match[str]) -> str:
        # Images are served below "raw", and pages for readers below "blob".
        image_mark, words, path = link.groups()
        folder = f"raw/{tag}" if image_mark else f"blob/{tag}"
        page = f"README.md{path}" if path.startswith("#") else path
        return f"{image_mark}[{words}]({base}/{folder}/{page})"

    return _INTO_REPOSITORY.sub(address, readme)
