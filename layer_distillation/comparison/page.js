"use strict";
// Draws what the page's data say, sorts its tables. Every number drawn stands in a table too, which needs no script.
const data = JSON.parse(document.getElementById("data").textContent);
const colours = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8a949c"];
const dashes = ["", "7 4", "2 4", "9 3 2 3"];

function draw(parent, name, attributes = {}, text = "") {
  const node = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (text !== "") node.textContent = text;
  parent.append(node);
  return node;
}

function begin(holder, width, height, label) {
  holder.replaceChildren();
  return draw(holder, "svg", {viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label});
}

function chooseTicks(low, high, count) {
  const raw = (high - low) / count || 1, power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map(factor => factor * power).find(value => value >= raw);
  const ticks = [];
  for (let tick = Math.ceil(low / step - 1e-9) * step; tick <= high + step * 1e-9; tick += step) ticks.push(tick);
  const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
  return ticks.map(tick => [tick, tick.toFixed(Math.min(digits, 6))]);
}

function shorten(name, most) {
  return name.length > most ? name.slice(0, most - 1) + "…" : name;
}

function drawIntervals(unit, holder) {
  const narrow = holder.clientWidth < 560, width = narrow ? 400 : 900, left = narrow ? 12 : 230, right = width - 60;
  const step = narrow ? 46 : 32, shift = narrow ? 38 : 20, height = unit.arms.length * step + shift + 34;
  const known = unit.arms.flatMap(arm => [arm.low, arm.high, ...arm.seeds.map(seed => seed.score)]);
  if (unit.teacher !== null) known.push(unit.teacher);
  let low = Math.min(...known), high = Math.max(...known);
  const room = (high - low || 0.1) * 0.04;
  low -= room; high += room;
  const x = value => left + (value - low) / (high - low) * (right - left);
  const svg = begin(holder, width, height, `${unit.metric} of every start with its 95 % interval, as in the table above`);
  for (const [tick, text] of chooseTicks(low, high, narrow ? 5 : 7)) {
    draw(svg, "line", {class: "grid", x1: x(tick), x2: x(tick), y1: 0, y2: height - 28});
    draw(svg, "text", {class: "tick", x: x(tick), y: height - 10, "text-anchor": "middle"}, text);
  }
  if (unit.teacher !== null) {
    draw(svg, "line", {class: "teacher", x1: x(unit.teacher), x2: x(unit.teacher), y1: 0, y2: height - 28});
    draw(svg, "text", {x: x(unit.teacher) - 6, y: 11, class: "soft", "text-anchor": "end"}, "teacher");
  }
  unit.arms.forEach((arm, row) => {
    const y = row * step + 18 + shift, group = draw(svg, "g", {class: arm.control ? "is-control" : ""});
    const seeds = arm.seeds.map(seed => `seed ${seed.seed}: ${seed.score.toFixed(4)}`).join(", ");
    draw(group, "title", {}, `${arm.name}: ${arm.value.toFixed(4)} [${arm.low.toFixed(4)}, ${arm.high.toFixed(4)}]; ${seeds}`);
    draw(group, "text", {x: 0, y: narrow ? y - 14 : y + 5}, shorten(arm.name, narrow ? 48 : 31));
    draw(group, "line", {class: "interval", x1: x(arm.low), x2: x(arm.high), y1: y, y2: y});
    for (const seed of arm.seeds) draw(group, "circle", {class: "seed", cx: x(seed.score), cy: y, r: 3.5});
    draw(group, "circle", {class: "point", cx: x(arm.value), cy: y, r: 5.5});
    draw(group, "text", {x: width, y: y + 5, "text-anchor": "end"}, arm.value.toFixed(3));
  });
}

