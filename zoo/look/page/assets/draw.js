// Elements, numbers and pictures.
const PAGE = JSON.parse(document.getElementById("data").textContent);

/** An element with properties and children; `on...` are listeners, `data`/`aria-` attributes. */
function el(tag, properties = {}, ...children) {
  const svg = ["svg", "path", "circle", "rect", "g", "title", "text"].includes(tag);
  const node = svg
    ? document.createElementNS("http://www.w3.org/2000/svg", tag)
    : document.createElement(tag);
  for (const [key, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else if (key === "style") node.style.cssText = value;
    else node.setAttribute(key, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

const byId = (id) => document.getElementById(id);
const say = (text) => { byId("status").textContent = text; };

/** A number as people read it: four digits, and a real minus sign. */
function show(x, digits = 4) {
  if (x === 0) return "0";
  const size = Math.abs(x);
  const text = size >= 1e5 || size < 1e-3 ? x.toExponential(digits - 2) : String(Number(x.toPrecision(digits)));
  return text.replace("-", "−");
}

/** A number in a cell: two decimals where it has any. */
function brief(x) {
  if (Number.isInteger(x) || Math.abs(x) >= 1e4) return show(x, 5);
  return x.toFixed(Math.abs(x) >= 100 ? 0 : Math.abs(x) >= 10 ? 1 : 2).replace("-", "−");
}

function large(count) {
  const units = [[1e9, "G"], [1e6, "M"], [1e3, "k"]];
  for (const [size, unit] of units) {
    if (count >= size) return `${Number((count / size).toPrecision(3))} ${unit}`;
  }
  return String(count);
}

function memory(bytes) {
  if (bytes >= 2 ** 20) return `${(bytes / 2 ** 20).toFixed(2)} MiB`;
  return bytes >= 1024 ? `${(bytes / 1024).toFixed(1)} KiB` : `${bytes} B`;
}

const decoded = new Map();
/** float32 values from base64, kept once they are decoded. */
function numbers(text) {
  if (!decoded.has(text)) {
    const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    decoded.set(text, new Float32Array(bytes.buffer));
  }
  return decoded.get(text);
}

const loading = new Map();
function load(src) {
  if (!loading.has(src)) {
    loading.set(src, new Promise((resolve, reject) => {
      const image = new Image();
      image.onload = () => resolve(image);
      image.onerror = () => reject(new Error("A picture of this page cannot be decoded."));
      image.src = src;
    }));
  }
  return loading.get(src);
}

const sheets = new Map();
/** The grey levels of a sheet of maps: {data, width}. */
async function sheet(sprite) {
  if (!sheets.has(sprite.src)) {
    const image = await load(sprite.src);
    const canvas = el("canvas", { width: image.width, height: image.height });
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.drawImage(image, 0, 0);
    sheets.set(sprite.src, context.getImageData(0, 0, image.width, image.height));
  }
  return sheets.get(sprite.src);
}

/** Map `number` of a sheet as values, in rows. */
async function cellOf(sprite, number) {
  const { data, width } = await sheet(sprite);
  const { h, w, columns } = sprite;
  const low = sprite.lo[number], step = (sprite.hi[number] - low) / 255;
  const top = Math.floor(number / columns) * h, left = (number % columns) * w;
  const values = new Float32Array(h * w);
  for (let y = 0; y < h; y++) {
    for (let x = 0; x < w; x++) values[y * w + x] = low + step * data[4 * ((top + y) * width + left + x)];
  }
  return values;
}

function colours() {
  const style = getComputedStyle(document.documentElement);
  const read = (name) => style.getPropertyValue(name).trim().split(/\s+/).map(Number);
  return { negative: read("--negative"), zero: read("--zero"), positive: read("--positive") };
}

/** The colour of a value between -1 and 1: [r, g, b]. */
function colourOf(t, palette) {
  const end = t < 0 ? palette.negative : palette.positive;
  const share = Math.min(1, Math.abs(t)) ** 0.8;
  return palette.zero.map((from, i) => from + (end[i] - from) * share);
}

const painted = new Set(); // what has to be drawn again when light and dark change

/** Draws values on a canvas of w x h pixels: 0 is the ground, `most` the strongest colour. */
function paint(canvas, values, h, w, most) {
  const draw = () => {
    canvas.width = w;
    canvas.height = h;
    const context = canvas.getContext("2d");
    const image = context.createImageData(w, h), palette = colours();
    for (let i = 0; i < h * w; i++) {
      const [r, g, b] = colourOf(most ? values[i] / most : 0, palette);
      image.data.set([r, g, b, 255], 4 * i);
    }
    context.putImageData(image, 0, 0);
  };
  draw();
  painted.add({ canvas, draw });
}

function paintAgain() {
  for (const entry of painted) {
    if (entry.canvas.isConnected) entry.draw();
    else painted.delete(entry);
  }
}

const largest = (values) => values.reduce((most, x) => Math.max(most, Math.abs(x)), 0);

/** Draws the image, and over it a map: what is above 0 in warm colours, as dense as it is strong. */
async function overlay(canvas, map, h, w) {
  const photo = await load(PAGE.image.src);
  const side = Math.max(224, PAGE.image.w);
  canvas.width = side;
  canvas.height = Math.round((side * PAGE.image.h) / PAGE.image.w);
  canvas.classList.add("smooth");
  const context = canvas.getContext("2d");
  context.imageSmoothingEnabled = PAGE.image.w >= 96;
  context.drawImage(photo, 0, 0, canvas.width, canvas.height);
  if (!map) return;
  const top = Math.max(0, ...map), heat = el("canvas", { width: w, height: h });
  const image = heat.getContext("2d").createImageData(w, h);
  for (let i = 0; i < h * w; i++) {
    const t = top > 0 ? Math.max(0, map[i]) / top : 0;
    image.data.set([255, 210 - 170 * t, 40, 235 * Math.sqrt(t)], 4 * i);
  }
  heat.getContext("2d").putImageData(image, 0, 0);
  context.globalAlpha = 0.75;
  context.fillStyle = "rgb(20 22 30 / .45)";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.imageSmoothingEnabled = true;
  context.drawImage(heat, 0, 0, canvas.width, canvas.height);
  context.globalAlpha = 1;
}

/** A table of numbers whose cells are as strong in colour as they are large. */
function grid(values, h, w, { label, most, marked, outside, big = false, edit, hover } = {}) {
  const top = most ?? largest(values);
  const table = el("table", { class: big ? "grid big" : "grid" });
  if (label) table.append(el("caption", {}, label));
  const body = el("tbody");
  for (let y = 0; y < h; y++) {
    const row = el("tr");
    for (let x = 0; x < w; x++) {
      const i = y * w + x;
      const share = Number.isFinite(values[i]) && top ? Math.round((55 * Math.abs(values[i])) / top) : 0;
      const cell = el("td", { class: values[i] < 0 ? "below" : "above", style: `--share: ${share}%` });
      if (marked?.has(i)) cell.classList.add("marked");
      if (outside?.has(i)) cell.classList.add("outside");
      if (edit) {
        cell.append(el("input", {
          value: values[i], inputmode: "decimal", "aria-label": `${label}, row ${y + 1}, column ${x + 1}`,
          onchange: (event) => {
            const name = event.target.getAttribute("aria-label");
            edit(i, Number(event.target.value) || 0);
            setTimeout(() => { // the table is another one now
              if (document.activeElement === document.body) document.querySelector(`[aria-label="${name}"]`)?.focus();
            });
          },
        }));
      } else {
        cell.append(el("span", { title: show(values[i], 6) }, brief(values[i])));
      }
      if (hover) {
        cell.addEventListener("mouseenter", () => hover(i));
        if (!edit) { cell.tabIndex = 0; cell.addEventListener("focus", () => hover(i)); }
      }
      row.append(cell);
    }
    body.append(row);
  }
  table.append(body);
  return table;
}

/** Arrow keys move among elements; only one of them is in the order of Tab. */
function roving(container, selector, columns = () => 1) {
  const all = () => [...container.querySelectorAll(selector)].filter((node) => node.offsetParent);
  container.addEventListener("keydown", (event) => {
    const nodes = all(), at = nodes.indexOf(document.activeElement), wide = columns();
    const moves = { ArrowDown: wide, ArrowUp: -wide, ArrowRight: 1, ArrowLeft: -1 };
    let to = event.key === "Home" ? 0 : event.key === "End" ? nodes.length - 1 : at + moves[event.key];
    if (at < 0 || Number.isNaN(to)) return;
    event.preventDefault();
    to = Math.max(0, Math.min(nodes.length - 1, to));
    nodes[at].tabIndex = -1;
    nodes[to].tabIndex = 0;
    nodes[to].focus();
  });
}
