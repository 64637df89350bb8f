// The graph of layers, and what is known about the chosen one.
const state = { layer: 0, channel: null, y: 0, x: 0, turn: 0 };

const HEAVY = /conv|dense|einsum|linear|attention/i;
const MEETING = new Set(["sum", "product", "concatenate"]);
const PLAIN = {
  image: "the image, normalised", relu: "keeps what is above 0", relu6: "keeps what is between 0 and 6",
  max_pool: "the largest of each window", average_pool: "the mean of each window", sum: "branches added",
  product: "branches multiplied", concatenate: "branches side by side", flatten: "a map as one long vector",
  mean: "the mean over all positions", BatchNorm: "each channel shifted and scaled by its statistics in training",
  LayerNorm: "each position's channels to mean 0 and deviation 1, then scaled", Dense: "a weighted sum of all inputs",
};

function shapeText(shape) {
  return shape.join(" × ") || "1";
}

function kernelText(layer) {
  if (!layer.kernel) return "";
  const stride = layer.strides[0] === layer.strides[1] ? layer.strides[0] : layer.strides.join("×");
  return `${layer.kernel.join("×")}${String(stride) === "1" ? "" : `, /${stride}`}`;
}

function fieldText(layer) {
  if (!layer.field) return "";
  return layer.field === "whole" ? "all" : String(Math.round(layer.field[0]));
}

function drawHead() {
  const { model } = PAGE;
  byId("title").textContent = `Inside ${model.name}`;
  byId("paper").textContent = [model.paper, model.weights && `weights: ${model.weights}`].filter(Boolean).join(" · ");
  const facts = {
    parameters: model.parameters.toLocaleString("en"), "multiply-adds": large(model.macs),
    "activations, float32": memory(model.bytes), image: `${PAGE.image.h} × ${PAGE.image.w}`,
  };
  byId("totals").append(...Object.entries(facts).map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value))));
  if (model.note) {
    byId("note").textContent = model.note;
    byId("note").hidden = false;
  }
}

function drawOverview() {
  const select = byId("overview-map"), canvas = byId("overview");
  select.append(el("option", { value: "" }, "nothing"));
  for (const name of Object.keys(PAGE.maps)) select.append(el("option", { value: name }, name));
  const draw = async () => {
    const sprite = PAGE.maps[select.value];
    await overlay(canvas, sprite && (await cellOf(sprite, 0)), sprite?.h, sprite?.w);
    canvas.setAttribute("aria-label", sprite ? `The image, with what ${PAGE.target.name} goes by: ${select.value}` : "The image");
  };
  select.addEventListener("change", draw);
  draw();
  byId("top").append(...PAGE.top.map(({ name, p }) => el("li", {},
    el("span", { class: "num" }, `${(100 * p).toFixed(1)} %`), name,
    el("div", { class: "bar" }, el("i", { style: `width: ${Math.max(0.5, 100 * p)}%` })))));
}

function drawUnits() {
  if (!PAGE.units.length) byId("units-card").hidden = true;
  PAGE.units.forEach((unit, number) => {
    const button = el("button", { "data-unit": number, "aria-pressed": "false", onclick: () => showUnit(unit.layer, unit.channel) },
      el("img", { src: unit.src, alt: `What drives ${unit.label} most` }),
      el("span", {}, unit.label));
    byId("units").append(el("div", { role: "listitem" }, button));
  });
}

/** Lanes of the edges that pass over layers: [{from, to, lane}]. */
function lanes() {
  const edges = [], busy = [];
  L.forEach((layer, to) => layer.inputs.forEach((from) => { if (to - from > 1) edges.push({ from, to }); }));
  edges.sort((a, b) => a.from - b.from || b.to - a.to);
  for (const edge of edges) {
    let lane = busy.findIndex((end) => end <= edge.from);
    if (lane < 0) lane = busy.length < 6 ? busy.length : edge.from % 6;
    busy[lane] = Math.max(edge.to, busy[lane] ?? 0);
    edge.lane = lane;
  }
  return { edges, count: busy.length };
}