function drawLayers(unit, holder) {
  const narrow = holder.clientWidth < 560, width = narrow ? 400 : 900, left = narrow ? 120 : 230, step = 30;
  const cell = Math.min(44, (width - left) / unit.teacherLayers), height = unit.layers.length * step + 44;
  const svg = begin(holder, width, height, "Which teacher layers every student starts from, as in the table above");
  for (let layer = 0; layer < unit.teacherLayers; layer++)
    draw(svg, "text", {class: "tick", x: left + (layer + 0.5) * cell, y: 12, "text-anchor": "middle"}, layer);
  unit.layers.forEach((start, row) => {
    const y = 22 + row * step, group = draw(svg, "g");
    const told = start.layers.map(layer => layer === null ? "fresh" : layer).join(" ");
    draw(group, "title", {}, `${start.name}: ${told}`);
    draw(group, "text", {x: 0, y: y + 16}, shorten(start.name, narrow ? 15 : 31));
    const isFresh = start.layers.every(layer => layer === null);
    for (let layer = 0; layer < unit.teacherLayers && !isFresh; layer++) {
      const used = start.layers.filter(other => other === layer).length;
      const box = {x: left + layer * cell + 2, y: y + 2, width: cell - 4, height: 20, rx: 3};
      draw(group, "rect", box).setAttribute("class", used ? "kept" : "drop");
      if (used > 1) draw(group, "text", {x: left + (layer + 0.5) * cell, y: y + 17, "text-anchor": "middle"}, `×${used}`);
    }
    if (isFresh) draw(group, "text", {class: "soft", x: left + 4, y: y + 17}, "none: fresh layers");
  });
  draw(svg, "text", {class: "soft", x: left, y: height - 4}, "0 is nearest the input");
}

