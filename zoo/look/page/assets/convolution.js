// Two lessons: how large a convolution's output is and what it costs; its gradients as convolutions.

/** Output size and padding of a convolution along one axis. */
function convolutionSize({ size, kernel, stride, dilation, mode, padding }) {
  const reach = dilation * (kernel - 1) + 1;
  let before = padding, after = padding;
  if (mode === "valid") before = after = 0;
  if (mode === "same") {
    const total = Math.max(0, (Math.ceil(size / stride) - 1) * stride + reach - size);
    before = Math.floor(total / 2);
    after = total - before;
  }
  const room = size + before + after - reach;
  return { reach, before, after, out: room < 0 ? 0 : Math.floor(room / stride) + 1, left: room < 0 ? 0 : room % stride };
}

const SLIDERS = [
  ["size", "input size W", 3, 256, 7], ["kernel", "kernel K", 1, 11, 3], ["stride", "stride S", 1, 4, 2],
  ["padding", "padding P", 0, 5, 1], ["dilation", "dilation D", 1, 3, 1],
  ["inputs", "input channels", 1, 512, 3], ["outputs", "output channels", 1, 512, 10],
];

// Convolutions that are well known, in the order of the sliders.
const KNOWN = {
  "LeNet-5, first": [32, 5, 1, 0, 1, 1, 6], "AlexNet, first": [227, 11, 4, 0, 1, 3, 96],
  "VGG, any": [14, 3, 1, 1, 1, 512, 512], "ResNet, first": [224, 7, 2, 3, 1, 3, 64],
  "1 × 1": [56, 1, 1, 0, 1, 64, 32], "dilated": [15, 3, 1, 2, 2, 16, 16],
};
const MOST_DRAWN = 40; // positions a side

function convolutionLesson(into) {
  const values = { mode: "number", at: 0 };
  into.append(el("div", { class: "card lesson" },
    el("h2", {}, "How large is the output, and what does it cost?"),
    el("p", {}, "A kernel of K × K entries, D apart, moves over a W × W input in steps of S. Move the sliders; point at a position of the output, or move to it with the arrow keys, to see the entries of the input that it is made of."),
    el("label", {}, "Padding ", el("select", { id: "mode", onchange: (event) => { values.mode = event.target.value; update(); } },
      el("option", { value: "number" }, "P pixels on every side"), el("option", { value: "valid" }, "“valid”: none"),
      el("option", { value: "same" }, "“same”: as much as keeps W / S positions"))),
    el("div", { class: "steps", id: "known" }),
    el("div", { class: "sliders", id: "sliders" }), el("div", { class: "formula", id: "formula", "aria-live": "polite" }), el("div", { class: "drawing", id: "drawing" })));
  for (const [key, name, low, high, start] of SLIDERS) {
    values[key] = start;
    const output = el("output", { class: "num" }, String(start));
    byId("sliders").append(el("label", {}, name, output, el("input", {
      type: "range", id: `slider-${key}`, min: low, max: high, value: start, "aria-label": name,
      oninput: (event) => { values[key] = Number(event.target.value); output.textContent = event.target.value; update(); },
    })));
  }
  for (const [name, settings] of Object.entries(KNOWN)) {
    byId("known").append(el("button", { class: "plain", onclick: () => {
      byId("mode").value = "number";
      values.mode = "number";
      SLIDERS.forEach(([key], i) => {
        byId(`slider-${key}`).value = settings[i];
        byId(`slider-${key}`).dispatchEvent(new Event("input"));
      });
    } }, name));
  }
  const update = () => {
    byId("slider-padding").disabled = values.mode !== "number";
    const found = convolutionSize(values);
    values.at = Math.max(0, Math.min(values.at, found.out * found.out - 1));
    byId("formula").replaceChildren(...formula(values, found));
    drawWindows(values, found);
  };
  update();
}