function drawLines(index, { edges, count }) {
  const height = 26, middle = height / 2, x = 8 + 7 * count, left = (lane) => x - 7 * (lane + 1);
  const layer = L[index], svg = el("svg", { width: x + 9, height, "aria-hidden": "true" });
  const line = (d) => svg.append(el("path", { class: "edge", d }));
  for (const { from, to, lane } of edges) {
    if (from === index) line(`M${x} ${middle} Q${left(lane)} ${middle} ${left(lane)} ${height}`);
    else if (to === index) line(`M${left(lane)} 0 Q${left(lane)} ${middle} ${x} ${middle}`);
    else if (from < index && index < to) line(`M${left(lane)} 0 V${height}`);
  }
  if (layer.inputs.includes(index - 1)) line(`M${x} 0 V${middle}`);
  if (L[index + 1]?.inputs.includes(index)) line(`M${x} ${middle} V${height}`);
  const kind = HEAVY.test(layer.kind) ? "dot heavy" : MEETING.has(layer.kind) ? "dot meeting" : "dot";
  svg.append(el("circle", { class: kind, cx: x, cy: middle, r: HEAVY.test(layer.kind) ? 4.2 : 3.4 }));
  return svg;
}

function drawLayers() {
  const table = byId("layers"), columns = ["layer", "kind", "output", "parameters", "MACs", "memory", "sees"];
  table.append(el("thead", {}, el("tr", {}, ...columns.map((name, i) => el("th", {
    scope: "col", class: i > 2 ? "right-aligned" : "", title: name === "sees" ? "receptive field: side in pixels of the image" : undefined,
  }, name)))));
  const track = lanes();
  let body = null, group = null;
  L.forEach((layer, index) => {
    if (layer.stage !== group) {
      group = layer.stage;
      body = el("tbody");
      if (group) body.append(groupRow(group, body));
      table.append(body);
    }
    const short = layer.name.startsWith(`${group}_`) ? layer.name.slice(group.length + 1) : layer.name;
    const button = el("button", {
      tabindex: index ? -1 : 0, "data-layer": index, title: layer.name,
      onclick: () => showLayer(index), "aria-label": `${layer.name}, ${layer.kind}, output ${shapeText(layer.shape)}`,
    }, short);
    body.append(el("tr", { class: "layer", "data-row": index },
      el("th", { scope: "row" }, drawLines(index, track), button),
      ...[`${layer.kind} ${kernelText(layer)}`, shapeText(layer.shape)].map((text) => el("td", { class: "text" }, text)),
      ...[layer.parameters ? large(layer.parameters) : "", layer.macs ? large(layer.macs) : "", memory(layer.bytes), fieldText(layer)]
        .map((text) => el("td", {}, text))));
  });
  roving(table, "[data-layer]");
}

function groupRow(group, body) {
  const inside = L.filter((layer) => layer.stage === group);
  const total = (key) => inside.reduce((sum, layer) => sum + layer[key], 0);
  const button = el("button", { "aria-expanded": "true", onclick: () => {
    const open = button.getAttribute("aria-expanded") !== "true";
    button.setAttribute("aria-expanded", String(open));
    body.querySelectorAll(".layer").forEach((line) => { line.hidden = !open; });
  } }, group);
  return el("tr", { class: "group" }, el("th", { colspan: 3, scope: "rowgroup" }, button),
    ...[large(total("parameters")), large(total("macs")), memory(total("bytes")), ""].map((text) => el("td", {}, text)));
}

function describe(layer) {
  const conv = layer.kernel && layer.kernel_shape;
  if (conv) {
    const [h, w, inner, outer] = layer.kernel_shape;
    const groups = layer.groups > 1 ? ` in ${layer.groups} groups` : "";
    return `${outer} kernels of ${h} × ${w} × ${inner}${groups}: at every position a sum of ${h * w * inner} products.`;
  }
  if (layer.kernel_shape) return `${layer.kernel_shape[3]} weighted sums of ${layer.kernel_shape[2]} numbers each.`;
  return PLAIN[layer.kind] ? `${PLAIN[layer.kind][0].toUpperCase()}${PLAIN[layer.kind].slice(1)}.` : "";
}

