"""Files that other programs run or read: StableHLO, ONNX, safetensors, Flax's msgpack.

`command` is `python -m zoo export`. A `program` is a model with its weights as one function, which
`stablehlo` and `onnx_file` write; `arrays` writes weights alone; `check` runs what was written.

ONNX is written from the model's jaxpr: `jaxpr` walks it, `primitives`, `shapes`, `contractions` and
`gathers` have a rule for each primitive of JAX, `graph` the tensors and their layouts, and `fuse`
makes the result fast. It is no general converter: it knows what image classifiers are made of,
which is little enough to read, and it says what it does not know.
"""
