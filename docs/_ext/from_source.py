"""What the program says of itself, so that nothing is written twice.

`fields`: the columns of a table, from nettax.report.fields. `metrics`: the exporter's. Pages under
verbs/: the manual, from what `--help` and the man pages come from.
"""

from __future__ import annotations

import dataclasses
import re
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective


class Fields(SphinxDirective):
    """`fields:: NAME…`: what the columns of these tables mean; without their titles if one."""

    required_arguments = 1
    optional_arguments = 20

    def run(self) -> list[nodes.Node]:
        from nettax.report.fields import TABLES

        names = self.arguments
        return [node for name in names for node in self._table(TABLES[name], len(names) > 1)]

    def _table(self, table: Any, titled: bool) -> list[nodes.Node]:
        caption = [nodes.strong(text=table.title), nodes.Text(f" ({table.unit})")]
        body = nodes.definition_list(classes=["fields"])
        for field in table.fields:
            term = nodes.term("", "", nodes.literal(text=field.name))
            meaning = nodes.definition("", nodes.paragraph(text=field.meaning))
            body += nodes.definition_list_item("", term, meaning)
        return [nodes.paragraph("", "", *caption), body] if titled else [body]


class Metrics(SphinxDirective):
    """`metrics::`: every metric of the exporter, with its type, labels and help."""

    def run(self) -> list[nodes.Node]:
        from nettax.export.catalog import catalog

        body = nodes.definition_list(classes=["metrics"])
        for metric in catalog():
            term = nodes.term("", "", nodes.literal(text=metric.name))
            term += nodes.Text(f" {metric.kind}")
            meaning = nodes.definition("", nodes.paragraph(text=metric.help))
            body += nodes.definition_list_item("", term, meaning)
        return [body]


def _manual(app: Sphinx, document: str, source: list[str]) -> None:
    """Put the manual's text in the place of a page's; its subtitle is a sentence here."""
    directory, _, name = document.rpartition("/")
    if directory != "verbs" or name == "index":
        return
    from nettax.cli.manual import page

    source[0] = re.sub(r"^-+\n(.+)\n-+$", r"*\1*", page(name), count=1, flags=re.MULTILINE)


def _dashes(app: Sphinx, tree: nodes.document) -> None:
    """Sphinx leaves the dash before what a parameter means to the smart quotes, which are off."""
    for text in list(tree.findall(nodes.Text)):
        if text == " -- ":
            text.parent.replace(text, nodes.Text(" – "))


def _no_constructor(
    app: Sphinx, what: str, name: str, thing: Any, options: Any, signature: Any, returns: Any
) -> tuple[str, None] | None:
    """Rows, readings and intervals are given, not made: how to make one is nobody's business."""
    return ("", None) if what == "class" and dataclasses.is_dataclass(thing) else None


def setup(app: Sphinx) -> dict[str, Any]:
    """Tell Sphinx of all that."""
    app.add_directive("fields", Fields)
    app.add_directive("metrics", Metrics)
    app.connect("source-read", _manual)
    app.connect("doctree-read", _dashes)
    app.connect("autodoc-process-signature", _no_constructor)
    return {"parallel_read_safe": True}
