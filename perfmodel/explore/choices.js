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
      axis.select = this._select(place, axis.title, `choice-${axis.name}`, () => {
        this.at[this.axes.indexOf(axis)] = Number(axis.select.value);
        this._settle(this.axes.indexOf(axis));
        changed();
      });
    }
    this.pair = this._defaultPair();
    this.pairSelects = ["fast", "slow"].map((which, k) =>
      this._select(place, k ? "over" : "interface", `choice-${which}`, () => {
        this.pair[k] = this.pairSelects[k].value;
        this._settlePair(k);
        changed();
      }));
    this._settle(-1);
  }

  get guest() {
    return this.index.get(this.at.join());
  }

  /** Return the guest's labels in words. */
  get words() {
    return this.axes.flatMap((axis, k) => {
      const label = axis.labels[this.at[k]];
      if (axis.name === "scenario" && axis.labels.length === 1) return [];
      if (axis.name === "shattered") return [`${format(100 * Number(label))} % of the 1G folios shattered`];
      return [["memory", "backing", "guest", "scenario"].includes(axis.name) ? label : `${axis.title} ${label}`];
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

  /** Make the choices after the one changed fit it: the nearest value that was counted. */
  _settle(changed) {
    for (let k = 0; k < this.axes.length; k++) {
      const before = this.at.slice(0, k).join();
      const able = [...new Set(this.data.guests
        .filter((guest) => guest.at.slice(0, k).join() === before).map((guest) => guest.at[k]))]
        .sort((one, other) => one - other);
      if (k > changed && !able.includes(this.at[k])) {
        this.at[k] = able.reduce((best, one) => Math.abs(one - this.at[k]) < Math.abs(best - this.at[k]) ? one : best);
      }
      this._fill(this.axes[k].select, able.map((value) => [value, this.axes[k].labels[value]]), this.at[k]);
    }
    const names = this._interfaces();
    if (!names.includes(this.pair[0])) this.pair[0] = names.at(-1);
    this._settlePair(0);
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
    if (select === null) return;
    select.replaceChildren(...options.map(([at, label]) => element("option", {value: at}, label)));
    select.value = String(value);
    select.disabled = options.length < 2;
  }
}
