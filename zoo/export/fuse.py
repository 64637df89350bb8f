"""Fewer nodes for the same function, in the forms that runtimes know to do fast.

Batch normalisation goes into the convolution before it. Softmax, layer normalisation and GELU,
which JAX's programs spell out, become one node, or the nodes that runtimes recognise.
"""

from collections import Counter
from collections.abc import Callable

import numpy as np

from zoo.export.graph import Graph, Node

SQRT2 = 2**0.5


def fuse(graph: Graph, result: str, name: str) -> tuple[list[Node], dict[str, np.ndarray]]:
    """Returns nodes and constants that compute the tensor `result` under the name `name`."""
    program = _Program(graph, result)
    for rewrite in (_simplify, _mean, _softmax, _gelu, _layer_norm, _affine):
        program.rewrite(rewrite)
    nodes = [*program.nodes, Node("Identity", [program.renamed.get(result, result)], [name])]
    needed, kept = {name}, []
    for node in reversed(nodes):
        if needed & set(node.outputs):
            needed |= set(node.inputs)
            kept.append(node)
    constants = {key: array for key, array in graph.constants.items() if key in needed}
    for key, array in constants.items():  # what was folded is rounded once
        constants[key] = array.astype(np.float32) if array.dtype == np.float64 else array
    return kept[::-1], constants


class _Program:
    """The nodes of a graph, with who makes and who reads each tensor.

    What looks for nodes raises `_Different` where they are not those that are looked for.
    """

    def __init__(self, graph: Graph, result: str):
        self.graph, self.result, self.nodes = graph, result, graph.nodes
        self.renamed: dict[str, str] = {}
        self._index()

    def _index(self) -> None:
        self.made = {name: node for node in self.nodes for name in node.outputs}
        self.readers = Counter(name for node in self.nodes for name in node.inputs)
        self.readers[self.result] += 1

    def rewrite(self, rule: Callable) -> None:
        """Replaces each node by what the rule returns for it: nodes, a tensor's name, or None."""
        done: list[Node] = []
        for node in self.nodes:
            node.inputs = [self.renamed.get(name, name) for name in node.inputs]
            new = rule(self, node)
            if isinstance(new, str):
                self.renamed[node.outputs[0]] = new
            else:
                new = [node] if new is None else new
                done += new
                self.made.update((name, each) for each in new for name in each.outputs)
        self.result = self.renamed.get(self.result, self.result)
        needed, kept = {self.result}, []
        for node in reversed(done):
            if needed & set(node.outputs):
                needed |= set(node.inputs)
                kept.append(node)
        self.nodes = kept[::-1]
        self._index()

    def is_constant(self, name: str) -> bool:
        """Whether there is a constant of this name."""
        return name in self.graph.constants

    def value(self, name: str) -> np.ndarray:
        """Returns the constant of this name."""
        _demand(self.is_constant(name))
        return self.graph.constants[name]

    def number(self, name: str) -> float:
        """Returns the constant of this name, which is one number."""
        array = self.value(name)
        _demand(array.size == 1)
        return float(array.item())

    def maker(self, name: str) -> Node:
        """Returns the node that makes a tensor."""
        _demand(name in self.made)
        return self.made[name]

    def match(self, name: str, op: str) -> list[str]:
        """Returns the inputs of the node that makes a tensor, if it is an `op`."""
        node = self.maker(name)
        _demand(node.op == op)
        return node.inputs

    def split(self, name: str, op: str) -> tuple[str, np.ndarray]:
        """Returns the computed and the constant input of a commutative node."""
        first, second = self.match(name, op)
        if self.is_constant(first):
            first, second = second, first
        return first, self.value(second)


class _Different(Exception):
    """The nodes are not those of the pattern."""


def _demand(condition: bool) -> None:
    if not condition:
        raise _Different


def _pattern(rule: Callable) -> Callable:
    """A rule that leaves nodes as they are where its pattern does not match."""

    def apply(program: _Program, node: Node):
        try:
            return rule(program, node)
        except _Different:
            return None

    return apply


