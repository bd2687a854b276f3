"""A report as one HTML file that needs nothing beside it: no network, no script, figures and style within."""

import base64
import html
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from perfmodel.errors import InputError

if TYPE_CHECKING:
    from markdown_it.token import Token

_STYLE = """
:root { color-scheme: light dark; }
body { max-width: 70rem; margin: 0 auto; padding: 1rem; font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.6rem; line-height: 1.2; }
h2 { font-size: 1.15rem; line-height: 1.3; margin-top: 2.5rem; padding-top: 1rem; border-top: 1px solid #8888; }
img { display: block; max-width: 100%; height: auto; background: #fff; }
table { display: block; overflow-x: auto; border-collapse: collapse; margin: 1rem 0; font-size: .875rem; }
table { overflow-wrap: normal; }
th, td { padding: .2rem .6rem; text-align: left; border-bottom: 1px solid #8884; }
th { border-bottom: 2px solid #8888; }
th:first-child { min-width: 10rem; }
td { font-variant-numeric: tabular-nums; white-space: nowrap; }
pre { overflow-x: auto; padding: .6rem; border: 1px solid #8884; overflow-wrap: normal; }
li { margin: .4rem 0; }
"""


def to_html(markdown: str, figures: Mapping[str, bytes], title: str) -> str:
    """Turn a report's Markdown into a page.

    Parameters
    ----------
    markdown : str
        HTML in it is shown as text.
    figures : mapping of str to bytes
        PNG files by stem. An image of any other name becomes its description.
    title : str

    Raises
    ------
    InputError
        markdown-it-py is not installed.
    """
    try:
        from markdown_it import MarkdownIt
    except ImportError:
        raise InputError("report needs markdown-it-py: install perfmodel[report]") from None
    reader = MarkdownIt("commonmark", {"html": False}).enable("table")

    def image(self: Any, tokens: "Sequence[Token]", at: int, options: Any, env: Any) -> str:
        token = tokens[at]
        figure = figures.get(PurePosixPath(str(token.attrs.get("src", ""))).stem)
        described = html.escape(self.renderInlineAsText(token.children or [], options, env))
        if figure is None:
            return described
        return f'<img alt="{described}" src="data:image/png;base64,{base64.b64encode(figure).decode()}">'

    reader.add_render_rule("image", image)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n{reader.render(markdown)}</body>\n</html>\n"
    )
