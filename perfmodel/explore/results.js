// Results: headline, charts, tables and what matters, for the guest and the prices that are chosen.

const LARGEST = 8;
const GIB = 2 ** 30;

class Results {
  constructor(data, pricing, charts, goTo) {
    Object.assign(this, {data, pricing, charts, goTo});
    this.colour = new Map(data.interfaces.map(({name, colour}) => [name, colour]));
    this.relative = document.getElementById("as-shares");
    this.unit = "";
  }

  /** Compute and show everything; return the shares of each price in the times of the two interfaces. */
  show(choices) {
    const priced = this._price(choices.guest);
    const [fast, slow] = choices.pair.map((name) => priced.get(name));
    this._headline(choices, priced);
    this._bars(priced);
    this._speeds(choices, priced);
    this._times(choices.pair[0], priced);
    this._stageTable(priced);
    const shares = this.data.parameters.map((_, k) => [fast, slow].map(({ns, byParameter}) =>
      ns.value ? byParameter[k] / ns.value : 0));
    this._largest(choices.pair, [fast, slow], shares);
    return shares;
  }

  /** Show what prices do not change. */
  showCounts(guest) {
    const names = this._names(guest);
    const titles = [...new Set(names.flatMap((name) => Object.keys(guest.work[name].counts)))];
    fillTable("counts", ["", ...names], titles.map((title) => [title, ...names.map((name) => {
      const count = guest.work[name].counts[title] ?? 0;
      return count < 0 ? "–" : element("data", {value: count}, count.toLocaleString("en-US"));
    })]));
  }

  _names(guest) {
    return this.data.interfaces.map(({name}) => name).filter((name) => name in guest.work);
  }

  _price(guest) {
    return new Map(this._names(guest).map((name) => {
      const {entries, gib} = guest.work[name];
      const price = this.pricing.price(entries);
      return [name, {...price, speed: speedOf(gib, price.ns)}];
    }));
  }

  _headline(choices, priced) {
    const [fast, slow] = choices.pair;
    const words = (name) => this.pricing.ratio(priced.get(name), priced.get(fast));
    const main = words(slow);
    const others = [...priced.keys()].filter((name) => name !== fast && name !== slow);
    const text = document.getElementById("headline");
    text.replaceChildren(
      element("p", {class: "main"}, element("strong", {}, fast), " is ",
        element("strong", {class: "times", id: "times"}, shown(main.value), " ×"), " as fast as ",
        element("strong", {}, slow), element("span", {class: "interval", id: "times-interval"},
          " (5 % to 95 %: ", shown(main.low), " to ", shown(main.high), ")")),
      element("p", {class: "others"}, ...others.flatMap((name, k) =>
        [k ? ", " : "and ", ...shownTimes(words(name), ` × as fast as ${name}`)])),
      element("p", {class: "guest"}, choices.words));
  }

  _bars(priced) {
    const {bars, spans, time} = this.charts;
    const names = this.data.interfaces.map(({name}) => name);
    const longest = Math.max(...[...priced.values()].map(({ns}) => ns.value));
    const [unit, length] = this.relative.checked ? ["%", 1] : timeUnit(longest);
    const scaleOf = (name) => this.relative.checked ? (priced.get(name)?.ns.value || 1) / 100 : length;
    const columns = {y: names};
    let ends = names.map(() => 0);
    this.data.stages.forEach(({title}, k) => {
      const each = names.map((name) => priced.get(name)?.byStage[k] ?? 0);
      columns[`left ${title}`] = ends;
      ends = ends.map((end, row) => end + each[row] / scaleOf(names[row]));
      columns[`right ${title}`] = ends;
      columns[title] = each.map((ns, row) => {
        const [eachUnit, size] = timeUnit(ns);
        return `${format(ns / size)} ${eachUnit}, ${percent(ns / (priced.get(names[row])?.ns.value || 1))}`;
      });
    });
    bars.data = columns;
    const shownSpans = this.relative.checked ? [] : [...priced.keys()];
    spans.data = {y: shownSpans, low: shownSpans.map((name) => priced.get(name).ns.low / length),
      high: shownSpans.map((name) => priced.get(name).ns.high / length)};
    time.x_range.end = this.relative.checked ? 100
      : 1.04 * Math.max(...[...priced.values()].map(({ns}) => ns.high)) / length || 1;
    if (unit !== this.unit) {
      time.below[0].axis_label = unit === "%" ? "share of the time, %" : `time, ${unit}`;
      this.unit = unit;
    }
  }

