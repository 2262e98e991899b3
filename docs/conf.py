"""How the documentation is built: `make docs`, or `sphinx-build -W -n -b html docs build/docs`.

Nothing is fetched, and nettax need not be installed: the sources beside this file are read.
"""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent / "src"), str(HERE / "_ext")]

from nettax.version import __version__  # noqa: E402  (found by the line above)

project = "nettax"
author = "nettax's authors"
project_copyright = "nettax's authors; Apache-2.0"
version = release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "from_source"]
exclude_patterns = ["_ext", "screenshots"]
needs_sphinx = "8.1"

# Markdown as GitHub shows it, and definition lists; headings can be linked to by their words.
myst_enable_extensions = ["deflist", "colon_fence"]
myst_heading_anchors = 3

smartquotes = False  # two dashes are an option, not a dash

default_role = "literal"  # as docstrings mean `this`
nitpicky = True
nitpick_ignore_regex = [
    # No inventory of Python's own names is fetched.
    (r"py:.*", r"(collections|ctypes|enum|os|pathlib|subprocess|types|typing)\..*"),
    (r"py:.*", r"(Path|Popen)"),
    # Passed to constructors that only nettax calls.
    (r"py:.*", r"nettax\.(ledger\.tasks\.Decoder|lab\.endpoint\.(Page|Place))"),
]

autodoc_member_order = "bysource"
autodoc_class_signature = "mixed"
autodoc_typehints = "signature"
python_use_unqualified_type_names = True
maximum_signature_line_length = 72

html_theme = "furo"
html_title = "nettax"
html_static_path = ["_static"]
html_css_files = ["nettax.css"]
html_theme_options = {"navigation_with_keys": True}
html_copy_source = False
html_show_sphinx = False
pygments_style = "friendly"
pygments_dark_style = "github-dark"
