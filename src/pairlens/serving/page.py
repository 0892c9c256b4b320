"""The templates of the page, and its files."""

import hashlib
import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from pairlens.core.untrusted import read_bytes
from pairlens.serving.page_state import filter_text

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

    from pairlens.serving.page_content import PageContent

PAGE_FOLDER = Path(__file__).parent
# Between two characters that are no blanks; an entity such as &lt; has none of these signs.
_JOINTS = re.compile(r"([_./-])(?=[^\s])")
_FILES = ("app.js", "style.css", "icon.svg")


@cache
def page_files() -> dict[str, str]:
    """Return the names of the files of the page with the digests of their contents."""
    return {name: hashlib.sha256(read_bytes(PAGE_FOLDER / "static" / name)).hexdigest()[:12] for name in _FILES}


@cache
def _templates() -> "Environment":
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(PAGE_FOLDER / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["filter_text"] = filter_text
    environment.globals["static"] = lambda name: f"/static/{name}?v={page_files()[name]}"
    environment.filters["breakable"] = _breakable
    environment.filters["number"] = "{:,}".format
    return environment


def _breakable(value: object) -> "Markup":
    """Return a text that may be broken after the signs that join words in names of folders."""
    from markupsafe import Markup, escape

    return Markup(_JOINTS.sub(r"\1<wbr>", str(escape(str(value)))))


def render_page(template: str, content: "PageContent", fragment: bool) -> str:
    """Return a page as HTML; as a fragment without what surrounds its main part."""
    return (
        _templates()
        .get_template(template)
        .render(page=content, state=content.state, fragment=fragment, **content.values)
    )
