"use strict";
// Figures as inline SVG: axes, lines with bands, names at the lines' ends, a read-out under the pointer or by arrow keys.
const SVG = "http://www.w3.org/2000/svg";
const HUES = 8, DASHES = ["", "7 4", "2 4", "9 3 2 3"];

function node(name, attributes = {}, ...children) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

function element(name, className, ...children) {
  const made = document.createElement(name);
  if (className) made.className = className;
  made.append(...children);
  return made;
}

function shown(value) {
  if (value === 0) return "0";
  const size = Math.abs(value);
  for (const [unit, factor] of [["E", 1e18], ["P", 1e15], ["T", 1e12], ["G", 1e9], ["M", 1e6]])
    if (size >= factor) return `${+(value / factor).toPrecision(3)} ${unit}`;
  if (size < 1e-4) return value.toExponential(1);
  return String(+value.toPrecision(4));
}

// Round numbers between two values, about as many as wanted.
function linearTicks(low, high, wanted) {
  const power = 10 ** Math.floor(Math.log10((high - low) / wanted));
  const count = (step) => Math.floor(high / step + 1e-9) - Math.ceil(low / step - 1e-9) + 1;
  const steps = [1, 2, 2.5, 5, 10].map((m) => m * power);
  const step = steps.reduce((best, s) => (Math.abs(count(s) - wanted) < Math.abs(count(best) - wanted) ? s : best));
  const ticks = [];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + step * 1e-9; k++) ticks.push(+(k * step).toPrecision(12));
  return ticks;
}

function logTicks(low, high) {
  const decades = Math.log10(high / low), parts = decades > 3 ? [1] : decades > 1 ? [1, 3] : [1, 1.5, 2, 3, 5, 7];
  const ticks = [];
  for (let e = Math.floor(Math.log10(low)); e <= Math.ceil(Math.log10(high)); e++)
    for (const part of parts) {
      const tick = +(part * 10 ** e).toPrecision(6);
      if (tick >= low * 0.999 && tick <= high * 1.001) ticks.push(tick);
    }
  return ticks;
}

function scale(low, high, from, to, log) {
  const f = log ? Math.log : (v) => v, a = f(low), b = f(high);
  return (value) => from + ((f(value) - a) / (b - a || 1)) * (to - from);
}

// Keep labels of a height apart: push down in order, then up from the bottom where they ran out.
function spreadOut(labels, top, bottom, height) {
  labels.sort((a, b) => a.y - b.y);
  let last = top - height;
  for (const label of labels) last = label.place = Math.max(label.y, last + height);
  let limit = bottom;
  for (const label of [...labels].reverse()) { label.place = Math.min(label.place, limit); limit = label.place - height; }
}

