// Where a number of a small network comes from: the very products and sums, and what reads it.
const L = PAGE.layers;

const hasNumbers = (index) => typeof L[index].values === "string";
/** Height, width and channels; vectors are 1 x 1. */
const sides = (index) => (L[index].shape.length === 3 ? L[index].shape : [1, 1, L[index].shape.at(-1)]);

function valueAt(index, y, x, c) {
  const [, w, channels] = sides(index);
  return numbers(L[index].values)[(y * w + x) * channels + c];
}

/** The window of an output position: for each entry of the kernel, the input's (y, x). */
function windowOf(step, y, x) {
  const places = [];
  for (let i = 0; i < step.size[0]; i++) {
    for (let j = 0; j < step.size[1]; j++) {
      places.push([
        y * step.strides[0] - step.padding[0][0] + i * step.dilation[0],
        x * step.strides[1] - step.padding[1][0] + j * step.dilation[1],
      ]);
    }
  }
  return places;
}

function inputWindow(input, step, y, x, c, beyond) {
  const [h, w] = sides(input), outside = new Set();
  const values = windowOf(step, y, x).map(([row, column], i) => {
    if (row >= 0 && row < h && column >= 0 && column < w) return valueAt(input, row, column, c);
    outside.add(i);
    return beyond;
  });
  return { values, outside };
}

const STEPS = {
  conv(layer, y, x, c) {
    const step = layer.step, input = layer.inputs[0], kernel = numbers(step.kernel);
    const [kh, kw, inner, outer] = layer.kernel_shape;
    const first = Math.floor(c / (outer / step.groups)) * inner, parts = [];
    for (let k = 0; k < inner; k++) {
      const { values, outside } = inputWindow(input, step, y, x, first + k, 0);
      const weights = values.map((_, i) => kernel[(i * inner + k) * outer + c]);
      const sum = values.reduce((total, value, i) => total + value * weights[i], 0);
      parts.push({ channel: first + k, values, outside, weights, sum });
    }
    const bias = step.bias ? numbers(step.bias)[c] : 0;
    return { parts, bias, h: kh, w: kw, computed: parts.reduce((t, part) => t + part.sum, bias) };
  },
  dense(layer, y, x, c) {
    const step = layer.step, input = layer.inputs[0], kernel = numbers(step.kernel);
    const inner = sides(input)[2], outer = layer.shape.at(-1), terms = [];
    for (let k = 0; k < inner; k++) {
      const value = valueAt(input, y, x, k), weight = kernel[k * outer + c];
      terms.push({ channel: k, value, weight, product: value * weight });
    }
    const bias = step.bias ? numbers(step.bias)[c] : 0;
    return { terms, bias, computed: terms.reduce((total, term) => total + term.product, bias) };
  },
  norm(layer, y, x, c) {
    const step = layer.step, at = (key, other) => (step[key] ? numbers(step[key])[c] : other);
    const value = valueAt(layer.inputs[0], y, x, c);
    const [mean, variance, scale, bias] = [at("mean"), at("var"), at("scale", 1), at("bias", 0)];
    const computed = ((value - mean) / Math.sqrt(variance + step.epsilon)) * scale + bias;
    return { value, mean, variance, scale, bias, epsilon: step.epsilon, computed };
  },
  relu(layer, y, x, c) {
    const value = valueAt(layer.inputs[0], y, x, c), most = layer.step.most;
    return { value, most, computed: Math.min(Math.max(value, 0), most ?? Infinity) };
  },
  max(layer, y, x, c) {
    const { values, outside } = inputWindow(layer.inputs[0], layer.step, y, x, c, -Infinity);
    const computed = Math.max(...values);
    return { values, outside, at: values.indexOf(computed), h: layer.step.size[0], w: layer.step.size[1], computed };
  },
  average(layer, y, x, c) {
    const { values, outside } = inputWindow(layer.inputs[0], layer.step, y, x, c, 0);
    const total = values.reduce((sum, value) => sum + value, 0), stored = valueAt(L.indexOf(layer), y, x, c);
    const counts = [values.length, values.length - outside.size]; // padding counts, or not
    const count = counts.find((n) => agrees(total / n, stored)) ?? counts[0];
    return { values, outside, count, h: layer.step.size[0], w: layer.step.size[1], computed: total / count };
  },
  sum(layer, y, x, c) {
    const terms = layer.inputs.map((input) => ({ input, value: valueAt(input, y, x, c) }));
    return { terms, computed: terms.reduce((total, term) => total + term.value, 0) };
  },
  mean(layer, y, x, c) {
    const input = layer.inputs[0], [h, w] = sides(input), values = [];
    for (let i = 0; i < h * w; i++) values.push(valueAt(input, Math.floor(i / w), i % w, c));
    return { values, h, w, computed: values.reduce((total, value) => total + value, 0) / values.length };
  },
  flatten(layer, y, x, c) {
    const from = sourceOf(layer, c);
    return { from, computed: valueAt(layer.inputs[0], ...from) };
  },
};

