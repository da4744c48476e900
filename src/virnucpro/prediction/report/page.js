"use strict";
// What pictures say when pointed at; the table's order, filters and tracks. Text goes into the page
// as text only, never as markup.

document.documentElement.classList.add("has-script");

const STEP = 25;
const SVG = "http://www.w3.org/2000/svg";
const thousands = new Intl.NumberFormat("en").format;

// Pictures -----------------------------------------------------------------------------------

const tip = document.getElementById("tip");

function say(text, event) {
  tip.hidden = !text;
  if (!text) return;
  tip.textContent = text;
  const { width, height } = tip.getBoundingClientRect();
  const left = Math.min(Math.max(8, event.clientX - width / 2), innerWidth - width - 8);
  const above = event.clientY - height - 12;
  tip.style.left = `${left}px`;
  tip.style.top = `${above < 4 ? event.clientY + 18 : above}px`;
}

document.addEventListener("pointermove", (event) => {
  const mark = event.target.closest("path[data-tip]");
  say(mark ? mark.dataset.tip : "", event);
});
document.addEventListener("pointerleave", () => say(""));
document.addEventListener("scroll", () => say(""), { passive: true });

// The tables ---------------------------------------------------------------------------------

for (const table of document.querySelectorAll("table.listing")) {
  const section = table.closest("section");
  const body = table.tBodies[0];
  const rows = Array.from(body.rows, readRow);
  const field = (name) => section.querySelector(`.filters [name=${name}]`);
  const more = section.querySelector(".more");
  let shown = STEP;

  function readRow(element) {
    const values = {};
    for (const cell of element.cells) {
      const { of, value } = cell.dataset;
      if (of) values[of] = value === undefined ? cell.textContent.trim() : value;
    }
    return { element, values, opener: element.querySelector("button.open"), track: null };
  }

  function matches(row, asked) {
    return row.values.record.toLowerCase().includes(asked.text)
      && Number(row.values.length) >= asked.length
      && Number(row.values.score) >= asked.score
      && (!asked.track || row.opener !== null);
  }

  function refresh() {
    const asked = {
      text: field("text").value.toLowerCase(),
      length: Number(field("length").value),
      score: Number(field("score").value),
      track: field("track") !== null && field("track").checked,
    };
    let found = 0;
    for (const row of rows) {
      const isShown = matches(row, asked) && ++found <= shown;
      row.element.hidden = !isShown;
      if (row.track) row.track.hidden = !isShown || row.opener.ariaExpanded !== "true";
    }
    const some = found > shown ? `${shown} of ${thousands(found)} shown` : `${found} shown`;
    section.querySelector("output").textContent = found ? some : "none matches";
    more.hidden = found <= shown;
  }

  function sortBy(button) {
    const header = button.closest("th");
    const { key, kind } = button.dataset;
    const first = kind === "text" || ["rank", "fdr", "start"].includes(key) ? "ascending" : "descending";
    const second = first === "ascending" ? "descending" : "ascending";
    const order = header.ariaSort === first ? second : first;
    for (const other of header.parentElement.cells) {
      if (other.hasAttribute("aria-sort")) other.ariaSort = other === header ? order : "none";
    }
    const sign = order === "ascending" ? 1 : -1;
    const collator = new Intl.Collator("en", { numeric: true });
    rows.sort((a, b) => {
      const [x, y] = [a.values[key], b.values[key]];
      const difference = kind === "text" ? collator.compare(x, y) : (Number(x) || 0) - (Number(y) || 0);
      return sign * difference || Number(a.values.rank) - Number(b.values.rank);
    });
    for (const row of rows) body.append(row.element, ...(row.track ? [row.track] : []));
    shown = STEP;
    refresh();
  }

  function toggle(row) {
    const isOpen = row.opener.ariaExpanded !== "true";
    row.opener.ariaExpanded = String(isOpen);
    if (isOpen && !row.track) {
      row.track = trackRow(row);
      row.element.after(row.track);
    }
    row.track.hidden = !isOpen;
  }

  for (const button of table.querySelectorAll("th button")) {
    button.addEventListener("click", () => sortBy(button));
  }
  for (const row of rows) row.opener?.addEventListener("click", () => toggle(row));
  for (const input of section.querySelectorAll(".filters input")) {
    input.addEventListener("input", () => { shown = STEP; refresh(); });
  }
  section.querySelector(".filters").addEventListener("submit", (event) => event.preventDefault());
  more.addEventListener("click", () => { shown += 2 * STEP; refresh(); });
  addEventListener("beforeprint", () => { shown = rows.length; refresh(); });
  addEventListener("afterprint", () => { shown = STEP; refresh(); });
  table.querySelector('[data-key="rank"]').closest("th").ariaSort = "ascending";
  refresh();
}

// Tracks: scores along a record, [start, end, score or null] each, and its regions -------------

let tracks = null;