function drawChart(host, chart) {
  const svg = host.querySelector("svg"), tip = host.querySelector(".tip");
  const width = Math.max(280, Math.round(svg.parentNode.clientWidth - 36) || 520), height = host.classList.contains("wide") ? 360 : 250;
  const log = host.dataset.log === "1", logX = Boolean(chart.logx), single = chart.series.length === 1;
  const names = chart.series.map((s) => (single ? shown(s.points.at(-1)[1]) : s.label));
  const longest = Math.max(...names.map((n) => n.length));
  const box = { left: 50, right: width - Math.min(width * 0.34, 16 + longest * 6.9), top: 10, bottom: height - 40 };
  const xs = [...new Set(chart.series.flatMap((s) => s.points.map((p) => p[0])))].sort((a, b) => a - b);
  let ys = chart.series.flatMap((s) => [...s.points.map((p) => p[1]), ...s.band.flatMap((b) => [b[1], b[2]])]);
  if (chart.floor !== null && chart.floor !== undefined && !(log && chart.floor <= 0)) ys.push(chart.floor);
  if (log) ys = ys.filter((y) => y > 0);
  let [low, high] = [Math.min(...ys), Math.max(...ys)];
  if (low === high) { low -= Math.abs(low) * 0.1 || 1; high += Math.abs(high) * 0.1 || 1; }
  else if (log) { low /= 1.06; high *= 1.06; }
  else { const pad = (high - low) * 0.06; low = low >= 0 && low - pad < 0 ? 0 : low - pad; high += pad; }
  let [first, final] = [xs[0], xs.at(-1)];
  if (!logX) first = Math.min(first, 0);
  if (first === final) final = first + 1;
  const x = scale(first, final, box.left, box.right, logX), y = scale(low, high, box.bottom, box.top, log);

  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.replaceChildren();
  for (const tick of log ? logTicks(low, high) : linearTicks(low, high, 5)) {
    svg.append(node("line", { class: "grid", x1: box.left, x2: box.right, y1: y(tick), y2: y(tick) }));
    svg.append(node("text", { x: box.left - 8, y: y(tick) + 4, "text-anchor": "end" }, shown(tick)));
  }
  for (const tick of logX ? logTicks(first, final) : linearTicks(first, final, Math.max(3, Math.floor(width / 110))))
    svg.append(node("text", { x: x(tick), y: box.bottom + 18, "text-anchor": "middle" }, shown(tick)));
  svg.append(node("line", { class: "axis", x1: box.left, x2: box.right, y1: box.bottom, y2: box.bottom }));
  svg.append(node("text", { x: (box.left + box.right) / 2, y: height - 5, "text-anchor": "middle" }, chart.x || "kimg"));

  const labels = [];
  chart.series.forEach((series, i) => {
    const points = series.points.filter((p) => !log || p[1] > 0), hue = `c${i % HUES}`;
    if (!points.length) return;
    const part = node("g", { class: `series ${hue}`, "data-i": i });
    if (series.band.length > 1) {
      const edge = (k, list) => list.map((b) => `${x(b[0])} ${y(Math.max(b[k], log ? low : -Infinity))}`).join("L");
      part.append(node("path", { class: "band", d: `M${edge(2, series.band)}L${edge(1, [...series.band].reverse())}Z` }));
    }
    const dash = DASHES[Math.floor(i / HUES) % DASHES.length];
    part.append(node("path", { class: "curve", "stroke-dasharray": dash, d: "M" + points.map((p) => `${x(p[0])} ${y(p[1])}`).join("L") }));
    if (points.length <= 40) for (const p of points) part.append(node("circle", { class: "dot", cx: x(p[0]), cy: y(p[1]), r: 3.4 }));
    svg.append(part);
    labels.push({ part, at: x(points.at(-1)[0]), y: y(points.at(-1)[1]), text: names[i] });
  });
  spreadOut(labels, box.top + 6, box.bottom, 15);
  for (const label of labels) {
    const from = box.right + 4;
    if (Math.abs(label.place - label.y) > 3 || label.at < box.right - 1)
      label.part.append(node("line", { class: "leader", x1: label.at + 4, y1: label.y, x2: from + 5, y2: label.place }));
    label.part.append(node("text", { class: "end", x: from + 8, y: label.place + 4 }, label.text));
  }
  if (chart.floor !== null && chart.floor !== undefined && !(log && chart.floor <= 0)) {
    const level = y(chart.floor), above = level - 6 > box.top + 8;
    svg.append(node("line", { class: "floorline", x1: box.left, x2: box.right, y1: level, y2: level }));
    svg.append(node("text", { class: "floor", x: box.left + 6, y: above ? level - 6 : level + 15 }, `floor ${shown(chart.floor)}`));
  }
  const now = node("line", { class: "now", x1: 0, x2: 0, y1: box.top, y2: box.bottom, visibility: "hidden" });
  const rule = node("line", { class: "rule", x1: 0, x2: 0, y1: box.top, y2: box.bottom, visibility: "hidden" });
  const dots = chart.series.map((_, i) => node("circle", { class: `dot c${i % HUES}`, r: 4.5, visibility: "hidden" }));
  svg.append(now, rule, ...dots);

  host.mark = (kimg) => {
    const inside = kimg >= first && kimg <= final && (chart.x || "kimg") === "kimg";
    now.setAttribute("visibility", inside ? "visible" : "hidden");
    if (inside) { now.setAttribute("x1", x(kimg)); now.setAttribute("x2", x(kimg)); }
  };
  const hide = () => {
    tip.hidden = true; host.at = undefined; host.classList.remove("dim");
    for (const part of [rule, ...dots]) part.setAttribute("visibility", "hidden");
  };
  const show = (index) => {
    host.at = index;
    const at = xs[index], rows = [];
    rule.setAttribute("visibility", "visible"); rule.setAttribute("x1", x(at)); rule.setAttribute("x2", x(at));
    chart.series.forEach((series, i) => {
      const point = series.points.find((p) => p[0] === at);
      dots[i].setAttribute("visibility", point && (!log || point[1] > 0) ? "visible" : "hidden");
      if (!point) return;
      dots[i].setAttribute("cx", x(at)); dots[i].setAttribute("cy", y(point[1]));
      const band = series.band.find((b) => b[0] === at);
      const range = band ? ` (${shown(band[1])} to ${shown(band[2])})` : "";
      rows.push([point[1], element("div", `c${i % HUES}`, element("i", "", series.label), element("span", "", shown(point[1]) + range))]);
    });
    rows.sort((a, b) => b[0] - a[0]);
    tip.replaceChildren(element("b", "", `${shown(at)} ${chart.x === "training FLOPs" ? "FLOP" : chart.x || "kimg"}`), ...rows.map((r) => r[1]));
    tip.hidden = false;
    const inside = svg.getBoundingClientRect(), outside = host.getBoundingClientRect(), side = tip.offsetWidth;
    const middle = inside.left - outside.left + x(at) * (inside.width / width);
    tip.style.left = `${middle + 14 + side > host.clientWidth ? Math.max(4, middle - 14 - side) : middle + 14}px`;
    tip.style.top = `${inside.top - outside.top + 8}px`;
  };
  svg.onpointermove = (event) => {
    const bounds = svg.getBoundingClientRect(), place = ((event.clientX - bounds.left) / bounds.width) * width;
    let nearest = 0;
    xs.forEach((value, i) => { if (Math.abs(x(value) - place) < Math.abs(x(xs[nearest]) - place)) nearest = i; });
    show(nearest);
  };
  svg.onpointerleave = hide;
  svg.onblur = hide;
  svg.onkeydown = (event) => {
    const last = xs.length - 1, at = host.at ?? -1;
    const next = { ArrowRight: Math.min(last, at + 1), ArrowLeft: at < 0 ? last : Math.max(0, at - 1), Home: 0, End: last }[event.key];
    if (event.key === "Escape") hide();
    if (next === undefined) return;
    event.preventDefault();
    show(next);
  };
  for (const part of svg.querySelectorAll(".series")) {
    part.onpointerenter = () => { if (!single) { host.classList.add("dim"); part.classList.add("lit"); } };
    part.onpointerleave = () => { host.classList.remove("dim"); part.classList.remove("lit"); };
  }
  hide();
}

