"""Small pictures of looks, as SVG in data URLs: hatches for the charts' bars, and samples for their legends."""

from urllib.parse import quote

from perfmodel.looks import INK, LineLook

_TILES = {1: 12, 2: 8, 3: 6, 4: 5}
"""Pixels from one stroke to the next, by how often a hatch repeats its letter."""

_STROKES = {
    "/": "M-1 {b}L{b} -1M-1 1L1 -1M{a} {b}L{b} {a}",
    "\\": "M-1 -1L{b} {b}M{a} -1L{b} 1M-1 {a}L1 {b}",
    "|": "M{h} 0V{s}",
    "-": "M0 {h}H{s}",
}
_MADE_OF = {"+": "|-", "x": "/\\", "*": "|-/\\"}
_DOTS = {".": 0.14, "o": 0.26, "O": 0.38}
_WIDTH = 2
_MARKERS = {
    "o": '<circle cx="20" cy="8" r="{r}" {how}/>',
    "^": '<path d="M20 {top}L{right} {bottom}H{left}Z" {how}/>',
    "s": '<path d="M{left} {top}H{right}V{bottom}H{left}Z" {how}/>',
    "D": '<path d="M20 {top}L{right} 8L20 {bottom}L{left} 8Z" {how}/>',
}


def hatch_url(hatch: str) -> str:
    """Return a tile of a hatch as matplotlib writes it, such as ``"//"`` or ``"|*"``; transparent for ``""``."""
    letters = list(dict.fromkeys(hatch))
    size = _TILES[max((hatch.count(letter) for letter in letters), default=1)]
    places = {"s": size, "h": size / 2, "a": size - 1, "b": size + 1}
    drawn = ""
    for letter in letters:
        if letter in _DOTS:
            how = f'fill="{INK}"' if letter == "." else f'fill="none" stroke="{INK}"'
            drawn += f'<circle cx="{size / 2}" cy="{size / 2}" r="{_DOTS[letter] * size:.2f}" {how}/>'
        else:
            path = "".join(_STROKES[one] for one in _MADE_OF.get(letter, letter)).format(**places)
            drawn += f'<path d="{path}" fill="none" stroke="{INK}" stroke-width="0.8"/>'
    return _url(size, size, f'<g opacity="0.6">{drawn}</g>')


def dashes(look: LineLook) -> list[int]:
    """Return the dashes of a line in pixels; none for a solid one."""
    return [] if isinstance(look.line, str) else [round(_WIDTH * length) for length in look.line[1]]


def line_url(look: LineLook) -> str:
    """Return a sample of a line with its marker."""
    r = look.size
    how = f'fill="{look.colour if look.filled else "white"}" stroke="{look.colour}" stroke-width="1.5"'
    places = {"r": r, "left": 20 - r, "right": 20 + r, "top": 8 - r, "bottom": 8 + r, "how": how}
    array = " ".join(map(str, dashes(look)))
    line = f'<path d="M0 8H40" stroke="{look.colour}" stroke-width="{_WIDTH}" stroke-dasharray="{array}"/>'
    return _url(40, 16, line + _MARKERS[look.marker].format(**places))


def _url(width: int, height: int, content: str) -> str:
    svg = f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}">{content}</svg>'
    return f"data:image/svg+xml,{quote(svg)}"
