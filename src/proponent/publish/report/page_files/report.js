"use strict";
// What the reader does with the page: chooses a setting, filters and sorts the leaderboard, looks through galleries.
(() => {
  const data = JSON.parse(document.getElementById("report-data").textContent);
  const all = (selector, inside = document) => [...inside.querySelectorAll(selector)];
  const one = (id) => document.getElementById(id);

  /** Return a new element with properties and children; texts are never read as HTML. */
  function make(tag, properties = {}, ...children) {
    const element = Object.assign(document.createElement(tag), properties);
    element.append(...children.filter((child) => child !== null));
    return element;
  }

  function save(name, type, text) {
    const link = make("a", { href: URL.createObjectURL(new Blob([text], { type })), download: name });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  }

  function toCsv(columns, rows) {
    const cell = (value) => {
      const text = value === null || value === undefined ? "" : String(value);
      return /[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
    };
    return [columns, ...rows.map((row) => columns.map((name) => row[name]))]
      .map((row) => `${row.map(cell).join(",")}\n`).join("");
  }

  // Colours -----------------------------------------------------------------------------------------------------------
  const dark = matchMedia("(prefers-color-scheme: dark)");
  function colour() {
    const asked = one("theme").value;
    document.documentElement.dataset.theme = asked === "auto" ? (dark.matches ? "dark" : "light") : asked;
  }
  one("theme").addEventListener("change", colour);
  dark.addEventListener("change", colour);
  colour();

  // Charts ------------------------------------------------------------------------------------------------------------
  const views = new Map();
  const chartOf = ({ of, chart }) => (of ? data.settings[of] : data).charts[chart];

  /** Draw a chart when it is visible for the first time: its width is that of its place on the page. */
  async function draw(figure) {
    if (views.has(figure)) return;
    views.set(figure, null);
    const chart = chartOf(figure.dataset);
    const spec = { ...chart.spec, datasets: { rows: chart.rows } };
    const { view } = await vegaEmbed(figure.querySelector(".drawing"), spec, { renderer: "svg", actions: false });
    views.set(figure, view);
    figure.dataset.drawn = "yes";
  }

  async function saveChart(figure, kind) {
    const chart = chartOf(figure.dataset);
    const name = [figure.dataset.of, figure.dataset.chart].filter(Boolean).join("-");
    if (kind === "csv") return save(`${name}.csv`, "text/csv", toCsv(chart.columns, chart.rows));
    const drawn = await views.get(figure).toSVG();
    return save(`${name}.svg`, "image/svg+xml",
      drawn.replace(/var\(--(\w+)\)/g, (whole, colourName) => data.colours[colourName] ?? whole));
  }
  for (const figure of all(".chart")) {
    for (const button of all("[data-save]", figure)) {
      button.addEventListener("click", () => saveChart(figure, button.dataset.save));
    }
  }
  const drawVisible = () => all(".chart").filter((figure) => figure.offsetParent !== null).forEach(draw);

  // Examples ----------------------------------------------------------------------------------------------------------
  const described = (item, what) => `${what} ${item.row}${item.label ? `, label ${item.label}` : ""}`;

  /** Return the text of an example; `weights` highlight its parts: blue raises the score, vermilion lowers it. */
  function words(item, weights) {
    const text = item.text ?? "";
    if (!weights || !item.pieces) return make("p", { className: "words", title: text }, text);
    return make("p", { className: "words whole" }, ...item.pieces.map((piece, place) => {
      const weight = weights[place];
      if (!weight) return piece;
      const mark = make("mark", { title: `${weight > 0 ? "+" : "−"}${Math.abs(weight)} %` }, piece);
      mark.className = weight > 0 ? "raises" : "lowers";
      mark.style.setProperty("--share", `${Math.round(0.5 * Math.abs(weight))}%`);
      return mark;
    }));
  }

  /** Return what a reader sees of an example: its picture, its text, or both. `heat` and `weights` lie over them. */
  function picture(item, what, { heat, weights } = {}) {
    if (!item.picture) return words(item, weights);
    const shown = make("span", { className: "picture" },
      make("img", { src: item.picture, alt: described(item, what) }));
    if (heat) shown.append(make("img", { src: heat, alt: "", className: "heat" }));
    return item.text ? make("span", { className: "both" }, shown, words(item, weights)) : shown;
  }

  function about(item, what, extra = "") {
    return make("p", { className: "about" },
      make("b", {}, item.label), extra ? `${extra} ` : "", make("span", { className: "row" }, `${what} ${item.row}`));
  }

  // Sounds ------------------------------------------------------------------------------------------------------------
  let playing = null;

  /** Play notes as tones of four harmonics, and return the seconds until they end. */
  function playNotes(audio, target, { notes, sixteenth }) {
    const tone = audio.createPeriodicWave(new Float32Array(5), Float32Array.from([0, 1, 0.5, 0.25, 0.12]));
    const loudness = 0.25;
    for (const [start, pitch, length] of notes) {
      const from = audio.currentTime + 0.05 + start * sixteenth, to = from + length * sixteenth;
      const source = new OscillatorNode(audio, { frequency: 440 * 2 ** ((pitch - 69) / 12), type: "custom", periodicWave: tone });
      const gain = new GainNode(audio, { gain: 0 });
      gain.gain.setValueAtTime(0, from);
      gain.gain.linearRampToValueAtTime(loudness, from + 0.01);
      gain.gain.exponentialRampToValueAtTime(loudness / 4, to);
      gain.gain.linearRampToValueAtTime(0, to + 0.08);
      source.connect(gain).connect(target);
      source.start(from);
      source.stop(to + 0.1);
    }
    return Math.max(...notes.map(([start, , length]) => start + length)) * sixteenth + 0.2;
  }

  /** Play noise whose bands follow the levels of a spectrogram, and return the seconds until it ends. */
  function playBands(audio, target, { levels, hertz, hop }) {
    const bytes = Uint8Array.from(atob(levels), (letter) => letter.charCodeAt(0));
    const frames = bytes.length / hertz.length, seconds = frames * hop;
    const noise = new AudioBuffer({ length: audio.sampleRate, sampleRate: audio.sampleRate });
    noise.getChannelData(0).forEach((_, place, samples) => { samples[place] = 2 * Math.random() - 1; });
    const source = new AudioBufferSourceNode(audio, { buffer: noise, loop: true });
    hertz.forEach((frequency, band) => {
      const width = (hertz[Math.min(band + 1, hertz.length - 1)] - hertz[Math.max(band - 1, 0)]) / 2 || frequency;
      const filter = new BiquadFilterNode(audio, { type: "bandpass", frequency, Q: frequency / width });
      const gain = new GainNode(audio, { gain: 0 });
      const curve = Float32Array.from(bytes.subarray(band * frames, (band + 1) * frames), (level) => level / 255);
      gain.gain.setValueCurveAtTime(curve, audio.currentTime + 0.05, seconds);
      source.connect(filter).connect(gain).connect(target);
    });
    source.start(audio.currentTime + 0.05);
    source.stop(audio.currentTime + 0.05 + seconds);
    return seconds + 0.1;
  }

  /** Return a button that plays the sound of an example and stops it; null for an example without a sound. */
  function player(item, what) {
    if (!item.sound) return null;
    const button = make("button", { type: "button", className: "play" }, "▶ play");
    button.setAttribute("aria-label", `play ${described(item, what)}`);
    button.addEventListener("click", () => {
      const own = playing && playing.button === button;
      if (playing) playing.stop();
      if (own) return;
      const audio = new AudioContext();
      const target = new GainNode(audio, { gain: 0.8 });
      target.connect(new DynamicsCompressorNode(audio)).connect(audio.destination);
      const seconds = (item.sound.notes ? playNotes : playBands)(audio, target, item.sound);
      const stop = () => {
        clearTimeout(timer);
        audio.close();
        button.textContent = "▶ play";
        playing = null;
      };
      const timer = setTimeout(stop, 1000 * seconds);
      button.textContent = "■ stop";
      playing = { button, stop };
    });
    return button;
  }

  function listOf(entries) {
    const list = make("ol", { className: "examples" });
    list.classList.toggle("wide", entries.some(({ item }) => item.text || item.sound?.notes));
    for (const { item, extra, framed, heat, weights, other } of entries) {
      const shown = make("li", { className: "example" }, picture(item, "example", { heat, weights }),
        about(item, "example", extra), player(item, "example"));
      if (other) shown.append(make("span", { className: "other" }, "query: ", other));
      shown.classList.toggle("framed", Boolean(framed));
      list.append(shown);
    }
    return list;
  }

  /** Return radio buttons, which the keyboard operates like one control, and call `chosen` with the index of a choice. */
  function choices(name, legend, className, contents, chosen) {
    const group = make("div", { className: "choices" });
    contents.forEach((content, index) => {
      const input = make("input", { type: "radio", name, checked: index === 0 });
      input.addEventListener("change", () => chosen(index));
      group.append(make("label", {}, input, make("span", { className: "choice" }, ...content)));
    });
    return make("fieldset", { className }, make("legend", {}, legend), group);
  }

  const signed = (score) => (score < 0 ? "−" : "+") + Math.abs(score).toFixed(2);

  function fillGallery(place) {
    const setting = place.dataset.of;
    const gallery = data.settings[setting].gallery;
    const state = { method: 0, query: 0, heat: false };
    const shown = make("div", { className: "shown" });
    shown.setAttribute("aria-live", "polite");

    /** Return the query with its own heat map for the pair with an example. */
    function ofQuery(query, { heat, weights }) {
      return heat || weights ? picture(query, "query", { heat: heat?.[0], weights: weights?.[0] }) : null;
    }

    function show() {
      const method = gallery.methods[state.method];
      const query = gallery.queries[state.query];
      const strongest = gallery.strongest[method][state.query];
      const side = (name, title, entries) => make("div", { className: name }, make("h4", {}, title),
        entries.length === 0 ? make("p", {}, "none") : listOf(entries.map((entry) => ({
          item: gallery.examples[entry.row], extra: signed(entry.score), framed: entry.surprising,
          ...(state.heat ? { heat: entry.heat?.[1], weights: entry.weights?.[1], other: ofQuery(query, entry) } : {}),
        }))));
      shown.replaceChildren(
        make("div", { className: "query" }, make("h4", {}, `Query ${query.row}`),
          picture(query, "query"), about(query, "query"), player(query, "query")),
        make("div", {}, side("proponents", `▲ Proponents by ${method}`, strongest.proponents),
          side("opponents", `▼ Opponents by ${method}`, strongest.opponents)));
    }
    place.append(
      choices(`${setting}-method`, "Method", "methods", gallery.methods.map((name) => [name]),
        (index) => { state.method = index; show(); }),
      choices(`${setting}-query`, "Query", "queries",
        gallery.queries.map((item) => [picture(item, "query"), make("span", { className: "about" }, item.label)]),
        (index) => { state.query = index; show(); }));
    const heats = Object.values(gallery.strongest).flat()
      .some((case_) => [...case_.proponents, ...case_.opponents].some((entry) => entry.heat || entry.weights));
    if (heats) {
      const box = make("input", { type: "checkbox" });
      box.addEventListener("change", () => { state.heat = box.checked; show(); });
      place.append(make("p", {}, make("label", {}, box, 
          " heat maps: by the first model, blue parts of both examples raise their score and orange parts lower it")));
    }
    place.append(shown);
    show();
  }

  function fillSuspicious(place) {
    const { gallery, suspicious } = data.settings[place.dataset.of];
    place.append(listOf(suspicious.rows.map((row) => ({
      item: gallery.examples[row], extra: suspicious.known && suspicious.known[row] ? "flipped" : "",
      framed: suspicious.known && suspicious.known[row],
    }))));
  }

  function fillEverywhere(place) {
    const { gallery, everywhere } = data.settings[place.dataset.of];
    place.append(listOf(everywhere.rows.map((row) => ({
      item: gallery.examples[row], extra: `${everywhere.counts[row]} of ${everywhere.queries} queries`,
    }))));
  }

  function fillClusters(place) {
    const { gallery, clusters } = data.settings[place.dataset.of];
    for (const group of clusters) {
      place.append(make("h4", {}, group.name));
      for (const cluster of group.clusters) {
        place.append(make("p", { className: "cluster" }, cluster.name),
          listOf(cluster.rows.map((row) => ({ item: gallery.examples[row] }))));
      }
    }
  }

  // The setting -------------------------------------------------------------------------------------------------------
  const fillers = { gallery: fillGallery, suspicious: fillSuspicious, everywhere: fillEverywhere, clusters: fillClusters };
  function showSetting() {
    const chosen = one("setting").value;
    for (const section of all("section.setting")) {
      section.hidden = section.dataset.setting !== chosen;
      if (section.hidden || section.dataset.filled) continue;
      section.dataset.filled = "yes";
      for (const [name, fill] of Object.entries(fillers)) all(`.${name}[data-of]`, section).forEach(fill);
    }
    if (filters.setting.value !== "") {
      filters.setting.value = chosen;
      fillLeaderboard();
    }
    drawVisible();
  }

  // The leaderboard ---------------------------------------------------------------------------------------------------
  const filters = { setting: one("filter-setting"), kind: one("filter-kind"), metric: one("filter-metric") };
  const rows = Object.entries(data.settings).flatMap(([setting, section]) =>
    section.rows.map((row) => ({ setting, ...row, name: section.metrics[row.metric] })));
  const names = new Map(rows.map((row) => [row.metric, row.name]));

  function options(select, values, everything) {
    const entries = everything ? [["", everything], ...values] : values;
    select.replaceChildren(...entries.map(([value, text]) => make("option", { value }, text)));
  }
  const pairs = (values) => [...new Set(values)].map((value) => [value, value]);
  options(filters.setting, pairs(Object.keys(data.settings)), "all");
  options(filters.kind, pairs(rows.map((row) => row.kind).sort()), "all");
  options(filters.metric, [...names], "all");
  filters.setting.value = one("setting").value;
  filters.metric.value = names.keys().next().value ?? "";

  const number = (value, digits = 3) => value?.toFixed(digits).replace("-", "−") ?? "–";
  function seconds(value) {
    if (value < 120) return `${value < 9.95 ? Number(value.toPrecision(2)) : Math.round(value)} s`;
    return value < 7200 ? `${Math.round(value / 60)} min` : `${(value / 3600).toFixed(1)} h`;
  }
  const mebibytes = (value) => (value < 1024 ? `${value < 10 ? value.toFixed(1) : Math.round(value)} MiB`
    : `${(value / 1024).toFixed(1)} GiB`);

  function cell(value, text, tag = "td") {
    const shown = make(tag, {}, value === null || value === undefined ? "–" : text(value));
    if (typeof value !== "string") {
      shown.className = "number";
      shown.dataset.sort = value === null || value === undefined ? "" : value;
    }
    return shown;
  }

  function rowOf(row) {
    const method = cell(row.method, String, "th");
    method.scope = "row";
    if (row.note) method.title = row.note;
    const ratio = row.metric === "lds" && row.ceiling ? row.value / row.ceiling : null;
    const shown = make("tr", { className: row.rank === 1 ? "first" : "" },
      cell(row.rank, () => row.shown_rank), cell(row.setting, String), method, cell(row.kind, String),
      Object.assign(cell(row.name, String), { title: data.settings[row.setting].meanings?.[row.metric] ?? "" }),
      cell(row.value, (value) => `${number(value)} [${number(row.ci_low)}, ${number(row.ci_high)}]`),
      cell(ratio, (value) => `${number(100 * value, 0)} %`), cell(row.attribution_seconds, seconds),
      cell(row.total_seconds, seconds), cell(row.peak_memory_mib, mebibytes),
      cell(row.bytes === undefined || row.bytes === null ? null : row.bytes / 2 ** 20, mebibytes));
    return shown;
  }

  const selected = () => rows.filter((row) => Object.entries(filters)
    .every(([name, select]) => select.value === "" || row[name] === select.value));
  const table = one("leaderboard-table");
  let sorter = null;

  function fillLeaderboard() {
    const shown = selected();
    table.tBodies[0].replaceChildren(...shown.map(rowOf));
    // A column with one value says nothing that the filter above it does not say.
    for (const name of ["setting", "metric"]) table.classList.toggle(`one-${name}`, filters[name].value !== "");
    const meant = Object.values(data.settings).map((section) => section.meanings?.[filters.metric.value]).find(Boolean);
    one("leaderboard-meaning").textContent = meant ?? "";
    one("leaderboard-count").value = `${shown.length} row${shown.length === 1 ? "" : "s"}`;
    if (sorter) sorter.refresh();
  }
  const sortable = (text) => (text === "" ? -Infinity : Number(text));
  Tablesort.extend("value", () => false, (a, b) => Math.sign(sortable(b) - sortable(a)) || 0);
  fillLeaderboard();
  sorter = new Tablesort(table);
  // The button in a heading is what the keyboard reaches; a second stop at the heading itself would be one too many.
  all("th", table.tHead).forEach((heading) => heading.removeAttribute("tabindex"));
  Object.values(filters).forEach((select) => select.addEventListener("change", fillLeaderboard));
  one("leaderboard-csv").addEventListener("click", () => {
    const columns = ["setting", "method", "kind", "metric", "value", "ci_low", "ci_high", "ceiling", "rank",
      "attribution_seconds", "total_seconds", "peak_memory_mib", "bytes", "note"];
    save("leaderboard.csv", "text/csv", toCsv(columns, selected()));
  });

  one("setting").addEventListener("change", showSetting);
  showSetting();
})();
