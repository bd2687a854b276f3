"""The page as one file of HTML: Bokeh's library, style, data and script in it, and nothing to fetch."""

import string
from importlib import resources
from importlib.util import find_spec

from perfmodel.errors import InputError
from perfmodel.explore.charts import PLACES, chart_document, root_ids
from perfmodel.explore.data import page_data, to_script
from perfmodel.explore.guests import Guests
from perfmodel.parameters import ParameterSet

_SCRIPTS = ("elements.js", "pricing.js", "parameter_file.js", "choices.js", "sliders.js", "results.js", "start.js")

_POLICY = "default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; style-src 'unsafe-inline'; img-src data: blob:"
"""What a browser lets the page do: nothing but what stands in it. Bokeh makes functions of CustomJS's texts."""

_PAGE = string.Template("""\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="$policy">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>perfmodel explore</title>
<link rel="icon" href="data:,">
<style>
$style</style>
</head>
<body>
<a class="skip" href="#sliders-title">Skip to the prices</a>
<header>
<h1>perfmodel explore</h1>
<p>What it costs to populate a TDX guest's memory, and what each price has to do with it. Counts are exact and stored
here; move a price, and every time below is computed anew.</p>
</header>
<section id="choices" aria-label="Guest and interfaces"></section>
<div id="headline" role="status" aria-live="polite" aria-atomic="true"></div>
<main>
<div id="results">
<section aria-labelledby="time-title">
<div class="title"><h2 id="time-title">Time by stage</h2>
<label class="check"><input type="checkbox" id="as-shares"> as shares</label></div>
<div class="chart" id="time-chart" role="img"
aria-label="Time by interface, stacked by stage; the tables below have its numbers"></div>
<ul class="legend" id="stage-legend" aria-label="Stages"></ul>
<p class="hint">Values are those of the prices as they stand; whiskers, bands and brackets span 5 % to 95 % of the
samples.</p>
<div class="scroll"><table id="times-table" aria-label="Times"></table></div>
<details id="stage-details"><summary>Table of stages</summary>
<div class="scroll"><table id="stage-table" aria-label="Stages"></table></div></details>
</section>
<section aria-labelledby="largest-title">
<h2 id="largest-title">What matters</h2>
<ol id="largest"></ol>
</section>
<section id="throughput" aria-labelledby="throughput-title">
<h2 id="throughput-title">Throughput by guest memory</h2>
<div class="chart" id="throughput-chart" role="img"
aria-label="Throughput over guest memory by interface, with bands from 5 % to 95 %"></div>
<ul class="legend" id="interface-legend" aria-label="Interfaces"></ul>
</section>
<section aria-labelledby="counts-title">
<h2 id="counts-title">Counts</h2>
<div class="scroll"><table id="counts" aria-labelledby="counts-title"></table></div>
</section>
</div>
<section id="prices" aria-labelledby="sliders-title">
<h2 id="sliders-title" tabindex="-1">Prices</h2>
<p class="hint">A price that was moved counts as known exactly until it is reset. Arrow keys move a slider by a
thousandth of its range, Page Up and Page Down by more; the number beside it takes any value of the range.</p>
<div id="file">
<button type="button" id="download">Parameter file</button>
<span>for <code>--params</code>: <span id="moved"></span></span>
<details id="file-details"><summary>Show the file</summary>
<textarea id="file-text" readonly rows="14" spellcheck="false" aria-label="Parameter file"></textarea></details>
</div>
<div id="sliders"></div>
</section>
</main>
<footer><p id="source"></p></footer>
<script type="application/json" id="data">$data</script>
<script type="application/json" id="charts">$charts</script>
<script>
$bokeh
</script>
<script>
"use strict";
$script
Bokeh.set_log_level("warn");
Bokeh.embed.embed_items({charts: JSON.parse(document.getElementById("charts").textContent)}, $items);
</script>
</body>
</html>
""")


def make_page(guests: Guests, parameters: ParameterSet) -> bytes:
    """Return the page: the same bytes whenever and wherever the same Bokeh makes it.

    Parameters
    ----------
    guests : Guests
        Whose ledgers are priced.
    parameters : ParameterSet
        Where the sliders begin.
    """
    data = page_data(guests, parameters)
    charts = chart_document(guests, [stage["name"] for stage in data["stages"]])
    ids = root_ids(charts)
    items = [{"docid": "charts", "roots": dict(zip(ids, PLACES, strict=True)), "root_ids": ids}]
    page = _PAGE.substitute(
        policy=_POLICY, style=_read("page.css"), script="\n".join(_read(name) for name in _SCRIPTS),
        data=to_script(data), charts=to_script(charts), items=to_script(items), bokeh=_bokeh(),
    )  # fmt: skip
    return page.encode()


def require_bokeh() -> None:
    """Raise InputError where Bokeh is not installed."""
    if find_spec("bokeh") is None:
        raise InputError("explore needs bokeh: install perfmodel[explore]")


def _bokeh() -> str:
    """Return BokehJS without widgets, tables and formulas, which the page has no use for."""
    from bokeh.resources import Resources

    return "\n".join(Resources(mode="inline", components=["bokeh"]).js_raw)


def _read(name: str) -> str:
    return (resources.files("perfmodel.explore") / name).read_text()
