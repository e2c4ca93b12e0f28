"""Settings of Sphinx; `build.py` beside this file puts the pages together and calls it."""

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml

project = "refimpl"
author = copyright = "The refimpl developers"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
myst_enable_extensions = ["dollarmath", "attrs_inline"]
myst_heading_anchors = 3
suppress_warnings = [
    "myst.header",  # pages made of cells begin at any level
    "ref.python",  # many classes have a `name`
    "misc.highlighting_failure",  # of csv
]
html_theme = "furo"
html_title = "refimpl"
html_math_renderer = "mathml"
html_static_path = ["static"]
html_css_files = ["tables.css"]
html_copy_source = False
default_role = "code"  # `name` in docstrings
python_display_short_literal_types = True
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # docstrings say types
napoleon_use_rtype = False
napoleon_use_ivar = True


def _math(translator, node):
    translator.body.append(tex2mathml(node.astext(), as_block=isinstance(node, nodes.math_block)))
    raise nodes.SkipNode


def _bars(app, what, name, found, options, lines):
    """Keep |x| what it is, where reStructuredText would look for something to put there."""
    if lines and lines[0].startswith("Alias for field number"):  # of a named tuple
        lines.clear()
    code = False
    for i, line in enumerate(lines):
        code = line.lstrip().startswith(">>> ") or (code and bool(line.strip()))
        if not code and "``" not in line:
            lines[i] = line.replace("|", "\\|")


def setup(app):
    """Let browsers draw formulas: nothing is fetched, no script runs."""
    app.connect("autodoc-process-docstring", _bars)
    app.add_html_math_renderer("mathml", inline_renderers=(_math, None), block_renderers=(_math, None))