function factsOf(layer) {
  const facts = { output: shapeText(layer.shape), memory: memory(layer.bytes) };
  if (layer.parameters) facts.parameters = layer.parameters.toLocaleString("en");
  if (layer.macs) facts["multiply-adds"] = layer.macs.toLocaleString("en");
  if (layer.kernel) {
    facts.stride = layer.strides.join(" × ");
    facts.padding = layer.padding.map(([a, b]) => (a === b ? a : `${a} + ${b}`)).join(" × ");
    if (Math.max(...layer.dilation) > 1) facts.dilation = layer.dilation.join(" × ");
  }
  if (layer.field) {
    facts["receptive field"] = layer.field === "whole" ? "the whole image" : `${layer.field[0]} px, every ${layer.field[1]} px`;
  }
  return el("dl", { class: "facts" }, ...Object.entries(facts).map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value))));
}

/** Shows a layer in the panel. */
function showLayer(index, focus = false) {
  Object.assign(state, { layer: index, channel: null });
  const layer = L[index], panel = byId("panel");
  document.querySelectorAll("[data-row]").forEach((line) => {
    if (Number(line.dataset.row) === index) line.setAttribute("aria-current", "true");
    else line.removeAttribute("aria-current");
  });
  document.querySelectorAll("[data-layer]").forEach((button) => { button.tabIndex = Number(button.dataset.layer) === index ? 0 : -1; });
  const links = (numbers) => numbers.map((number) => el("button", { class: "plain", onclick: () => showLayer(number) }, L[number].name));
  const readers = L.map((_, number) => number).filter((number) => L[number].inputs.includes(index));
  panel.replaceChildren(
    el("h2", { id: "layer-title" }, layer.name),
    el("p", { class: "hint" }, `${layer.kind}${layer.output && layer.output !== layer.name ? `, which is the output “${layer.output}”` : ""}. ${describe(layer)}`),
    factsOf(layer),
    el("div", { class: "steps" },
      ...(layer.inputs.length ? [el("span", { class: "hint" }, "reads"), ...links(layer.inputs)] : []),
      ...(readers.length ? [el("span", { class: "hint" }, "read by"), ...links(readers.slice(0, 8))] : [])),
    el("div", { id: "unit" }),
  );
  drawActivations(panel, layer, index);
  drawAttribution(panel, layer);
  drawFilters(panel, layer);
  say(`${layer.name} is shown`);
  history.replaceState(null, "", `#layer=${encodeURIComponent(layer.name)}`);
  if (focus) panel.focus();
}

function drawActivations(panel, layer, index) {
  if (!layer.channels) {
    panel.append(el("p", { class: "hint" }, "This output is no map of the image, so it is not drawn."));
    return;
  }
  const all = layer.channels.length === layer.count;
  panel.append(el("h3", {}, `Activations of the image (${all ? `all ${layer.count}` : `the ${layer.channels.length} of ${layer.count} channels that matter most for ${PAGE.target.name}`})`));
  const together = el("input", { type: "checkbox", id: "together" });
  const maps = el("div", { class: "maps", role: "group", "aria-label": "Channels" });
  const draw = async () => {
    const cells = await Promise.all(layer.channels.map((_, i) => valuesOf(layer, i)));
    const most = Math.max(...cells.map(largest));
    const [h, w] = layer.maps ? [layer.maps.h, layer.maps.w] : [1, 1];
    maps.querySelectorAll("canvas").forEach((canvas, i) => paint(canvas, cells[i], h, w, together.checked || layer.vector ? most : largest(cells[i])));
  };
  together.addEventListener("change", draw);
  const key = ["above", "below"].map((kind) => el("span", {}, el("i", { class: kind }), `${kind} 0`));
  if (!layer.vector) panel.append(el("p", { class: "hint key" }, ...key, el("label", {}, together, " one scale for all")));
  layer.channels.forEach((channel, i) => {
    const text = layer.vector ? show(layer.vector[i], 3) : "";
    const label = `channel ${channel}${text ? `, ${text}` : ""}, contribution to ${PAGE.target.name} ${show(layer.contributions[i], 2)}`;
    const name = layer.output === "logits" && PAGE.classes.length ? PAGE.classes[channel] : channel;
    maps.append(el("button", { tabindex: i ? -1 : 0, "data-channel": channel, "aria-pressed": "false", "aria-label": label, title: label, onclick: () => showUnit(index, channel) },
      el("canvas", {}), el("span", {}, text ? `${name}: ${text}` : String(name))));
  });
  roving(maps, "[data-channel]", () => getComputedStyle(maps).gridTemplateColumns.split(" ").length);
  panel.append(maps);
  draw();
}