  _speeds(choices, priced) {
    const sizes = choices.sizes;
    for (const [name, source] of Object.entries(this.charts.speeds)) {
      const known = sizes.filter(({work}) => work[name]?.gib > 0);
      const found = known.map((guest) => guest === choices.guest ? priced.get(name).speed
        : speedOf(guest.work[name].gib, this.pricing.price(guest.work[name].entries).ns));
      source.data = {
        memory: known.map(({bytes}) => bytes / GIB), speed: found.map(({value}) => value),
        low: found.map(({low}) => low), high: found.map(({high}) => high),
        text: found.map(({value, low, high}) => `${name}: ${format(value)} GiB/s (${format(low)} to ${format(high)})`),
      };
    }
    const {throughput, chosen} = this.charts;
    document.getElementById("throughput").hidden = !sizes.some(({work}) => Object.values(work).some(({gib}) => gib > 0));
    chosen.location = choices.guest.bytes / GIB;
    const gib = sizes.map(({bytes}) => bytes / GIB);
    setRange(throughput.x_range, gib, 1.6);
    const ends = Object.values(this.charts.speeds).flatMap(({data}) => [...data.low, ...data.high]);
    setRange(throughput.y_range, ends, 1.2);
  }

  _times(fast, priced) {
    const rows = [...priced].map(([name, {ns, speed}]) => {
      const [unit, length] = timeUnit(ns.value);
      const mapped = speed.value > 0 ? shownInterval(speed) : ["–"];
      const times = shownInterval(this.pricing.ratio(priced.get(name), priced.get(fast)));
      return [this._named(name), shownInterval(ns, length, ` ${unit}`), mapped, times];
    });
    fillTable("times-table", ["", "time", "GiB/s", `time over ${fast}`], rows);
  }

  _stageTable(priced) {
    if (!document.getElementById("stage-details").open) return;
    const rows = this.data.stages.map(({title}, k) => [title, ...[...priced.values()].map(({byStage, ns}) => {
      const [unit, length] = timeUnit(byStage[k]);
      return [shown(byStage[k], length), ` ${unit}, ${percent(ns.value ? byStage[k] / ns.value : 0)}`];
    })]);
    fillTable("stage-table", ["", ...priced.keys()], rows);
  }

  _named(name) {
    const swatch = element("span", {class: "swatch", "aria-hidden": "true"});
    swatch.style.background = this.colour.get(name);
    return [swatch, name];
  }

  _largest(pair, priced, shares) {
    const order = shares.map((pairShares, k) => [Math.max(...pairShares), k]).filter(([share]) => share > 0)
      .sort(([one, k], [other, l]) => other - one || k - l).slice(0, LARGEST);
    const most = order.length ? order[0][0] : 1;
    document.getElementById("largest-title").textContent = `What matters: shares of the time of ${pair.join(" and ")}`;
    const list = document.getElementById("largest");
    while (list.children.length > order.length) list.lastChild.remove();
    order.forEach(([, k], place) => {
      const row = list.children[place] ?? list.appendChild(this._largestRow());
      const {name, meaning} = this.data.parameters[k];
      row.button.textContent = name;
      row.button.title = `${meaning}: go to its slider`;
      row.bars.forEach((bar, which) => {
        bar.fill.style.width = `${100 * shares[k][which] / most}%`;
        bar.fill.style.background = this.colour.get(pair[which]);
        bar.text.textContent = `${percent(shares[k][which])} ${pair[which]}`;
      });
    });
  }

  _largestRow() {
    const row = element("li");
    row.button = element("button", {type: "button", class: "link"});
    row.button.addEventListener("click", () => this.goTo(row.button.textContent));
    row.bars = [0, 1].map(() => {
      const [fill, text] = [element("span", {class: "fill"}), element("span", {class: "text"})];
      return {fill, text, box: element("div", {class: "bar"}, element("span", {class: "track"}, fill), text)};
    });
    row.append(row.button, ...row.bars.map(({box}) => box));
    return row;
  }
}

/** Return throughput with its interval: the longest time gives the lowest. */
function speedOf(gib, {value, low, high}) {
  const per = (ns) => ns ? gib / ns * 1e9 : 0;
  return {value: per(value), low: per(high), high: per(low)};
}

/** Make a logarithmic range hold all values, with some room. */
function setRange(range, values, room) {
  if (values.length === 0) return;
  range.setv({start: Math.min(...values) / room, end: Math.max(...values) * room});
}

function shownTimes({value, low, high}, words) {
  return [shown(value), words, " (", shown(low), " to ", shown(high), ")"];
}

/** Fill a table: column heads, and rows whose first cell is a head. */
function fillTable(id, heads, rows) {
  const cells = (tag, row) => row.map((content, k) => element(k ? tag : "th", k || tag === "th" ? {} : {scope: "row"},
    ...(Array.isArray(content) ? content : [content])));
  document.getElementById(id).replaceChildren(
    element("thead", {}, element("tr", {}, ...heads.map((head) => element("th", {scope: "col"}, head)))),
    element("tbody", {}, ...rows.map((row) => element("tr", {}, ...cells("td", row)))));
}