/** The (row, column, channel) that entry `c` of a flattened map was. */
function sourceOf(layer, c) {
  const [h, w, channels] = sides(layer.inputs[0]);
  if (layer.step.channels_first) return [Math.floor((c % (h * w)) / w), c % w, Math.floor(c / (h * w))];
  return [Math.floor(c / (w * channels)), Math.floor(c / channels) % w, c % channels];
}

const agrees = (a, b) => Math.abs(a - b) <= 1e-3 * Math.max(1, Math.abs(a), Math.abs(b));

/** How the number at a position of a layer is made; null where that is not known. */
function explain(index, y, x, c) {
  const layer = L[index];
  if (!hasNumbers(index) || !layer.step) return null;
  const found = STEPS[layer.step.type](layer, y, x, c);
  const stored = valueAt(index, y, x, c);
  return { type: layer.step.type, stored, agrees: agrees(found.computed, stored), ...found };
}

/** Where the number goes on to: [{layer, y, x, c}], one place for each layer that reads it. */
function onwards(index, y, x, c) {
  const places = [];
  L.forEach((layer, number) => {
    if (!layer.inputs.includes(index) || !layer.step) return;
    const [h, w, channels] = sides(number), step = layer.step;
    const inside = (position, axis, side) => {
      const at = position + step.padding[axis][0] - Math.floor(step.size[axis] / 2) * step.dilation[axis];
      return Math.min(side - 1, Math.max(0, Math.round(at / step.strides[axis])));
    };
    let to = { layer: number, y, x, c };
    if (["conv", "max", "average"].includes(step.type)) {
      to = { layer: number, y: inside(y, 0, h), x: inside(x, 1, w), c };
    }
    if (step.type === "mean") to = { layer: number, y: 0, x: 0, c };
    if (step.type === "conv" && step.groups === 1) to.c = strongest(number, to.y, to.x);
    if (step.type === "dense") to.c = strongest(number, 0, 0);
    if (step.type === "flatten") {
      const [rows, columns, deep] = sides(index);
      const first = step.channels_first;
      to = { layer: number, y: 0, x: 0, c: first ? (c * rows + y) * columns + x : (y * columns + x) * deep + c };
    }
    if (to.c < channels) places.push(to);
  });
  return places;
}

function strongest(index, y, x) {
  let best = 0;
  for (let c = 1; c < sides(index)[2]; c++) if (valueAt(index, y, x, c) > valueAt(index, y, x, best)) best = c;
  return best;
}

// ---- drawing ----

const operator = (text) => el("span", { class: "operator" }, text);
const result = (x) => el("span", { class: "result num" }, show(x));
const row = (what, ...parts) => el("div", { class: "row" }, typeof what === "string" ? el("span", { class: "what" }, what) : what, ...parts);

function signed(x) {
  return x < 0 ? ` − ${show(-x)}` : ` + ${show(x)}`;
}

const DRAW = {
  conv(found, layer) {
    const most = 6, all = found.parts.map((part, i) => i);
    const by = all.toSorted((a, b) => Math.abs(found.parts[b].sum) - Math.abs(found.parts[a].sum));
    const shown = by.slice(0, most).toSorted((a, b) => a - b), rest = by.slice(most);
    const lines = shown.map((i) => {
      const part = found.parts[i], products = part.values.map((value, k) => value * part.weights[k]);
      return row(
        el("span", { class: "what over" }, `input channel ${part.channel}`),
        grid(part.values, found.h, found.w, { label: "window", outside: part.outside }), operator("×"),
        grid(part.weights, found.h, found.w, { label: "kernel" }), operator("→"),
        grid(products, found.h, found.w, { label: "products" }), operator("sum"), result(part.sum),
      );
    });
    if (rest.length) {
      const sum = rest.reduce((total, i) => total + found.parts[i].sum, 0);
      lines.push(row("others", `the ${rest.length} other input channels, which give less:`, result(sum)));
    }
    const text = found.parts.length === 1
      ? show(found.parts[0].sum)
      : `${shown.map((i) => show(found.parts[i].sum)).join(" + ").replaceAll("+ −", "− ")}${rest.length ? " + others" : ""}`;
    const bias = layer.step.bias ? `${signed(found.bias)} (bias)` : "";
    lines.push(row("together", el("span", { class: "num" }, `${text}${bias} =`), result(found.computed)));
    return lines;
  },
  dense(found, layer) {
    const by = found.terms.toSorted((a, b) => Math.abs(b.product) - Math.abs(a.product));
    const shown = by.slice(0, 8), rest = by.slice(8);
    const lines = shown.map((term) => row(`input ${term.channel}`, el("span", { class: "num" },
      `${show(term.value)} × ${show(term.weight)} =`), result(term.product)));
    if (rest.length) {
      const sum = rest.reduce((total, term) => total + term.product, 0);
      lines.push(row("others", `the ${rest.length} other products, which are smaller:`, result(sum)));
    }
    if (layer.step.bias) lines.push(row("bias", result(found.bias)));
    lines.push(row("together", result(found.computed)));
    return lines;
  },
  norm(found) {
    const text = `(${show(found.value)}${signed(-found.mean)}) / √(${show(found.variance)} + ${show(found.epsilon)})`;
    return [row("normalised", el("span", { class: "num" }, `${text} × ${show(found.scale)}${signed(found.bias)} =`), result(found.computed))];
  },
  relu(found) {
    const text = found.most ? `min(max(${show(found.value)}, 0), ${found.most}) =` : `max(${show(found.value)}, 0) =`;
    return [row("rectified", el("span", { class: "num" }, text), result(found.computed))];
  },
  max(found) {
    const values = found.values.map((value) => (Number.isFinite(value) ? value : 0));
    return [row("largest of", grid(values, found.h, found.w, { label: "window", outside: found.outside, marked: new Set([found.at]) }), operator("="), result(found.computed))];
  },
  average(found) {
    return [row("mean of", grid(found.values, found.h, found.w, { label: "window", outside: found.outside }), operator(`÷ ${found.count} =`), result(found.computed))];
  },
  sum(found) {
    const text = found.terms.map((term) => `${show(term.value)} (${L[term.input].name})`).join(" + ");
    return [row("sum", el("span", { class: "num" }, `${text} =`), result(found.computed))];
  },
  mean(found) {
    return [row("mean of", found.values.length <= 100
      ? grid(found.values, found.h, found.w, { label: "all positions of the channel" })
      : `${found.values.length} positions of the channel`, operator("="), result(found.computed))];
  },
  flatten(found) {
    const [y, x, c] = found.from;
    return [row("moved", `the number at row ${y}, column ${x} of channel ${c}, unchanged:`, result(found.computed))];
  },
};

