// Sliders: one for each price and for the core clock, in groups that can be folded and searched.

const STEPS = 1000;
const HEAVY = 0.05;

/** A price: its slider, its number, its way back, and what is known about it. */
class PriceSlider {
  constructor(price, confidence, changed) {
    this.price = price;
    this.changed = changed;
    this.value = price.value;
    this.moved = false;
    const {name, unit, low, high} = price;
    const [id, about] = [`price-${name}`, `about-${name}`];
    const limits = {min: low, max: high};
    this.range = element("input", {type: "range", id, min: 0, max: STEPS, step: 1, "aria-describedby": about});
    this.number = element("input", {type: "number", ...limits, step: "any", "aria-label": `${name}, number`,
      "aria-describedby": `${about} error-${name}`, inputmode: "decimal"});
    this.reset = element("button", {type: "button", class: "reset", "aria-label": `reset ${name}`,
      title: `back to ${price.value} ${unit}`}, "↺");
    this.share = element("span", {class: "share"});
    this.error = element("p", {class: "error", id: `error-${name}`, role: "alert"});
    const scale = `${price.log ? "log scale" : "linear scale"}, ${price.distribution}`;
    const letter = confidence[price.confidence];
    const title = `${price.meaning} (${low} to ${high} ${unit})`;
    this.row = element("div", {class: "price"},
      element("div", {class: "name"}, element("label", {for: id, title}, name), this.share),
      element("div", {class: "controls"}, element("div", {class: "slide"}, this.range), this.number,
        element("span", {class: "unit"}, unit), this.reset),
      this.error,
      element("div", {id: about},
        element("p", {class: "meaning"}, price.meaning),
        element("p", {class: "limits"}, `${low} to ${high} ${unit} · ${scale} · `,
          element("abbr", {title: letter ?? ""}, `confidence ${price.confidence || "none"}`))),
      element("details", {class: "source"}, element("summary", {"aria-label": `source of ${name}`}, "source"),
        element("p", {}, letter ? `${price.confidence}: ${letter}. ` : "", price.source)));
    this.range.disabled = low === high;
    this.row.style.setProperty("--was", this._place(price.value) / STEPS);
    this.range.addEventListener("input", () => this.set(this._valueAt(Number(this.range.value)), this.range));
    this.number.addEventListener("input", () => this._typed());
    this.reset.addEventListener("click", () => this.restore(true));
    this._show();
  }

  /** Take over a value within the limits; `from` is the control that holds it already. */
  set(value, from = null) {
    this.value = value;
    this.moved = true;
    this._show(from);
    this.changed();
  }

  /** Give back the value and the distribution that the page began with. */
  restore(tell) {
    this.value = this.price.value;
    this.moved = false;
    this._show();
    if (tell) {
      this.range.focus();
      this.changed();
    }
  }

  _typed() {
    const {low, high, unit} = this.price;
    const value = this.number.valueAsNumber;
    if (value >= low && value <= high) {
      this.set(value, this.number);
    } else {
      this.number.setAttribute("aria-invalid", "true");
      this.error.textContent = `accepted is ${low} to ${high} ${unit}; ${this.value} stands`;
    }
  }

  _show(from = null) {
    if (from !== this.range) this.range.value = Math.round(this._place(this.value));
    if (from !== this.number) this.number.value = this.value;
    this.range.setAttribute("aria-valuetext", `${this.value} ${this.price.unit}`);
    this.number.removeAttribute("aria-invalid");
    this.error.textContent = "";
    this.row.classList.toggle("moved", this.moved);
    this.reset.disabled = !this.moved;
  }

  _place(value) {
    const {low, high, log} = this.price;
    if (low === high) return 0;
    return STEPS * (log ? Math.log(value / low) / Math.log(high / low) : (value - low) / (high - low));
  }

  /** Return the value at a place of the slider, to four digits but for the ends. */
  _valueAt(place) {
    const {low, high, log} = this.price;
    if (place <= 0) return low;
    if (place >= STEPS) return high;
    const value = log ? low * (high / low) ** (place / STEPS) : low + (high - low) * place / STEPS;
    return Math.min(high, Math.max(low, Number(value.toPrecision(4))));
  }
}