function formula(values, { reach, before, after, out, left }) {
  const { size, kernel, stride, dilation, inputs, outputs, mode } = values;
  const pads = before === after ? `2·${before}` : `${before} + ${after}`;
  const lines = [
    mode === "same"
      ? `“same”: ⌈W / S⌉ = ⌈${size} / ${stride}⌉ = ${out} positions, so the padding is ${before} before and ${after} after`
      : `⌊(W + 2P − D·(K − 1) − 1) / S⌋ + 1 = ⌊(${size} + ${pads} − ${dilation}·(${kernel} − 1) − 1) / ${stride}⌋ + 1 = ${out}`,
    `output ${out} × ${out} × ${outputs}${out === size ? ": the size is kept" : ""}; the kernel reaches over ${reach} pixels${left ? `; the last ${left} are never seen` : ""}`,
    `parameters K·K·C_in·C_out + C_out = ${kernel}·${kernel}·${inputs}·${outputs} + ${outputs} = ${(kernel * kernel * inputs * outputs + outputs).toLocaleString("en")}`,
    `multiply-adds: one for each weight at each position, ${(kernel * kernel * inputs * outputs * out * out).toLocaleString("en")}`,
  ];
  if (!out) lines[1] = "The kernel is larger than the padded input: there is no output.";
  return lines.map((line) => el("div", { class: "num" }, line));
}

function drawWindows(values, { before, after, out }) {
  const { size, kernel, stride, dilation } = values, whole = size + before + after;
  if (whole > MOST_DRAWN) {
    byId("drawing").replaceChildren(el("p", { class: "hint" }, `Drawn for up to ${MOST_DRAWN} positions a side.`));
    return;
  }
  const side = Math.min(24, Math.floor(520 / whole));
  const input = el("svg", { width: whole * side + 2, height: whole * side + 2, role: "img", "aria-label": `Input of ${size} by ${size}, padded by ${before} and ${after}` });
  const cells = new Map();
  for (let y = 0; y < whole; y++) {
    for (let x = 0; x < whole; x++) {
      const pad = y < before || x < before || y >= before + size || x >= before + size;
      const cell = el("rect", { class: pad ? "pad" : "cell", x: x * side + 1, y: y * side + 1, width: side, height: side });
      cells.set(`${y},${x}`, cell);
      input.append(cell);
    }
  }
  const output = el("svg", {
    width: Math.max(1, out) * side + 2, height: Math.max(1, out) * side + 2, tabindex: 0, role: "application",
    id: "output-grid", "aria-label": `Output of ${out} by ${out}. Arrow keys move.`,
  });
  const outs = [];
  const mark = (position) => {
    if (!out) return;
    values.at = position;
    const row = Math.floor(position / out), column = position % out;
    outs.forEach((cell, i) => cell.setAttribute("class", i === position ? "out now" : "out"));
    for (const cell of cells.values()) cell.classList.remove("used");
    for (let i = 0; i < kernel; i++) {
      for (let j = 0; j < kernel; j++) cells.get(`${row * stride + i * dilation},${column * stride + j * dilation}`)?.classList.add("used");
    }
  };
  for (let i = 0; i < out * out; i++) {
    const cell = el("rect", { class: "out", x: (i % out) * side + 1, y: Math.floor(i / out) * side + 1, width: side, height: side, onmouseenter: () => mark(i) });
    outs.push(cell);
    output.append(cell);
  }
  output.addEventListener("keydown", (event) => {
    const move = { ArrowUp: -out, ArrowDown: out, ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!move) return;
    event.preventDefault();
    mark(Math.max(0, Math.min(out * out - 1, values.at + move)));
  });
  byId("drawing").replaceChildren(
    el("figure", { style: "margin: 0" }, input, el("figcaption", { class: "hint" }, "input, with its padding dashed")),
    el("figure", { style: "margin: 0" }, output, el("figcaption", { class: "hint" }, "output")));
  mark(values.at);
}

/** Cross-correlation without padding: [h, w] with [k, l]. */
function correlate(x, h, w, f, k, l) {
  const rows = h - k + 1, columns = w - l + 1, out = [], parts = [];
  for (let y = 0; y < rows; y++) {
    for (let z = 0; z < columns; z++) {
      const terms = [];
      for (let i = 0; i < k; i++) for (let j = 0; j < l; j++) terms.push([(y + i) * w + z + j, i * l + j]);
      parts.push(terms);
      out.push(terms.reduce((sum, [a, b]) => sum + x[a] * f[b], 0));
    }
  }
  return { out, parts, rows, columns };
}

/** The three convolutions of the lesson: forwards, and the two of the backward pass. */
function backward(x, f, g) {
  const padded = new Array(16).fill(0), turned = [...f].reverse();
  g.forEach((value, i) => { padded[(1 + Math.floor(i / 2)) * 4 + 1 + (i % 2)] = value; });
  return {
    forward: correlate(x, 3, 3, f, 2, 2), kernel: correlate(x, 3, 3, g, 2, 2),
    input: correlate(padded, 4, 4, turned, 2, 2), padded, turned,
  };
}

