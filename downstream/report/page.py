"""Pieces of a self-contained HTML page, which refers to no other file or address."""

import base64
from collections.abc import Mapping, Sequence
from html import escape

import cv2
from numpy import ndarray

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #1f2933; background: #fff; max-width: 1180px;
       margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.7rem; margin-bottom: .2rem; } h2 { font-size: 1.25rem; margin: 2.2rem 0 .3rem; }
p { max-width: 62rem; margin: .3rem 0 .8rem; }
table { border-collapse: collapse; margin: .6rem 0; }
th, td { padding: .35rem .9rem; text-align: right; border-bottom: 1px solid #d9e2ec; }
th:first-child, td:first-child { text-align: left; }
tr.best td { font-weight: 600; }
.grid { display: grid; gap: 6px; }
.grid div { font-weight: 600; text-align: center; }
img { display: block; max-width: 100%; } .grid img { width: 100%; }
.legend span { display: inline-block; padding: .05rem .6rem; margin: 0 .3rem .3rem 0; border-radius: .3rem; }
code, pre { font: 13px/1.45 ui-monospace, monospace; background: #f0f4f8; border-radius: .3rem; }
code { padding: .1rem .3rem; } pre { padding: .7rem 1rem; white-space: pre-wrap; overflow-wrap: anywhere; }
"""


def picture(content: bytes, kind: str, alt: str) -> str:
    """An image tag that contains the image file ``content`` of a kind ('png', 'jpeg')."""
    return f'<img alt="{escape(alt)}" src="data:image/{kind};base64,{base64.b64encode(content).decode()}">'


def photo(image: ndarray, alt: str) -> str:
    """An image tag for BGR pixels (H, W, 3)."""
    return picture(cv2.imencode('.jpg', image, [cv2.IMWRITE_JPEG_QUALITY, 88])[1].tobytes(), 'jpeg', alt)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table; its last row is highlighted."""
    head = ''.join(f'<th>{escape(cell)}</th>' for cell in header)
    body = ''
    for index, row in enumerate(rows):
        mark = ' class="best"' if index == len(rows) - 1 else ''
        body += f'<tr{mark}>' + ''.join(f'<td>{escape(cell)}</td>' for cell in row) + '</tr>'
    return f'<table><tr>{head}</tr>{body}</table>'


def grid(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A grid of images in columns of equal width under their titles."""
    cells = ''.join(f'<div>{escape(title)}</div>' for title in header) + ''.join(cell for row in rows for cell in row)
    return f'<div class="grid" style="grid-template-columns: repeat({len(header)}, 1fr)">{cells}</div>'


def legend(colours: Mapping[str, tuple[int, int, int]]) -> str:
    """A legend: names of classes on their BGR colours."""
    chips = ''
    for name, (blue, green, red) in colours.items():
        ink = '#000' if red + green + blue > 380 else '#fff'
        chips += f'<span style="background: rgb({red},{green},{blue}); color: {ink}">{escape(name)}</span>'
    return f'<p class="legend">{chips}</p>'


def listing(lines: Sequence[str]) -> str:
    """Lines of text, shown unchanged."""
    return f'<pre>{escape(chr(10).join(lines))}</pre>'


def section(title: str, text: str, body: str) -> str:
    """A section with a heading, a paragraph of plain text, and a body."""
    return f'<h2>{escape(title)}</h2><p>{escape(text)}</p>{body}'


def page(title: str, subtitle: str, sections: Sequence[str]) -> str:
    """The whole document."""
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{STYLE}</style></head>'
        f'<body><h1>{escape(title)}</h1><p>{escape(subtitle)}</p>{"".join(sections)}</body></html>\n'
    )
