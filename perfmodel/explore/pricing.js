// Prices: what perfmodel/costs.py computes, with the same samples in the same rules.

/** Return the little-endian float64 numbers behind a base64 text. */
function decodeFloats(text) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  return new Float64Array(bytes.buffer);
}

class Pricing {
  constructor(data) {
    this.parameters = data.parameters;
    this.clockGhz = data.clock.value;
    this.interval = data.interval;
    this.stages = data.stages.length;
    this.samples = data.source.samples;
    this.sampled = data.parameters.map(({name}) =>
      name in data.samples_ns ? decodeFloats(data.samples_ns[name]) : null);
    this.factors = data.stage_factors && data.stage_factors.map(decodeFloats);
    this.part = new Float64Array(this.samples);
    this.setMoved(new Map());
  }

  /** Take over what the user has moved, by name: a moved price is known exactly, as `--set` has it. */
  setMoved(moved) {
    const ghz = moved.get("core_ghz") ?? this.clockGhz;
    this.fixed = this.parameters.map(({name}) => moved.has(name));
    this.ns = this.parameters.map(({name, value, unit}) =>
      (moved.get(name) ?? value) / (unit === "cycles" ? ghz : 1));
    this.scale = this.parameters.map(({unit}) => unit === "cycles" ? this.clockGhz / ghz : 1);
    // what is drawn stays while one slider moves on
    const drawnOf = JSON.stringify([[...moved.keys()].sort(), ghz]);
    if (drawnOf !== this.drawnOf) this.drawn = new Map();
    this.drawnOf = drawnOf;
  }

  /** Return central costs in ns of entries [stage, parameter, count]: in all, by stage, by parameter. */
  central(entries) {
    const byStage = new Float64Array(this.stages);
    const byParameter = new Float64Array(this.parameters.length);
    for (const [stage, parameter, count] of entries) {
      const ns = count * this.ns[parameter];
      byStage[stage] += ns;
      byParameter[parameter] += ns;
    }
    return {total: byStage.reduce((sum, ns) => sum + ns, 0), byStage, byParameter};
  }

  /** Return the cost in ns under each sample: of what is drawn, and of what is known exactly. */
  costs(entries) {
    let drawn = this.drawn.get(entries);
    if (drawn === undefined) {
      drawn = this._drawnCosts(entries);
      this.drawn.set(entries, drawn);
    }
    const known = new Float64Array(this.stages);
    for (const [stage, parameter, count] of entries) {
      if (this.fixed[parameter]) known[stage] += count * this.ns[parameter];
    }
    const total = drawn.slice();
    known.forEach((ns, stage) => {
      if (ns !== 0) this._addTimesFactor(total, this.part.fill(ns), stage);
    });
    return total;
  }

  /** Return the part of the cost that is drawn; entries come sorted by stage. */
  _drawnCosts(entries) {
    const {part, samples} = this;
    const total = new Float64Array(samples);
    for (let first = 0, last; first < entries.length; first = last) {
      const stage = entries[first][0];
      part.fill(0);
      for (last = first; last < entries.length && entries[last][0] === stage; last++) {
        const [, parameter, count] = entries[last];
        if (this.fixed[parameter]) continue;
        const values = this.sampled[parameter];
        const weight = count * this.scale[parameter];
        for (let k = 0; k < samples; k++) part[k] += weight * values[k];
      }
      this._addTimesFactor(total, part, stage);
    }
    return total;
  }

  /** Add the work of one stage, by what the stage is off in each sample. */
  _addTimesFactor(total, part, stage) {
    const factor = this.factors?.[stage];
    if (factor === undefined) {
      for (let k = 0; k < total.length; k++) total[k] += part[k];
    } else {
      for (let k = 0; k < total.length; k++) total[k] += part[k] * factor[k];
    }
  }

  /** Return the interval of samples, widened where it leaves the central value out; changes their order. */
  bounds(samples, value) {
    const [low, high] = this.interval.map((q) => quantile(samples, q));
    return {value, low: Math.min(low, value), high: Math.max(high, value)};
  }

  /** Return how many times as long `above` takes as `below`, both under the same samples. */
  ratio(above, below) {
    return this.bounds(above.costs.map((ns, k) => ns / below.costs[k]), above.ns.value / below.ns.value);
  }

  /** Return all there is to know about the work of one interface. */
  price(entries) {
    const {total, byStage, byParameter} = this.central(entries);
    const costs = this.costs(entries);
    return {ns: this.bounds(costs.slice(), total), byStage, byParameter, costs};
  }
}

/** Return the quantile between the two nearest samples, as numpy's default does; changes their order. */
function quantile(samples, q) {
  const at = q * (samples.length - 1);
  const below = Math.floor(at);
  const low = select(samples, below);
  if (below + 1 === samples.length) return low;
  let next = Infinity;
  for (let k = below + 1; k < samples.length; k++) next = Math.min(next, samples[k]);
  return low + (next - low) * (at - below);
}

/** Return the sample of rank `rank`, with the smaller ones before it (Hoare's quickselect). */
function select(samples, rank) {
  let first = 0;
  let last = samples.length - 1;
  while (first < last) {
    const pivot = samples[(first + last) >> 1];
    let i = first;
    let j = last;
    while (i <= j) {
      while (samples[i] < pivot) i++;
      while (samples[j] > pivot) j--;
      if (i <= j) {
        const other = samples[i];
        samples[i++] = samples[j];
        samples[j--] = other;
      }
    }
    if (rank <= j) last = j;
    else if (rank >= i) first = i;
    else break;
  }
  return samples[rank];
}