function backwardLesson(into) {
  const data = { x: [0, 1, 2, 3, 4, 5, 6, 7, 8], f: [0, 1, 2, 3], g: [1, 2, 3, 4] };
  const host = el("div", { id: "passes" });
  into.append(el("div", { class: "card lesson" },
    el("h2", {}, "The backward pass of a convolution is two convolutions"),
    el("p", {}, "O = X ∗ F, as networks write it (the kernel is not turned). Given the gradient G of the loss by the output, that by the kernel is X ∗ G, and that by the input is G, framed by zeros, ∗ F turned by 180°. Every number can be changed; point at a result to see its sum."),
    host));
  const draw = () => {
    const found = backward(data.x, data.f, data.g);
    const edit = (key) => (i, value) => { data[key][i] = value; draw(); };
    host.replaceChildren(
      pass("Forwards: O = X ∗ F", "forward", [["X, the input", data.x, 3, edit("x")], ["F, the kernel", data.f, 2, edit("f")]], found.forward, "O, the output"),
      pass("Backwards, to the kernel: ∂L/∂F = X ∗ G", "kernel", [["X, the input", data.x, 3], ["G = ∂L/∂O", data.g, 2, edit("g")]], found.kernel, "∂L/∂F"),
      pass("Backwards, to the input: ∂L/∂X = framed G ∗ turned F", "input", [["G, framed by zeros", found.padded, 4], ["F, turned by 180°", found.turned, 2]], found.input, "∂L/∂X"));
  };
  draw();
  into.append(poolingLesson(data));
}

const typing = () => document.activeElement?.matches("#passes input");

function pass(title, id, [first, second], found, name) {
  const host = el("div", { class: "row", id: `pass-${id}` }), text = el("p", { class: "num readout", "aria-live": "polite" });
  const number = (x) => (x < 0 ? `(${show(x)})` : show(x));
  const draw = (at) => {
    const moved = host.contains(document.activeElement);
    const terms = found.parts[at];
    const [a, b] = [0, 1].map((side) => new Set(terms.map((term) => term[side])));
    const [x, f] = [first, second].map(([label, values, w, edit], i) =>
      grid(values, values.length / w, w, { label, big: true, edit, marked: i ? b : a }));
    const out = grid(found.out, found.rows, found.columns, { label: name, big: true, marked: new Set([at]), hover: (i) => { if (i !== at && !typing()) draw(i); } });
    host.replaceChildren(x, operator("∗"), f, operator("="), out);
    text.textContent = `${terms.map(([i, j]) => `${number(first[1][i])}·${number(second[1][j])}`).join(" + ")} = ${show(found.out[at])}`;
    if (moved) out.querySelectorAll("td")[at].focus({ preventScroll: true });
  };
  draw(0);
  return el("section", { class: "sum pass" }, el("h3", {}, title), host, text);
}

function poolingLesson(data) {
  const windows = [0, 1, 3, 4].map((corner) => [corner, corner + 1, corner + 3, corner + 4]);
  const most = windows.map((cells) => Math.max(...cells.map((cell) => data.x[cell])));
  const toLargest = new Array(9).fill(0), shared = new Array(9).fill(0);
  windows.forEach((cells, i) => {
    toLargest[cells.find((cell) => data.x[cell] === most[i])] += data.g[i];
    cells.forEach((cell) => { shared[cell] += data.g[i] / 4; });
  });
  return el("div", { class: "card lesson" },
    el("h2", {}, "Pooling passes the gradient on"),
    el("p", {}, "Maximum pooling of 2 × 2 windows gives it to the largest entry of each window alone, average pooling an equal share to all. Here for the first X and G above:"),
    el("div", { class: "sum" }, el("div", { class: "row" },
      grid([0, 1, 2, 3, 4, 5, 6, 7, 8], 3, 3, { label: "X", big: true }), operator("→"),
      grid(most, 2, 2, { label: "largest of 2 × 2", big: true }), operator("G →"),
      grid(toLargest, 3, 3, { label: "∂L/∂X of maximum pooling", big: true }),
      grid(shared, 3, 3, { label: "∂L/∂X of average pooling", big: true }))));
}