function trackRow({ element, opener, values }) {
  tracks ??= JSON.parse(document.getElementById("tracks").textContent);
  const row = document.createElement("tr");
  row.className = "track";
  const cell = row.insertCell();
  cell.colSpan = element.cells.length;
  cell.append(trackFigure(tracks[opener.dataset.track], values));
  row.id = `${element.id}-track`;
  opener.setAttribute("aria-controls", row.id);
  return row;
}

function make(name, attributes, parent) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  parent?.append(element);
  return element;
}

function trackFigure({ points, regions }, values) {
  const figure = document.createElement("figure");
  const caption = document.createElement("figcaption");
  caption.textContent = `Score along ${values.record}`;
  const svg = make("svg", { tabindex: 0, role: "img" });
  const line = document.createElement("p");
  line.setAttribute("aria-live", "polite");
  const high = points.filter(([, , score]) => score > 0.5).length;
  const scored = points.filter(([, , score]) => score !== null).length;
  const shaded = regions.map((region) => region.map(thousands).join(" to ")).join(", ");
  const inside = regions.length ? `Viral regions, shaded: ${shaded}. ` : "";
  const summary = `${high} of ${scored} stretches score above 0.5. ${inside}`;
  const help = "Point at the track, or use the arrow keys.";
  svg.setAttribute("aria-label", `Score along ${values.record}: ${summary}`);
  line.textContent = summary + help;
  figure.append(caption, svg, line);
  let at = -1;
  const tell = (index) => {
    at = Math.min(Math.max(index, 0), points.length - 1);
    const [start, end, score] = points[at];
    const what = score === null ? "unscored" : `score ${score.toFixed(3)}`;
    line.textContent = `Bases ${thousands(start)} to ${thousands(end)}: ${what}`;
    draw();
  };
  const draw = () => drawTrack(svg, points, regions, at);
  svg.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (step) { event.preventDefault(); tell(at + step); }
  });
  svg.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect();
    const base = baseAt(event.clientX - box.left, box.width, points.at(-1)[1]);
    tell(points.findIndex(([, end]) => base < end));
  });
  svg.addEventListener("pointerleave", () => { at = -1; line.textContent = summary + help; draw(); });
  new ResizeObserver(draw).observe(svg);
  return figure;
}

const EDGE = { left: 34, right: 26, top: 8, bottom: 24 };

function baseAt(x, width, length) {
  const share = (x - EDGE.left) / (width - EDGE.left - EDGE.right);
  return Math.min(Math.max(share, 0), 1 - 1e-9) * length;
}

function drawTrack(svg, points, regions, at) {
  const width = svg.clientWidth || 900, height = svg.clientHeight || 170;
  const length = points.at(-1)[1];
  const x = (base) => EDGE.left + base / length * (width - EDGE.left - EDGE.right);
  const y = (score) => EDGE.top + (1 - score) * (height - EDGE.top - EDGE.bottom);
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.replaceChildren();
  for (const [start, end] of regions) {
    make("rect", { x: x(start), width: x(end) - x(start), y: y(1), height: y(0) - y(1), class: "region" }, svg);
  }
  const across = (score, kind) =>
    make("line", { x1: EDGE.left, x2: width - EDGE.right, y1: y(score), y2: y(score), class: kind }, svg);
  for (const score of [0, 0.5, 1]) {
    across(score, "grid");
    make("text", { x: EDGE.left - 6, y: y(score) + 4, "text-anchor": "end" }, svg).textContent = score;
  }
  for (const base of ticks(length, width)) {
    make("line", { x1: x(base), x2: x(base), y1: y(0), y2: y(0) + 4, class: "grid" }, svg);
    make("text", { x: x(base), y: height - 6, "text-anchor": "middle" }, svg).textContent = thousands(base);
  }
  // Chunks overlap a little: each is drawn up to where the next one starts.
  points.forEach(([start, end, score], i) => {
    if (score === null) return;
    const left = x(start), right = x(i + 1 < points.length ? points[i + 1][0] : end);
    make("rect", {
      x: left, width: Math.max(0.5, right - left - (right - left > 4 ? 1 : 0)),
      y: y(score), height: Math.max(1, y(0) - y(score)), class: score > 0.5 ? "virus" : "other",
    }, svg);
  });
  across(0.5, "half");
  if (at >= 0) {
    const middle = x((points[at][0] + points[at][1]) / 2);
    make("line", { x1: middle, x2: middle, y1: EDGE.top, y2: y(0), class: "cursor" }, svg);
  }
}

function ticks(length, width) {
  const wanted = length / Math.max(2, width / 110);
  const power = 10 ** Math.floor(Math.log10(wanted));
  const step = Math.max(1, power * [1, 2, 5, 10].find((m) => m * power >= wanted));
  return Array.from({ length: Math.floor(length / step) + 1 }, (_, i) => i * step);
}