/** The values of the i-th shown channel of a layer. */
async function valuesOf(layer, i) {
  if (layer.vector) return Float32Array.of(layer.vector[i]);
  if (typeof layer.values === "string" && layer.shape.length === 3) {
    const [h, w, count] = layer.shape, all = numbers(layer.values), channel = layer.channels[i];
    return Float32Array.from({ length: h * w }, (_, k) => all[k * count + channel]);
  }
  return cellOf(layer.maps, i);
}

function drawAttribution(panel, layer) {
  if (!layer.attribution) return;
  const { attribution } = layer;
  panel.append(el("h3", {}, `What speaks for ${PAGE.target.name} here`));
  const pair = el("div", { class: "pair" });
  attribution.names.forEach((name, i) => {
    const canvas = el("canvas", { role: "img", "aria-label": `${name} of ${layer.name} over the image` });
    pair.append(el("figure", {}, canvas, el("figcaption", {}, `${name}, from ${show(attribution.lo[i], 2)} to ${show(attribution.hi[i], 2)}`)));
    cellOf(attribution, i).then((map) => overlay(canvas, map, attribution.h, attribution.w));
  });
  panel.append(pair);
}

function drawFilters(panel, layer) {
  if (!layer.colours && !layer.filters) return;
  const [h, w, inputs] = layer.kernel_shape;
  const some = layer.filters && layer.filter_inputs.length < inputs ? `, the ${layer.filter_inputs.length} strongest of ${inputs} inputs beside each other` : "";
  panel.append(el("h3", {}, h * w > 1 ? `Filters, ${h} × ${w}${some}` : `Weights${some}`));
  const filters = el("div", { class: "filters" });
  layer.channels.forEach((channel, i) => {
    const canvas = el("canvas", { role: "img", "aria-label": `filter ${channel}` });
    filters.append(el("figure", {}, canvas, el("figcaption", {}, String(channel))));
    drawFilter(canvas, layer, i);
  });
  panel.append(filters);
}

async function drawFilter(canvas, layer, i) {
  const [h, w] = layer.kernel_shape;
  if (layer.colours) {
    const image = await load(layer.colours), zoom = 44 / Math.max(h, w);
    canvas.width = w;
    canvas.height = h;
    canvas.style.cssText = `width: ${w * zoom}px; height: ${h * zoom}px`;
    canvas.getContext("2d").drawImage(image, i * w, 0, w, h, 0, 0, w, h);
    return;
  }
  const sprite = layer.filters, values = await cellOf(sprite, i);
  paint(canvas, values, sprite.h, sprite.w, largest(values));
  const zoom = sprite.h > 1 ? Math.min(12, Math.max(4, 150 / sprite.w)) : Math.max(1, Math.min(12, 140 / sprite.w));
  canvas.style.cssText = `width: ${sprite.w * zoom}px; height: ${Math.max(10, sprite.h * zoom)}px`;
}

