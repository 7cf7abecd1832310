"""The mkdocs hook: adds the generated pages, and fills what the hand-written ones ask for."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File

from slaf.core import SlafError
from slafdocs import pages


def on_files(files, config):
    """Add one page per activation and the gallery."""
    for path, text in pages.generated().items():
        files.append(File.generated(config, path, content=text))
    return files


def on_page_markdown(markdown, page, **_):
    """Turn ``[[gelu]]`` into a link and ``<!-- slaf: checks -->`` into what it names."""
    try:
        return pages.fill(markdown, page.file.src_uri)
    except SlafError as error:
        raise PluginError(f"{page.file.src_uri}: {error}") from None