class Sliders {
  /** Put a slider for everything in `data` into `place`; `changed` is called after each move. */
  constructor(data, place, changed) {
    const slider = (price) => new PriceSlider(price, data.confidence, changed);
    this.place = place;
    this.clock = slider(data.clock);
    this.clock.weight = Infinity;
    this.prices = data.parameters.map(slider);
    this.all = [this.clock, ...this.prices];
    this.names = data.parameters.map(({name}) => name);
    this.groups = data.themes.map(({title, names}) => this._group(title, names.map((name) => this.of(name))));
    this.groups.unshift(this._group("Clock", [this.clock]));
    this.search = element("input", {type: "search", id: "search", placeholder: "name, meaning or source"});
    this.search.addEventListener("input", () => this._filter());
    this.found = element("p", {class: "found", role: "status"});
    const all = element("button", {type: "button", id: "reset-all"}, "Reset all");
    all.addEventListener("click", () => {
      this.all.forEach((one) => one.restore(false));
      changed();
    });
    place.append(
      element("div", {class: "tools"}, element("div", {class: "choice"},
        element("label", {for: "search"}, "Search prices"), this.search), all),
      this.found, ...this.groups.map(({box}) => box));
  }

  of(name) {
    return name === "core_ghz" ? this.clock : this.prices[this.names.indexOf(name)];
  }

  /** Return what was moved, by name. */
  get moved() {
    return new Map(this.all.filter((one) => one.moved).map((one) => [one.price.name, one.value]));
  }

  /** Write beside each price which share of the two interfaces' times it makes. */
  showShares([fast, slow], shares) {
    this.prices.forEach((one, k) => {
      const [a, b] = shares[k];
      one.weight = Math.max(a, b);
      const text = one.weight ? `${percent(a)} of ${fast}, ${percent(b)} of ${slow}` : "not in this work";
      if (one.share.textContent !== text) one.share.textContent = text;
      one.row.classList.toggle("unused", one.weight === 0);
      one.row.classList.toggle("heavy", one.weight >= HEAVY);
    });
  }

  /** Put what matters first, groups and sliders in them, and open the groups that matter. */
  sortByShare() {
    for (const {box, list, sliders} of this.groups) {
      sliders.sort((one, other) => other.weight - one.weight);
      list.append(...sliders.map((one) => one.row));
      box.open = sliders.some((one) => one.weight >= HEAVY || one.moved);
    }
    this.groups.sort((one, other) => other.sliders[0].weight - one.sliders[0].weight);
    this.place.append(...this.groups.map(({box}) => box));
  }

  /** Open the group of a price, and put the focus on its slider. */
  goTo(name) {
    this.search.value = "";
    this._filter();
    const one = this.of(name);
    one.row.closest("details").open = true;
    one.range.focus();
    one.row.scrollIntoView({block: "center"});
  }

  _group(title, sliders) {
    const list = element("div", {}, ...sliders.map((one) => one.row));
    const box = element("details", {class: "group"},
      element("summary", {}, title, element("span", {class: "count"}, ` ${sliders.length}`)), list);
    return {box, list, sliders};
  }

  _filter() {
    const words = this.search.value.toLowerCase().split(/\s+/);
    let found = 0;
    for (const {box, sliders} of this.groups) {
      let here = 0;
      for (const {price, row} of sliders) {
        const text = `${price.name} ${price.meaning} ${price.source}`.toLowerCase();
        row.hidden = !words.every((word) => text.includes(word));
        here += !row.hidden;
      }
      box.hidden = here === 0;
      if (this.search.value) box.open = here > 0;
      found += here;
    }
    this.found.textContent = this.search.value ? `${found} of ${this.all.length} found` : "";
  }
}

function percent(share) {
  if (share > 0 && share < 0.001) return "< 0.1 %";
  return `${(100 * share).toFixed(1)} %`;
}
