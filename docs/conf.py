"""The site of the documentation: `make docs` builds it in build/docs; a warning is an error."""

import sys
from importlib.metadata import version as version_of
from pathlib import Path

from sphinx.application import Sphinx

sys.path.insert(0, str(Path(__file__).parent))

from reference_pages import PARTS

project = "pleura"
author = "the authors of pleura"
version = release = version_of("pleura")

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["reference/findings.schema.json"]
myst_heading_anchors = 4
nb_execution_mode = "off"  # the notebook is kept with its output; a test executes it
napoleon_numpy_docstring = False
autodoc_typehints = "signature"
python_use_unqualified_type_names = True
add_module_names = False

html_theme = "furo"
html_title = "pleura"
html_show_copyright = False
html_show_sphinx = False
html_copy_source = False
html_static_path = ["_static"]
html_css_files = ["pleura.css"]


def fill_in(app: Sphinx, page: str, source: list[str]) -> None:
    """Put what is generated from the code where a page says ``<!-- generated: NAME -->``."""
    for name, part in PARTS.items():
        mark = f"<!-- generated: {name} -->"
        if mark in source[0]:
            source[0] = source[0].replace(mark, part())


def keep_colons(
    app: Sphinx, what: str, name: str, documented: object, options: object, lines: list[str]
) -> None:
    """Mark what is returned, and a property, as having no type before its first colon.

    Napoleon takes the words before a colon for the type, and the types are in the signatures.
    """
    starts = [at + 1 for at, line in enumerate(lines) if line.strip() in ("Returns:", "Yields:")]
    for at in [*starts, *([0] if what in ("attribute", "data", "property") else [])]:
        if at < len(lines) and lines[at].strip():
            said = lines[at].lstrip()
            lines[at] = f"{lines[at].removesuffix(said)}: {said}"


def setup(app: Sphinx) -> None:
    """Connect what fills pages in."""
    app.connect("source-read", fill_in)
    app.connect("autodoc-process-docstring", keep_colons, priority=400)  # before napoleon's