/** Shows one channel of a layer: its map, where a position of it looks, what drives it. */
async function showUnit(index, channel, y, x) {
  if (state.layer !== index || !byId("unit")) showLayer(index);
  const layer = L[index], into = byId("unit");
  Object.assign(state, { layer: index, channel });
  document.querySelectorAll("[data-channel]").forEach((button) => button.setAttribute("aria-pressed", String(Number(button.dataset.channel) === channel)));
  const number = PAGE.units.findIndex((unit) => unit.layer === index && unit.channel === channel);
  document.querySelectorAll("[data-unit]").forEach((button) => button.setAttribute("aria-pressed", String(Number(button.dataset.unit) === number)));
  const name = layer.output === "logits" ? PAGE.units[number]?.label ?? PAGE.classes[channel] ?? `class ${channel}` : `channel ${channel}`;
  into.replaceChildren(el("h3", { id: "unit-title" }, `Unit: ${name} of ${layer.name}`));
  const turn = ++state.turn, i = layer.channels?.indexOf(channel) ?? -1;
  const map = i >= 0 ? await drawMap(layer, index, i, y, x) : [el("p", { class: "hint" }, "Its map is not in this page: it matters less for the class than those that are.")];
  if (turn !== state.turn) return; // another one was asked for since
  into.append(...map);
  drawVisualisation(into, number, map[0]);
  history.replaceState(null, "", `#layer=${encodeURIComponent(layer.name)}&channel=${channel}`);
  const panel = byId("panel"), scrolls = panel.scrollHeight > panel.clientHeight + 1;
  if (scrolls) panel.scrollTo({ top: into.offsetTop - panel.offsetTop - 12 });
  else into.scrollIntoView({ block: "nearest" });
}

/** The parts of the panel on one channel's map: [map and image, value, arithmetic]. */
async function drawMap(layer, index, i, y, x) {
  const values = await valuesOf(layer, i), channel = layer.channels[i];
  const [h, w] = layer.vector ? [1, 1] : typeof layer.values === "string" && layer.shape.length === 3 ? layer.shape : [layer.maps.h, layer.maps.w];
  const map = el("canvas", {
    id: "map", tabindex: 0, role: "application",
    "aria-label": `Activation map of channel ${channel}, ${h} rows, ${w} columns. Arrow keys move.`,
  });
  const image = el("canvas", { id: "field", role: "img", "aria-label": "The image, and in it what the position sees" });
  const readout = el("p", { id: "readout", class: "readout", "aria-live": "polite" }), sum = el("div", { id: "arithmetic" });
  const pair = el("div", { class: "pair", hidden: Boolean(layer.vector) },
    el("figure", {}, map, el("figcaption", {}, "The unit's map: point at a position")),
    el("figure", {}, image, el("figcaption", {}, "What the position sees of the image")));
  const ratio = layer.map[0] / h;
  let at = values.reduce((best, value, k) => (value > values[best] ? k : best), 0);
  if (y !== undefined) at = Math.floor(y / ratio) * w + Math.floor(x / ratio);
  const most = largest(values);
  const choose = async (position) => {
    at = Math.max(0, Math.min(h * w - 1, position));
    const row = Math.floor(at / w), column = at % w;
    const there = [Math.min(layer.map[0] - 1, Math.floor((row + 0.5) * ratio)), Math.min(layer.map[1] - 1, Math.floor((column + 0.5) * ratio))];
    Object.assign(state, { y: there[0], x: there[1] });
    drawPosition(map, values, h, w, most, row, column);
    const exact = hasNumbers(index) || layer.vector;
    const value = exact ? `${show(hasNumbers(index) ? valueAt(index, layer.vector ? 0 : there[0], layer.vector ? 0 : there[1], channel) : layer.vector[i])}` : `about ${show(values[at], 3)}`;
    readout.textContent = layer.vector ? `Its value is ${value}.` : `Row ${there[0]}, column ${there[1]}: ${value}. ${fieldSentence(layer, there)}`;
    await drawField(image, layer, there);
    if (hasNumbers(index)) drawArithmetic(sum, index, layer.vector ? 0 : there[0], layer.vector ? 0 : there[1], channel, (to, ...place) => showUnit(to, place[2], place[0], place[1]));
  };
  const pointed = (event) => {
    const box = map.getBoundingClientRect();
    const column = Math.floor(((event.clientX - box.left) / box.width) * w), row = Math.floor(((event.clientY - box.top) / box.height) * h);
    if (row >= 0 && row < h && column >= 0 && column < w && row * w + column !== at) choose(row * w + column);
  };
  map.addEventListener("mousemove", pointed);
  map.addEventListener("click", pointed);
  map.addEventListener("keydown", (event) => {
    const move = { ArrowUp: -w, ArrowDown: w, ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!move) return;
    event.preventDefault();
    choose(at + move);
  });
  await choose(at);
  return [pair, readout, sum];
}

