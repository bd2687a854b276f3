"""The Bokeh figures of the page, empty: its script fills their sources."""

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from perfmodel.explore.guests import Guests
from perfmodel.explore.swatches import dashes, hatch_url
from perfmodel.looks import FAINT, INK, INTERFACE_LOOKS, STAGE_LOOKS
from perfmodel.show import STAGE_TITLES

PLACES = ("time-chart", "throughput-chart")
"""Elements of the page that hold the figures."""

_MARKERS = MappingProxyType({"o": "circle", "^": "triangle", "s": "square", "D": "diamond"})
_GIB = 1 << 30

_START = "startExplore({time: time, throughput: throughput, bars: bars, spans: spans, speeds: speeds, chosen: chosen})"

_STYLE = """
:host { max-width: 100%; }
.bk-events { touch-action: pan-y pinch-zoom !important; }
"""


def chart_document(guests: Guests, stages: list[str]) -> dict[str, Any]:
    """Return figures and the call that hands them to the page's script, as Bokeh's JSON with ids that do not vary."""
    from bokeh.document import Document
    from bokeh.events import DocumentReady
    from bokeh.models import CustomJS

    time, of_time = _time_chart(guests, stages)
    throughput, of_throughput = _throughput_chart(guests)
    document = Document(title="perfmodel explore")
    for figure in (time, throughput):
        document.add_root(figure)
    models = {"time": time, "throughput": throughput, **of_time, **of_throughput}
    document.js_on_event(DocumentReady, CustomJS(args=models, code=_START))
    return _with_fixed_ids(document.to_json(deferred=False))


def root_ids(document: Mapping[str, Any]) -> list[str]:
    """Return the ids of the figures, in the order of `PLACES`."""
    return [str(root["id"]) for root in document["roots"]]


def _with_fixed_ids(document: dict[str, Any]) -> dict[str, Any]:
    """Number the models by their place in the document: Bokeh numbers them by what the process has made before."""
    fixed: dict[str, str] = {}

    def renamed(part: Any) -> Any:
        if isinstance(part, dict):
            return {key: number(value) if _is_id(key, value) else renamed(value) for key, value in part.items()}
        return [renamed(one) for one in part] if isinstance(part, list | tuple) else part

    def number(model: str) -> str:
        return fixed.setdefault(model, f"m{len(fixed)}")

    return dict(renamed(document))


def _is_id(key: str, value: Any) -> bool:
    return key == "id" and isinstance(value, str) and re.fullmatch(r"p\d+", value) is not None


def _figure(**how: Any) -> Any:
    from bokeh.models import InlineStyleSheet
    from bokeh.plotting import figure

    drawn = figure(
        sizing_mode="stretch_width", toolbar_location=None, tools="", outline_line_color=None, background_fill_alpha=0,
        border_fill_alpha=0, stylesheets=[InlineStyleSheet(css=_STYLE)], **how,
    )  # fmt: skip
    drawn.axis.axis_label_text_font_style = "normal"
    for text in ("axis_label_text_color", "major_label_text_color"):
        setattr(drawn.axis, text, INK)
    drawn.axis.axis_line_color = drawn.axis.major_tick_line_color = FAINT
    drawn.axis.minor_tick_line_color = None
    drawn.axis.major_label_text_font_size = "13px"
    drawn.grid.grid_line_color = "#dddddd"
    return drawn


def _time_chart(guests: Guests, stages: list[str]) -> tuple[Any, dict[str, Any]]:
    """Return horizontal bars by interface, one piece a stage, and the interval of their whole."""
    from bokeh.core.properties import value
    from bokeh.models import ColumnDataSource, HoverTool, ImageURLTexture, TeeHead, Whisker

    rows = list(reversed(guests.interfaces))
    drawn = _figure(x_range=(0, 1), y_range=rows, height=260, x_axis_label="time, s")
    spans = ColumnDataSource({name: [] for name in ("y", "low", "high")})
    titles = [STAGE_TITLES[stage] for stage in stages]
    ends = [f"{end} {title}" for title in titles for end in ("left", "right")]
    bars = ColumnDataSource({"y": guests.interfaces} | {name: [0.0] * len(guests.interfaces) for name in ends}
                            | {title: [""] * len(guests.interfaces) for title in titles})  # fmt: skip
    pieces = []
    for stage, title in zip(stages, titles, strict=True):
        look = STAGE_LOOKS[stage]
        # Bokeh draws up its own hatches anew with each move, and its legends too: 20 ms that ready pictures do not take
        pieces.append(drawn.hbar(
            y="y", left=f"left {title}", right=f"right {title}", height=0.62, source=bars, name=title,
            fill_color=look.colour, line_color=INK, line_width=0.4, hatch_pattern=value("tile"),
            hatch_extra={"tile": ImageURLTexture(url=hatch_url(look.hatch))},
        ))  # fmt: skip
    heads = {end: TeeHead(size=12, line_color=INK) for end in ("upper_head", "lower_head")}
    drawn.add_layout(Whisker(
        base="y", lower="low", upper="high", dimension="width", source=spans, line_color=INK, line_width=1.5,
        level="overlay", **heads,
    ))  # fmt: skip
    drawn.add_tools(HoverTool(renderers=pieces, tooltips=[("", "@y, $name"), ("", "@$name")]))
    drawn.ygrid.grid_line_color = None
    return drawn, {"bars": bars, "spans": spans}


def _throughput_chart(guests: Guests) -> tuple[Any, dict[str, Any]]:
    """Return throughput over memory, both logarithmic: a line and the band of its interval for each interface."""
    from bokeh.models import ColumnDataSource, FixedTicker, HoverTool, Span

    drawn = _figure(
        x_axis_type="log", y_axis_type="log", x_range=(1, 2), y_range=(1, 2), height=330, x_axis_label="guest memory",
        y_axis_label="throughput, GiB/s",
    )  # fmt: skip
    sizes = {guest.memory_bytes / _GIB: guest.choice["memory"] for guest in guests.guests}
    drawn.xaxis.ticker = drawn.xgrid.ticker = FixedTicker(ticks=sorted(sizes), minor_ticks=[])
    drawn.xaxis.major_label_overrides = {
        size: re.sub(r"(?<=\d)(?=[A-Z])", " ", label) for size, label in sorted(sizes.items())
    }
    drawn.yaxis.formatter.min_exponent = 4
    columns = ("memory", "speed", "low", "high", "text")
    speeds = {name: ColumnDataSource({column: [] for column in columns}) for name in guests.interfaces}
    points = []
    for name, source in speeds.items():
        drawn.varea(x="memory", y1="low", y2="high", source=source, fill_color=_look(name).colour, fill_alpha=0.12)
    for name, source in speeds.items():
        look = _look(name)
        drawn.line("memory", "speed", source=source, color=look.colour, line_width=2, line_dash=dashes(look))
        points.append(drawn.scatter(
            "memory", "speed", source=source, marker=_MARKERS[look.marker], size=2 * look.size, line_color=look.colour,
            fill_color=look.colour if look.filled else "white", line_width=1.5,
        ))  # fmt: skip
    chosen = Span(dimension="height", location=0, line_color=FAINT, line_dash="dotted", line_width=1.5)
    drawn.add_layout(chosen)
    drawn.add_tools(HoverTool(renderers=points, tooltips=[("", "@text")]))
    return drawn, {"speeds": speeds, "chosen": chosen}


def _look(name: str) -> Any:
    return INTERFACE_LOOKS[name]
