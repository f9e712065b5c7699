"""Pages that stand alone: one HTML file with its pictures, charts, style and script inside.

The content security policy of a page forbids the browser to fetch anything and to run any script
but the page's own, so that a text which found its way into the page cannot do harm either. A page
with more pictures than one file can hold may let its own script load further ones from files beside
it; no element that stands in the page can.
"""

import base64
import hashlib
import json
import re
from functools import cache
from importlib.resources import files
from typing import Any

import cv2
import numpy as np
from jinja2 import Environment, StrictUndefined, Template
from markupsafe import Markup
from numpy.typing import NDArray

from pleura.errors import OutputError
from pleura.printable import escaped

_POLICY = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src {scripts}; "
    "base-uri 'none'; form-action 'none'"
)
_BREAKS = "\n\t"
_ESCAPE = re.compile(r"\\u[dD][89abAB]..\\u[dD][c-fC-F]..|\\u....|\\.")
_JPEG = [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, 0x111111]  # 4:4:4


def render(package: str, name: str, *, loads: bool = False, **values: object) -> str:
    r"""Return a page as HTML; every text among the values is escaped.

    A character that is not printable, such as one that turns the direction of what follows, stands
    in the page as its code (``\u202e``).

    Args:
        package: Where its parts lie: ``NAME.html.j2``, ``NAME.css``, which follows the common
            ``page.css``, and ``NAME.js``.
        name: Name of the parts.
        loads: Whether the page's script may load scripts from files. Pages opened from a disk can
            read neither other files nor the pixels of other pictures, so what they load is written
            as scripts that hold plain data.
        values: What the template asks for beside ``policy``, ``style`` and ``script``.
    """
    script = _resource(package, f"{name}.js")
    style = _resource("pleura.rendering", "page.css") + _resource(package, f"{name}.css")
    scripts = f"'{_hash(script)}'" + " 'strict-dynamic'" * loads
    return _template(package, name).render(
        policy=Markup(_POLICY.format(scripts=scripts)),
        style=Markup(style),
        script=Markup(script),
        **values,
    )


def picture_source(picture: NDArray[np.uint8], quality: int = 88) -> str:
    """Return a picture as a ``data:`` address: a JPEG.

    Args:
        picture: ``(rows, columns)`` uint8 grey, or ``(rows, columns, 3)`` blue, green, red.
        quality: 1 to 100.

    Raises:
        OutputError: It could not be made a JPEG.
    """
    done, content = cv2.imencode(".jpg", picture, [*_JPEG, cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise OutputError(f"a picture of shape {picture.shape} could not be made a JPEG")
    return f"data:image/jpeg;base64,{base64.b64encode(content.tobytes()).decode('ascii')}"


def json_block(values: Any) -> Markup:
    """Return values as JSON to stand in a ``<script type="application/json">`` element.

    No text among them can end the element: ``<``, ``>`` and ``&`` are written as escapes. What is
    not printable stands in a text as its code, as in :func:`render`; a null character stays, for it
    stands for something in the columns of a page.
    """
    text = json.dumps(values, separators=(",", ":"), allow_nan=False)
    text = _ESCAPE.sub(_shown_escape, text)
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return Markup(text)


def _shown_value(value: Any) -> Any:
    """Return what stands in a page for a value; what is HTML already stays."""
    plain = isinstance(value, str) and not isinstance(value, Markup)
    return escaped(value, _BREAKS) if plain else value


def _shown_escape(found: re.Match[str]) -> str:
    """Return what stands in JSON for one of its escapes: itself, or the text of a code."""
    text = json.loads(f'"{found[0]}"')
    return found[0] if text in '"\\' else json.dumps(escaped(text, _BREAKS + "\0"))[1:-1]


@cache
def _template(package: str, name: str) -> Template:
    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_shown_value,
    )
    environment.filters["slug"] = lambda title: re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")
    return environment.from_string(_resource(package, f"{name}.html.j2"))


@cache
def _resource(package: str, name: str) -> str:
    return files(package).joinpath(name).read_text(encoding="utf-8")


def _hash(script: str) -> str:
    """Return the script as a content security policy names it."""
    digest = hashlib.sha256(script.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode('ascii')}"