function drawPosition(canvas, values, h, w, most, row, column) {
  const scale = Math.max(1, Math.floor(220 / w)), small = el("canvas");
  const draw = () => {
    paint(small, values, h, w, most);
    painted.delete([...painted].at(-1)); // it is drawn by its owner
    canvas.width = w * scale;
    canvas.height = h * scale;
    const context = canvas.getContext("2d");
    context.imageSmoothingEnabled = false;
    context.drawImage(small, 0, 0, w * scale, h * scale);
    context.strokeStyle = getComputedStyle(document.documentElement).getPropertyValue("--mark");
    context.lineWidth = 2;
    context.strokeRect(column * scale + 1, row * scale + 1, Math.max(3, scale - 2), Math.max(3, scale - 2));
  };
  draw();
  for (const entry of painted) if (entry.canvas === canvas) painted.delete(entry);
  painted.add({ canvas, draw });
}

/** The pixels that a position sees: [top, left, size]. */
function fieldAt(layer, [y, x]) {
  if (!layer.field || layer.field === "whole") return null;
  const [size, stride, start] = layer.field;
  return [start + y * stride, start + x * stride, size];
}

function fieldSentence(layer, place) {
  const field = fieldAt(layer, place);
  if (!field) return layer.field === "whole" ? "It sees the whole image." : "";
  return `It sees ${field[2]} × ${field[2]} pixels from row ${show(field[0])}, column ${show(field[1])}.`;
}

async function drawField(canvas, layer, place) {
  const photo = await load(PAGE.image.src), side = 440, zoom = side / PAGE.image.w;
  canvas.width = side;
  canvas.height = PAGE.image.h * zoom;
  canvas.classList.toggle("smooth", PAGE.image.w >= 96);
  const context = canvas.getContext("2d");
  context.imageSmoothingEnabled = PAGE.image.w >= 96;
  context.drawImage(photo, 0, 0, canvas.width, canvas.height);
  const field = fieldAt(layer, place);
  if (!field && layer.field !== "whole") return;
  const [top, left, size] = field ?? [0, 0, PAGE.image.w];
  const box = [left * zoom, top * zoom, size * zoom, size * zoom];
  context.save();
  const dim = new Path2D();
  dim.rect(0, 0, canvas.width, canvas.height);
  dim.rect(...box);
  context.fillStyle = "rgb(10 12 20 / .55)";
  context.fill(dim, "evenodd");
  context.restore();
  context.strokeStyle = "#ff9f43";
  context.lineWidth = 3;
  context.strokeRect(...box);
}

function drawVisualisation(into, number, pair) {
  const unit = PAGE.units[number];
  if (!unit) return;
  const picture = el("figure", { id: "visualisation" }, el("img", { class: "large", src: unit.src, alt: `Made to drive ${unit.label}` }),
    el("figcaption", {}, `Made to drive this unit: from ${show(unit.start, 3)} to ${show(unit.end, 3)} in ${unit.steps} steps`));
  if (pair.hidden || !pair.matches(".pair")) pair.after(el("div", { class: "pair" }, picture));
  else pair.append(picture);
  if (!unit.top.length) return;
  into.append(el("h3", {}, "Its strongest images of the data set"), el("div", { class: "strip", id: "strongest" }, ...unit.top.map((src, i) =>
    el("figure", {}, el("img", { src, alt: `strongest image ${i + 1}` }), el("figcaption", {}, show(unit.top_values[i], 3))))));
}