@_pattern
def _simplify(program: _Program, node: Node):
    """Max and Min of constants are Relu and Clip; what changes nothing is left out."""
    _demand(node.op in ("Max", "Min", "Mul"))
    x, constant = program.split(node.outputs[0], node.op)
    _demand(constant.size == 1)
    number = float(constant.reshape(()))
    if (node.op, number) in (("Max", -np.inf), ("Mul", 1.0)):
        return x
    if (node.op, number) == ("Max", 0.0):
        return [Node("Relu", [x], node.outputs)]
    _demand(node.op == "Min" and program.readers[x] == 1)
    (below,) = program.match(x, "Relu")
    bounds = [program.graph.constant(np.array(bound, np.float32)) for bound in (0, number)]
    return [Node("Clip", [below, *bounds], node.outputs)]


@_pattern
def _mean(program: _Program, node: Node):
    """A sum divided by the number of its terms."""
    _demand(node.op == "Div")
    total, count = node.inputs
    x, axes = program.match(total, "ReduceSum")
    _demand(program.number(count) == program.graph.terms[total])
    places = program.graph.constants[axes].tolist()
    return [Node("ReduceMean", [x], node.outputs, {"axes": places, "keepdims": 1})]


@_pattern
def _softmax(program: _Program, node: Node):
    _demand(node.op == "Div")
    powers, total = node.inputs
    (shifted,) = program.match(powers, "Exp")
    summed, axes = program.match(total, "ReduceSum")
    x, largest = program.match(shifted, "Sub")
    _demand(program.match(largest, "ReduceMax") == [x] and summed == powers)
    (axis,) = program.made[largest].attributes["axes"]
    _demand(program.value(axes).tolist() == [axis])
    return [Node("Softmax", [x], node.outputs, {"axis": axis})]


@_pattern
def _gelu(program: _Program, node: Node):
    """0.5 x erfc(-x / sqrt 2) as 0.5 (x (1 + erf(x / sqrt 2))), the form that runtimes fuse."""
    _demand(node.op == "Mul")
    for half, rest in (node.inputs, node.inputs[::-1]):
        try:
            x, factor = program.split(half, "Mul")
            one, erf = program.match(rest, "Sub")
            (scaled,) = program.match(erf, "Erf")
            negative, root = program.split(scaled, "Mul")
            _demand(program.match(negative, "Neg") == [x] and program.number(one) == 1)
            break
        except _Different:
            continue
    else:
        raise _Different
    _demand(factor.size == root.size == 1 and abs(float(root.item()) * SQRT2 - 1) < 1e-6)
    name = node.outputs[0]
    constant = program.graph.constant

    def step(op: str, first: str, second: float | str | None, out: str) -> Node:
        if isinstance(second, float):
            second = constant(np.array(second, np.float32))
        inputs = [first, second] if second else [first]
        return Node(op, inputs, [out])

    return [
        step("Div", x, SQRT2, f"{name}_a"),
        step("Erf", f"{name}_a", None, f"{name}_b"),
        step("Add", f"{name}_b", 1.0, f"{name}_c"),
        step("Mul", x, f"{name}_c", f"{name}_d"),
        step("Mul", f"{name}_d", float(factor.item()), name),
    ]


@_pattern
def _layer_norm(program: _Program, node: Node):
    """Flax's normalisation over the last axis, (x - mean) (scale / sqrt(var + eps)) + bias."""
    _demand(node.op == "Add")
    scaled, bias = program.split(node.outputs[0], "Add")
    centred, factor = program.match(scaled, "Mul")
    x, mean = program.match(centred, "Sub")
    inverse, scale = program.split(factor, "Mul")
    (root,) = program.match(inverse, "Reciprocal")
    (shifted,) = program.match(root, "Sqrt")
    variance, epsilon = program.split(shifted, "Add")
    (difference,) = program.match(variance, "Relu")
    squares, squared = program.match(difference, "Sub")
    _demand(program.match(squared, "Mul") == [mean, mean])
    _demand(program.match(mean, "ReduceMean") == [x])
    (power,) = program.match(squares, "ReduceMean")
    _demand(program.match(power, "Mul") == [x, x])
    axes, width = program.made[mean].attributes["axes"], scale.shape[-1]
    _demand(axes == [scale.ndim - 1] == program.made[squares].attributes["axes"])
    _demand(scale.size == bias.size == width and bias.shape == scale.shape)
    vectors = [program.graph.constant(array.reshape(width)) for array in (scale, bias)]
    attributes = {"axis": -1, "epsilon": float(epsilon.item())}
    return [Node("LayerNormalization", [x, *vectors], node.outputs, attributes)]