// Every seed a dot, the mean a stroke, its standard deviation a soft bar behind; a row for each variant.
function drawStrip(host, strip) {
  const svg = host.querySelector("svg"), rowHeight = 30;
  const width = Math.max(280, Math.round(svg.parentNode.clientWidth - 36) || 520), height = strip.rows.length * rowHeight + 52;
  const left = Math.min(width * 0.4, 18 + Math.max(...strip.rows.map((r) => r.label.length)) * 7.2), right = width - 70;
  const all = strip.rows.flatMap((r) => [...r.values, r.mean + (r.std || 0), r.mean - (r.std || 0)]);
  if (strip.floor !== null && strip.floor !== undefined) all.push(strip.floor);
  let [low, high] = [Math.min(...all), Math.max(...all)];
  const pad = (high - low || Math.abs(high) || 1) * 0.06;
  low = low >= 0 && low - pad < 0 ? 0 : low - pad; high += pad;
  const x = scale(low, high, left, right, false), bottom = strip.rows.length * rowHeight + 12;
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.replaceChildren();
  for (const tick of linearTicks(low, high, Math.max(3, Math.floor((right - left) / 90)))) {
    svg.append(node("line", { class: "grid", x1: x(tick), x2: x(tick), y1: 4, y2: bottom }));
    svg.append(node("text", { x: x(tick), y: bottom + 17, "text-anchor": "middle" }, shown(tick)));
  }
  if (strip.floor !== null && strip.floor !== undefined) {
    svg.append(node("line", { class: "floorline", x1: x(strip.floor), x2: x(strip.floor), y1: 4, y2: bottom }));
    svg.append(node("text", { class: "floor", x: x(strip.floor), y: bottom + 34, "text-anchor": "middle" }, "floor"));
  }
  strip.rows.forEach((row, i) => {
    const y = 10 + (i + 0.5) * rowHeight, part = node("g", { class: `c${i % HUES}` });
    part.append(node("text", { class: "end", x: left - 14, y: y + 4, "text-anchor": "end" }, row.label));
    if (row.std) part.append(node("line", { class: "spread", x1: x(row.mean - row.std), x2: x(row.mean + row.std), y1: y, y2: y }));
    for (const value of row.values) part.append(node("circle", { class: "seed", cx: x(value), cy: y, r: 4.6 }));
    part.append(node("line", { class: "mean", x1: x(row.mean), x2: x(row.mean), y1: y - 9, y2: y + 9 }));
    part.append(node("text", { class: row.mark === "best" ? "end" : "", x: right + 10, y: y + 4 }, shown(row.mean)));
    svg.append(part);
  });
}
