// The page: Bokeh has made the charts and hands them over; every choice and every move shows everything anew.

/** Wire the page; called by the CustomJS of the document with its models. */
function startExplore(charts) {
  const data = JSON.parse(document.getElementById("data").textContent);
  const pricing = new Pricing(data);
  const sliders = new Sliders(data, document.getElementById("sliders"), () => show());
  const results = new Results(data, pricing, charts, (name) => sliders.goTo(name));
  const choices = new Choices(data, document.getElementById("choices"), () => choose());

  function show() {
    const begun = performance.now();
    pricing.setMoved(sliders.moved);
    sliders.showShares(choices.pair, results.show(choices));
    showMoved();
    document.documentElement.dataset.answerMs = String(performance.now() - begun);
  }

  function choose() {
    results.showCounts(choices.guest);
    show();
    sliders.sortByShare();
  }

  function showMoved() {
    const moved = [...sliders.moved];
    const {version, parameters, sha256, seed, samples, module} = data.source;
    const changed = moved.length ? `, ${moved.length} moved` : "";
    document.getElementById("source").textContent =
      `perfmodel ${version} · parameters ${parameters} (${sha256.slice(0, 12)}${changed}) · ` +
      `seed ${seed} · ${samples.toLocaleString("en-US")} samples · module ${module}`;
    document.getElementById("moved").textContent = moved.length
      ? moved.map(([name, value]) => `${name} = ${value}`).join(", ") : "nothing was moved";
    const file = document.getElementById("file-text");
    if (file.closest("details").open) file.value = parameterFile(data.toml, sliders.moved);
  }

  function showLegends() {
    const entry = (sample, words) => element("li", {}, sample, words);
    document.getElementById("stage-legend").append(...data.stages.map(({title, colour, sample}) => {
      const piece = element("span", {class: "piece"});
      piece.style.background = `${colour} url("${sample}")`;
      return entry(piece, title);
    }));
    document.getElementById("interface-legend").append(...data.interfaces.map(({name, sample}) =>
      entry(element("img", {src: sample, alt: "", width: 40, height: 16}), name)));
  }

  // a chart says nothing to the keyboard: its numbers stand in the tables
  for (const chart of [charts.time, charts.throughput]) Bokeh.index.find_one(chart).canvas_view.events_el.tabIndex = -1;
  document.getElementById("download").addEventListener("click", () =>
    download("parameters.toml", parameterFile(data.toml, sliders.moved)));
  for (const id of ["file-details", "stage-details"]) document.getElementById(id).addEventListener("toggle", show);
  results.relative.addEventListener("change", show);
  showLegends();
  choose();
  document.documentElement.dataset.ready = "true";
}