@_pattern
def _affine(program: _Program, node: Node):
    """A product with constants, or a sum, goes into the weights or the constants before it."""
    _demand(node.op in ("Add", "Sub", "Mul", "Div"))
    x, other = node.inputs
    if node.op in ("Add", "Mul"):
        x, constant = program.split(node.outputs[0], node.op)
    else:
        constant = program.value(other)
    before = program.maker(x)
    _demand(program.readers[x] == 1)
    constant = constant.astype(np.float64)
    is_product = node.op in ("Mul", "Div")
    constant = 1 / constant if node.op == "Div" else -constant if node.op == "Sub" else constant
    if before.op == "Conv":
        return [_into_conv(program, before, constant, is_product, node.outputs)]
    if before.op == "MatMul" and is_product:
        return [_into_product(program, before, constant, node.outputs)]
    _demand(before.op in ("Add", "Mul"))
    inner, first = program.split(x, before.op)
    first = first.astype(np.float64)
    _demand(np.broadcast_shapes(first.shape, constant.shape) in (first.shape, constant.shape))
    if not is_product and before.op == "Add":
        return [_with(program, "Add", inner, first + constant, node.outputs)]
    if is_product and before.op == "Mul":
        return [_with(program, "Mul", inner, first * constant, node.outputs)]
    _demand(is_product and before.op == "Add")  # (x + a) b = x b + a b
    scaled = f"{node.outputs[0]}_scaled"
    product = _with(program, "Mul", inner, constant, [scaled])
    maker = program.made.get(inner)
    if maker and maker.op == "MatMul" and program.readers[inner] == 1:
        product = _into_product(program, maker, constant, [scaled])
    return [product, _with(program, "Add", scaled, first * constant, node.outputs)]


def _with(program: _Program, op: str, x: str, constant: np.ndarray, outputs: list[str]) -> Node:
    return Node(op, [x, program.graph.constant(constant)], outputs)


def _into_conv(program, layer: Node, constant: np.ndarray, is_product: bool, outputs) -> Node:
    """The convolution with its result multiplied by, or added to, one number for each channel."""
    kernel = program.value(layer.inputs[1])
    shape = constant.shape
    _demand(constant.size == 1 or (len(shape) == kernel.ndim and constant.size == shape[1]))
    channels = np.broadcast_to(constant.reshape(-1), len(kernel))
    bias = program.value(layer.inputs[2]) if len(layer.inputs) > 2 else np.zeros(len(kernel))
    if is_product:
        kernel = kernel.astype(np.float64) * channels.reshape(-1, *[1] * (kernel.ndim - 1))
    bias = bias * channels if is_product else bias + channels
    weights = [program.graph.constant(array) for array in (kernel, bias)]
    return Node("Conv", [layer.inputs[0], *weights], outputs, layer.attributes)


def _into_product(program, layer: Node, constant: np.ndarray, outputs) -> Node:
    """The product with a matrix, its result multiplied by one number for each column."""
    matrix = program.value(layer.inputs[1])
    _demand(matrix.ndim == 2)
    _demand(constant.size in (1, constant.shape[-1] if constant.ndim else 1))
    _demand(constant.size in (1, matrix.shape[1]))
    folded = program.graph.constant(matrix.astype(np.float64) * constant.reshape(-1))
    return Node("MatMul", [layer.inputs[0], folded], outputs)
