// Choices: which guest is shown, and which two interfaces the headline compares.

class Choices {
  /** Choose among `data.guests` in `place`; `changed` is called after each choice. */
  constructor(data, place, changed) {
    this.data = data;
    this.axes = data.axes.map((axis) => ({...axis, select: null}));
    this.index = new Map(data.guests.map((guest) => [guest.at.join(), guest]));
    this.at = this._first();
    const several = this.axes.filter((axis) => axis.labels.length > 1);
    for (const axis of several) {
      const k = this.axes.indexOf(axis);
      axis.select = this._select(place, axis.title, `choice-${axis.name}`, () => {
        this._goTo(k, Number(axis.select.value));
        changed();
      });
      this._fill(axis.select, axis.labels.map((_, value) => [value, this._label(k, value)]), this.at[k]);
    }
    this.pair = this._defaultPair();
    this.pairSelects = ["fast", "slow"].map((which, k) =>
      this._select(place, k ? "compared with" : "interface", `choice-${which}`, () => {
        this.pair[k] = this.pairSelects[k].value;
        this._settlePair(k);
        changed();
      }));
    this._showChoice();
  }

  get guest() {
    return this.index.get(this.at.join());
  }

  /** Return the guest's labels in words. */
  get words() {
    return this.axes.flatMap((axis, k) => {
      const label = axis.labels[this.at[k]];
      if (label === "populate" || (axis.name === "vcpus" && axis.labels.length === 1)) return [];
      if (axis.name === "shattered") return [`${100 * Number(label)} % of the 1G folios shattered`];
      if (axis.name === "memory") return [formatSize(label)];
      return [["backing", "guest", "scenario"].includes(axis.name) ? label : `${axis.title} ${label}`];
    }).reverse().join(", ");
  }

  /** Return guests that differ from the one shown in memory alone, smallest first. */
  get sizes() {
    const at = this.at.slice(0, -1).join();
    return this.data.guests.filter((guest) => guest.at.slice(0, -1).join() === at)
      .sort((one, other) => one.bytes - other.bytes);
  }

  _select(place, title, id, changed) {
    const select = element("select", {id});
    select.addEventListener("change", changed);
    place.append(element("div", {class: "choice"}, element("label", {for: id}, title), select));
    return select;
  }

  /** Return where to begin: 64 GiB with 10 % shattered if there is such a guest. */
  _first() {
    const wanted = {backing: "hugetlb-1g", shattered: "0.1", memory: "64GiB"};
    const score = ({at}) => this.axes.filter(({name, labels}, k) => labels[at[k]] === wanted[name]).length;
    return [...this.data.guests.reduce((best, one) => score(one) > score(best) ? one : best).at];
  }

  /** Go to the counted guest with this choice that is most like the one shown: few others change, and little. */
  _goTo(changed, value) {
    const unlike = ({at}) => at.reduce((sum, one, k) =>
      sum + (one === this.at[k] ? 0 : 1 + Math.abs(one - this.at[k]) / 1000), 0);
    const able = this.data.guests.filter(({at}) => at[changed] === value);
    this.at = [...able.reduce((best, one) => unlike(one) < unlike(best) ? one : best).at];
    this._showChoice();
  }

  _showChoice() {
    this.axes.forEach(({select}, k) => {
      if (select !== null) select.value = String(this.at[k]);
    });
    const names = this._interfaces();
    if (!names.includes(this.pair[0])) this.pair[0] = names.at(-1);
    this._settlePair(0);
  }

  _label(k, value) {
    const {name, labels} = this.axes[k];
    return name === "memory" ? formatSize(labels[value]) : labels[value];
  }

  _interfaces() {
    return this.data.interfaces.map(({name}) => name).filter((name) => name in this.guest.work);
  }

  _defaultPair() {
    const names = this.data.interfaces.map(({name}) => name);
    const fast = names.includes("pfn") ? "pfn" : names.at(-1);
    return [fast, names.includes("folio-strict") && fast !== "folio-strict" ? "folio-strict" : names[0]];
  }

  /** Keep the two interfaces apart, and among those of the guest. */
  _settlePair(kept) {
    const names = this._interfaces();
    const other = 1 - kept;
    if (!names.includes(this.pair[other]) || this.pair[0] === this.pair[1]) {
      this.pair[other] = names.find((name) => name !== this.pair[kept]) ?? this.pair[kept];
    }
    this.pairSelects.forEach((select, k) => this._fill(select, names.map((name) => [name, name]), this.pair[k]));
  }

  _fill(select, options, value) {
    select.replaceChildren(...options.map(([at, label]) => element("option", {value: at}, label)));
    select.value = String(value);
    select.disabled = options.length < 2;
  }
}