function drawCurves(unit, holder, said, keys) {
  const narrow = holder.clientWidth < 560, width = narrow ? 400 : 900, height = narrow ? 280 : 340, left = 48, foot = height - 30;
  const runs = unit.arms.flatMap((arm, index) => arm.seeds.map(seed => ({arm, index, seed})));
  const points = runs.flatMap(run => run.seed.curve);
  if (!points.length) return;
  const epochs = points.map(point => point[0]), losses = points.map(point => point[1]);
  const [first, last] = [Math.min(...epochs), Math.max(...epochs)];
  const room = (Math.max(...losses) - Math.min(...losses) || 0.1) * 0.06;
  const [low, high] = [Math.min(...losses) - room, Math.max(...losses) + room];
  const x = value => left + (last > first ? (value - first) / (last - first) : 0.5) * (width - left - 12);
  const y = value => foot - (value - low) / (high - low) * (foot - 8);
  const svg = begin(holder, width, height, "Validation loss by epoch of every run, as in the table below");
  for (const [tick, text] of chooseTicks(low, high, 5)) {
    draw(svg, "line", {class: "grid", x1: left, x2: width, y1: y(tick), y2: y(tick)});
    draw(svg, "text", {class: "tick", x: left - 8, y: y(tick) + 4, "text-anchor": "end"}, text);
  }
  for (const epoch of [...new Set(epochs)].filter((_, place, all) => all.length < 13 || place % Math.ceil(all.length / 12) === 0))
    draw(svg, "text", {class: "tick", x: x(epoch), y: height - 8, "text-anchor": "middle"}, epoch);
  const curves = draw(svg, "g", {class: "curves"});
  const style = index => ({stroke: colours[index % colours.length], "stroke-dasharray": dashes[Math.floor(index / colours.length) % dashes.length]});
  const lines = runs.map(run => {
    const path = run.seed.curve.map((point, place) => `${place ? "L" : "M"}${x(point[0])} ${y(point[1])}`).join("");
    const line = draw(curves, "path", {class: "curve", d: path, ...style(run.index)});
    line.run = run;
    if (run.seed.curve.length === 1) draw(curves, "circle", {cx: x(run.seed.curve[0][0]), cy: y(run.seed.curve[0][1]), r: 3, fill: style(run.index).stroke});
    return line;
  });
  let pressed = null;
  const choose = (arm, run = null) => {
    curves.classList.toggle("is-chosen", arm !== null);
    for (const line of lines) line.classList.toggle("is-on", run ? line.run === run : line.run.arm === arm);
    said.textContent = run ? `${run.arm.name}, seed ${run.seed.seed}: ${run.seed.curve.map(point => `epoch ${point[0]}: ${point[1].toFixed(4)}`).join(", ")}`
      : arm ? `${arm.name}: ${arm.seeds.length} ${arm.seeds.length === 1 ? "run" : "runs"}, mean of the kept epochs ${arm.validationLoss === null ? "-" : arm.validationLoss.toFixed(4)}`
      : "Point at a curve, or choose a start.";
  };
  svg.addEventListener("pointermove", event => {
    const box = svg.getBoundingClientRect(), scale = width / box.width;
    const [px, py] = [(event.clientX - box.left) * scale, (event.clientY - box.top) * scale];
    let nearest = null, distance = 24;
    for (const run of runs) for (let place = 0; place < run.seed.curve.length; place++) {
      const [a, b] = [run.seed.curve[Math.max(place - 1, 0)], run.seed.curve[place]].map(point => [x(point[0]), y(point[1])]);
      const length = (b[0] - a[0]) ** 2 + (b[1] - a[1]) ** 2;
      const share = length ? Math.max(0, Math.min(1, ((px - a[0]) * (b[0] - a[0]) + (py - a[1]) * (b[1] - a[1])) / length)) : 0;
      const away = Math.hypot(px - a[0] - share * (b[0] - a[0]), py - a[1] - share * (b[1] - a[1]));
      if (away < distance) [nearest, distance] = [run, away];
    }
    choose(nearest ? nearest.arm : pressed, nearest);
  });
  svg.addEventListener("pointerleave", () => choose(pressed));
  keys.replaceChildren(...unit.arms.map((arm, index) => {
    const item = document.createElement("li"), button = document.createElement("button"), dot = document.createElement("i");
    dot.style.background = style(index).stroke;
    button.type = "button";
    button.append(dot, arm.name);
    button.setAttribute("aria-pressed", "false");
    button.addEventListener("click", () => {
      pressed = pressed === arm ? null : arm;
      for (const other of keys.querySelectorAll("button")) other.setAttribute("aria-pressed", String(other === button && pressed !== null));
      choose(pressed);
    });
    item.append(button);
    return item;
  }));
  choose(null);
}

function makeSortable(table) {
  table.querySelectorAll("thead th").forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const direction = head.getAttribute("aria-sort") === "descending" ? "ascending" : "descending";
      table.querySelectorAll("thead th").forEach(other => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", direction);
      const sign = direction === "ascending" ? 1 : -1, body = table.tBodies[0];
      const key = row => row.cells[column].dataset.value ?? row.cells[column].textContent;
      const compare = (a, b) => {
        const [left, right] = [key(a), key(b)];
        if (left === "" || right === "") return (left === "") - (right === "");
        return sign * (isNaN(left) || isNaN(right) ? left.localeCompare(right) : left - right);
      };
      body.append(...[...body.rows].sort(compare));
    });
  });
}

function drawAll() {
  data.units.forEach((unit, number) => {
    const find = part => document.getElementById(`${part}-${number}`);
    drawIntervals(unit, find("intervals"));
    drawLayers(unit, find("layers"));
    drawCurves(unit, find("curves"), find("said"), find("keys"));
  });
}

document.querySelectorAll("table.sortable").forEach(makeSortable);
drawAll();
let lastWidth = innerWidth;
addEventListener("resize", () => { if ((lastWidth < 600) !== (innerWidth < 600)) drawAll(); lastWidth = innerWidth; });
document.getElementById("theme").addEventListener("click", () => {
  const root = document.documentElement, isDark = getComputedStyle(root).colorScheme === "dark";
  root.dataset.theme = isDark ? "light" : "dark";
});
