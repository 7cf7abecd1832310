"use strict";
// The page is whole without this script. It adds: sorting, values under a pointer or at the keyboard, and the choice of a channel.
document.documentElement.classList.add("live");
const SVG = "http://www.w3.org/2000/svg";
const said = (value) => (value === null || value === undefined ? "—" : String(value).replace("-", "−").replace("e−", "e-"));

function element(parent, name, attributes) {
  const made = parent.appendChild(document.createElementNS(SVG, name));
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

// A heading sorts by its column, best first; the second time the other way round. Cells without a value stay last.
function sortable(heading) {
  const button = document.createElement("button");
  button.type = "button";
  button.append(...heading.childNodes);
  heading.append(button);
  button.addEventListener("click", () => {
    const column = heading.cellIndex;
    const first = heading.dataset.first;
    const other = first === "ascending" ? "descending" : "ascending";
    const order = heading.getAttribute("aria-sort") === first ? other : first;
    for (const each of heading.parentNode.cells) each.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", order);
    const sign = order === "ascending" ? 1 : -1;
    const value = (row) => row.cells[column].dataset.value;
    const body = heading.closest("table").tBodies[0];
    const rows = [...body.rows].sort((a, b) => {
      const [x, y] = [value(a), value(b)];
      if (x === "" || y === "") return (x === "") - (y === "");
      const [p, q] = [Number(x), Number(y)];
      return sign * (Number.isNaN(p) || Number.isNaN(q) ? x.localeCompare(y) : p - q);
    });
    body.append(...rows);
  });
}

// What a chart can show at the place of its cursor: `count` places, the nearest one to a point of the chart, and how to show one.
function lines(figure, svg, stored) {
  const [left, top, width, height] = stored.box;
  const across = ([low, high, log]) => (log ? (v) => Math.log(v / low) / Math.log(high / low) : (v) => (v - low) / (high - low));
  const [x, y] = [across(stored.x), across(stored.y)];
  const cursor = element(svg, "g", { class: "cursor" });
  const rule = element(cursor, "path", {});
  const dots = stored.colors.map((color) => element(cursor, "circle", { r: 4, style: `--c:var(${color})` }));
  const [at, values] = [figure.querySelector(".at"), figure.querySelectorAll(".value")];
  const chart = {
    set: stored.sets[0],
    rest: [at, ...values].map((node) => node.textContent),
    first: () => chart.set[0],
    count: () => (chart.set[1] || []).length,
    nearest(px) {
      const places = stored.at.slice(chart.first(), chart.first() + chart.count()).map((v) => Math.abs(left + width * x(v) - px));
      return places.indexOf(Math.min(...places));
    },
    show(index) {
      const here = stored.at[chart.first() + index];
      const px = left + width * x(here);
      rule.setAttribute("d", `M${px} ${top}v${height}`);
      at.textContent = said(here);
      const told = stored.names.map((name, k) => {
        const value = chart.set[k + 1][index];
        const py = value === null ? NaN : top + height * (1 - y(value));
        const inside = py >= top - 1 && py <= top + height + 1;
        dots[k].setAttribute("visibility", inside ? "inherit" : "hidden");
        if (inside) for (const [key, v] of [["cx", px], ["cy", py]]) dots[k].setAttribute(key, v);
        values[k].textContent = said(value);
        return `${name} ${said(value)}`;
      });
      return `${stored.unit} ${said(here)}: ${told.join(", ")}`;
    },
    hide() {
      [at, ...values].forEach((node, k) => { node.textContent = chart.rest[k]; });
    },
    cursor,
  };
  return chart;
}

function points(figure, svg, stored) {
  const cursor = element(svg, "g", { class: "cursor" });
  const ring = element(cursor, "circle", { class: "ring", r: 7 });
  const out = figure.querySelector(".readout");
  const rest = out.firstElementChild;
  return {
    cursor,
    count: () => stored.points.length,
    nearest(px, py) {
      const far = stored.points.map(([x, y]) => Math.hypot(x - px, y - py));
      return far.indexOf(Math.min(...far));
    },
    show(index) {
      const [x, y, color, told] = stored.points[index];
      for (const [key, v] of [["cx", x], ["cy", y], ["style", `--c:var(${color})`]]) ring.setAttribute(key, v);
      out.textContent = told;
      return told;
    },
    hide() { out.replaceChildren(rest); },
  };
}

// A chart becomes a slider for the keyboard and for screen readers, which speak its value text.
function readable(figure) {
  const svg = figure.querySelector("svg.chart");
  const stored = JSON.parse(figure.querySelector("script").textContent);
  const chart = { lines, points }[figure.dataset.chart](figure, svg, stored);
  let here = null;
  const show = (index) => {
    const last = chart.count() - 1;
    if (last < 0) return;
    here = Math.max(0, Math.min(last, index));
    const told = chart.show(here);
    chart.cursor.classList.add("on");
    for (const [key, v] of [["valuemax", last], ["valuenow", here], ["valuetext", told]]) svg.setAttribute(`aria-${key}`, v);
  };
  const hide = () => {
    chart.cursor.classList.remove("on");
    chart.hide();
  };
  const point = (event) => {
    const place = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
    show(chart.nearest(place.x, place.y));
  };
  for (const [key, v] of [["role", "slider"], ["tabindex", 0], ["aria-valuemin", 0], ["aria-valuemax", Math.max(0, chart.count() - 1)],
    ["aria-valuenow", 0], ["aria-valuetext", "use the arrow keys"]]) svg.setAttribute(key, v);
  svg.addEventListener("pointermove", point);
  svg.addEventListener("pointerdown", point);
  svg.addEventListener("pointerleave", (event) => { if (event.pointerType === "mouse" && document.activeElement !== svg) hide(); });
  svg.addEventListener("focus", () => { if (svg.matches(":focus-visible")) show(here ?? 0); });
  svg.addEventListener("blur", hide);
  svg.addEventListener("keydown", (event) => {
    const page = Math.max(1, Math.round(chart.count() / 10));
    const moves = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1, PageUp: page, PageDown: -page, Home: -Infinity, End: Infinity };
    if (!(event.key in moves) || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    show((here ?? 0) + moves[event.key]);
  });
  return { svg, stored, chart, hide, forget: () => { here = null; } };
}

// A neighbour's button brings its channel to the large chart.
function choosable(article, large) {
  const buttons = [...article.querySelectorAll(".channels button")];
  const captions = article.querySelectorAll(".formula");
  buttons.forEach((button, index) => button.addEventListener("click", () => {
    buttons.forEach((each, k) => each.setAttribute("aria-pressed", k === index));
    captions.forEach((each, k) => { each.hidden = k !== index; });
    for (const use of large.svg.querySelectorAll("use:not(.other)")) use.setAttribute("href", use.getAttribute("href").replace(/\d+$/, index));
    large.svg.setAttribute("aria-label", button.getAttribute("aria-label"));
    large.chart.set = large.stored.sets[index];
    large.forget();
    large.hide();
  }));
}

for (const heading of document.querySelectorAll("table.sortable th[data-first]")) sortable(heading);
for (const figure of document.querySelectorAll("figure[data-chart]")) {
  const made = readable(figure);
  const article = figure.closest("article");
  if (article) choosable(article, made);
}