/** The softmax of the logits, class by class. */
function softmaxTable(c) {
  const logits = PAGE.logits, most = Math.max(...logits);
  const powers = logits.map((logit) => Math.exp(logit - most)), total = powers.reduce((t, p) => t + p, 0);
  const head = el("tr", {}, ...["class", "logit z", `exp(z − ${show(most)})`, "÷ their sum"].map((text) => el("th", { scope: "col" }, text)));
  const rows = logits.map((logit, i) => el("tr", { class: i === c ? "result" : "" },
    el("td", {}, PAGE.classes[i]), el("td", {}, show(logit)), el("td", {}, show(powers[i])),
    el("td", {}, `${(100 * powers[i] / total).toFixed(2)} %`)));
  return el("table", { class: "softmax" }, el("caption", { class: "hint" }, `Softmax: the sum is ${show(total)}`), el("thead", {}, head), el("tbody", {}, ...rows));
}

/** Draws how one number is made, and buttons to what it came from and goes on to. */
function drawArithmetic(into, index, y, x, c, go) {
  const layer = L[index], found = explain(index, y, x, c);
  into.replaceChildren();
  if (index === 0) {
    into.append(el("p", { class: "hint" }, "The image as the network takes it: each channel less its mean, over its standard deviation."));
  } else if (!found || !found.agrees) {
    into.append(el("p", { class: "hint" }, found
      ? "This layer does something beside its kind's arithmetic, so its sum is not shown."
      : "The arithmetic of this kind of layer is not shown."));
  } else {
    into.append(el("div", { class: "sum" }, ...DRAW[found.type](found, layer)));
  }
  const links = el("div", { class: "steps" });
  if (layer.inputs.length && found?.agrees) {
    const from = found.type === "flatten" ? found.from : null;
    for (const input of layer.inputs) {
      const place = from ?? placeBefore(layer, input, y, x, c, found);
      links.append(el("button", { class: "plain", onclick: () => go(input, ...place) }, `← ${L[input].name}`));
    }
  }
  for (const to of onwards(index, y, x, c)) {
    links.append(el("button", { class: "plain onwards", onclick: () => go(to.layer, to.y, to.x, to.c) }, `${L[to.layer].name} →`));
  }
  if (links.childElementCount) into.append(links);
  if (layer.output === "logits" && PAGE.logits.length) into.append(softmaxTable(c));
}

function placeBefore(layer, input, y, x, c, found) {
  const [h, w, channels] = sides(input), step = layer.step;
  const clamp = (value, side) => Math.min(side - 1, Math.max(0, value));
  if (step.type === "max") {
    const [row, column] = windowOf(step, y, x)[found.at];
    return [row, column, c];
  }
  if (step.type === "conv" || step.type === "average") {
    const middle = windowOf(step, y, x)[Math.floor((step.size[0] * step.size[1]) / 2)];
    const channel = step.type === "average" ? c : found.parts.reduce((best, part) => (Math.abs(part.sum) > Math.abs(best.sum) ? part : best)).channel;
    return [clamp(middle[0], h), clamp(middle[1], w), channel];
  }
  if (step.type === "dense") return [y, x, found.terms.reduce((best, term) => (Math.abs(term.product) > Math.abs(best.product) ? term : best)).channel];
  if (step.type === "mean") return [0, 0, c];
  return [clamp(y, h), clamp(x, w), clamp(c, channels)];
}
