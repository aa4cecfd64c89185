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
  const described = (item, what) => `${what} ${item.row}, label ${item.label}`;

  function picture(item, what, heat = null) {
    if (!item.picture) return make("p", { className: "words", title: item.text }, item.text);
    const shown = make("span", { className: "picture" },
      make("img", { src: item.picture, alt: described(item, what) }));
    if (heat) shown.append(make("img", { src: heat, alt: "", className: "heat" }));
    return shown;
  }

  function about(item, what, extra = "") {
    return make("p", { className: "about" },
      make("b", {}, item.label), extra ? `${extra} ` : "", make("span", { className: "row" }, `${what} ${item.row}`));
  }

  function listOf(entries) {
    const list = make("ol", { className: "examples" });
    list.classList.toggle("wide", entries.some(({ item }) => !item.picture));
    for (const { item, extra, framed, heat } of entries) {
      const shown = make("li", { className: "example" }, picture(item, "example", heat), about(item, "example", extra));
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

    function show() {
      const method = gallery.methods[state.method];
      const query = gallery.queries[state.query];
      const strongest = gallery.strongest[method][state.query];
      const side = (name, title, entries) => make("div", { className: name }, make("h4", {}, title),
        entries.length === 0 ? make("p", {}, "none") : listOf(entries.map((entry) => ({
          item: gallery.examples[entry.row], extra: signed(entry.score), framed: entry.surprising,
          heat: state.heat && entry.heat ? entry.heat[1] : null,
        }))));
      const first = [...strongest.proponents, ...strongest.opponents].find((entry) => entry.heat);
      shown.replaceChildren(
        make("div", { className: "query" }, make("h4", {}, `Query ${query.row}`),
          picture(query, "query", state.heat && first ? first.heat[0] : null), about(query, "query")),
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
      .some((case_) => [...case_.proponents, ...case_.opponents].some((entry) => entry.heat));
    if (heats) {
      const box = make("input", { type: "checkbox" });
      box.addEventListener("change", () => { state.heat = box.checked; show(); });
      place.append(make("p", {}, make("label", {}, box, " heat maps: the parts of both that make the score")));
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

  function fillClusters(place) {
    const { gallery, clusters } = data.settings[place.dataset.of];
    for (const cluster of clusters) {
      place.append(make("h4", {}, cluster.name), listOf(cluster.rows.map((row) => ({ item: gallery.examples[row] }))));
    }
  }

  // The setting -------------------------------------------------------------------------------------------------------
  const fillers = { gallery: fillGallery, suspicious: fillSuspicious, clusters: fillClusters };
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

  const number = (value, digits = 3) => value.toFixed(digits).replace("-", "−");
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
      cell(row.name, String),
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
