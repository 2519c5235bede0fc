"""Converts convolutional networks from ONNX files to LiteRT models, which take half of the time.

Only what CenterFace is made of is known: convolutions, transposed convolutions with the batch
normalization behind them, ReLU, sums and sigmoids. Pictures are (C, H, W) in ONNX, and (H, W, C) in
LiteRT. The numbers of fields are those of ONNX's `onnx.proto` and of LiteRT's `schema.fbs`.
"""

import struct
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]
Shape = tuple[int, ...]  # (h, w, c)


class Node(NamedTuple):
    """One operation of a network."""

    kind: str
    inputs: list[str]
    output: str
    settings: dict[str, Any]


class Network(NamedTuple):
    """A network as an ONNX file describes it."""

    nodes: list[Node]
    weights: dict[str, F32]
    input: str


def read_onnx(file: Path) -> Network:
    """The network in an ONNX file."""
    graph = _fields(_fields(file.read_bytes())[7][0])
    weights = {}
    for tensor in map(_fields, graph[5]):
        raw = tensor[9] if 9 in tensor else tensor[4]
        shape = [size for part in tensor.get(1, []) for size in _integers(part)]
        if tensor[2][0] == 1:  # float32
            weights[tensor[8][0].decode()] = np.frombuffer(raw[0], "<f4").reshape(shape)
    nodes = []
    for node in map(_fields, graph[1]):
        settings: dict[str, Any] = {}
        for given in map(_fields, node.get(5, [])):
            value: Any = [number for part in given.get(8, []) for number in _integers(part)]
            if 2 in given:
                value = struct.unpack("<f", given[2][0])[0]
            elif 3 in given:
                value = given[3][0]
            settings[given[1][0].decode()] = value
        inputs = [name.decode() for name in node.get(1, [])]
        nodes.append(Node(node[4][0].decode(), inputs, node[2][0].decode(), settings))
    names = [_fields(one)[1][0].decode() for one in graph[11]]
    return Network(nodes, weights, next(name for name in names if name not in weights))


def _fields(data: bytes) -> dict[int, list[Any]]:
    """The values of each field of a message of Protocol Buffers, by number."""
    found: dict[int, list[Any]] = defaultdict(list)
    at = 0
    while at < len(data):
        key, at = _integer(data, at)
        number, wire = key >> 3, key & 7
        if wire == 0:
            value, at = _integer(data, at)
            found[number].append(value)
            continue
        size = {1: 8, 5: 4}.get(wire)
        if size is None:
            size, at = _integer(data, at)
        found[number].append(data[at : at + size])
        at += size
    return dict(found)


def _integer(data: bytes, at: int) -> tuple[int, int]:
    """The integer that begins at a byte, seven bits in each, and where the next value begins."""
    value = shift = 0
    while True:
        byte = data[at]
        value, shift, at = value | (byte & 127) << shift, shift + 7, at + 1
        if byte < 128:
            return value, at


def _integers(part: int | bytes) -> list[int]:
    """A repeated field's integers, one by one or packed."""
    if isinstance(part, int):
        return [part]
    found, at = [], 0
    while at < len(part):
        value, at = _integer(part, at)
        found.append(value)
    return found


def to_litert(network: Network, height: int, width: int, outputs: Sequence[str]) -> bytes:
    """The bytes of a LiteRT model that takes (1, height, width, 3).

    Raises:
        ImportError: LiteRT is not installed.
    """
    return _Model(network, (height, width, 3)).pack(outputs)


class _Model:
    """A LiteRT model that is being built."""

    def __init__(self, network: Network, shape: Shape) -> None:
        from ai_edge_litert import schema_py_generated

        self._schema: Any = schema_py_generated
        self._weights, self._nodes = network.weights, network.nodes
        self._uses = Counter(name for node in network.nodes for name in node.inputs)
        self._codes: dict[int, int] = {}
        self._model, self._graph = self._schema.ModelT(), self._schema.SubGraphT()
        self._model.version, self._model.operatorCodes = 3, []
        self._model.buffers, self._model.subgraphs = [self._schema.BufferT()], [self._graph]
        self._graph.tensors, self._graph.operators = [], []
        self._graph.inputs = [self._tensor((1, *shape))]
        self._values = {network.input: (self._graph.inputs[0], shape)}  # tensors, and their shapes
        for node in network.nodes:
            if node.output not in self._values:
                self._add(node)

    def pack(self, outputs: Sequence[str]) -> bytes:
        """The bytes of the model, with these outputs."""
        import flatbuffers

        self._graph.outputs = [self._values[name][0] for name in outputs]
        builder = flatbuffers.Builder(1024)
        builder.Finish(self._model.Pack(builder), b"TFL3")
        return bytes(builder.Output())

    def _add(self, node: Node) -> None:
        if node.kind == "Conv":
            self._convolve(node)
        elif node.kind == "ConvTranspose":
            self._convolve_transposed(node)
        elif node.kind in ("Relu", "Sigmoid", "Add"):
            shape = self._values[node.inputs[0]][1]
            kind = {"Relu": "RELU", "Sigmoid": "LOGISTIC", "Add": "ADD"}[node.kind]
            options = self._schema.AddOptionsT() if kind == "ADD" else None
            given = [self._values[name][0] for name in node.inputs]
            self._values[node.output] = self._operate(kind, given, shape, options), shape
        else:
            raise ValueError(f"networks with {node.kind} are not converted")

    def _convolve(self, node: Node) -> None:
        given, (height, width, channels) = self._values[node.inputs[0]]
        weights, bias = self._parameters(node)  # weights are (out, in, k, k)
        side, pad = weights.shape[2], node.settings["pads"][0]
        stride = node.settings["strides"][0]
        padding = self._schema.Padding.VALID
        if stride == 1 and side == 2 * pad + 1:
            padding = self._schema.Padding.SAME
        elif pad:
            edges = self._tensor((4, 2), np.array([[0, 0], [pad, pad], [pad, pad], [0, 0]]))
            larger = height + 2 * pad, width + 2 * pad, channels
            given = self._operate("PAD", [given, edges], larger, self._schema.PadOptionsT())
        if node.settings.get("group", 1) == 1:
            kind, options = "CONV_2D", self._schema.Conv2DOptionsT()
            weights = weights.transpose(0, 2, 3, 1)
        else:  # one filter a channel
            kind, options = "DEPTHWISE_CONV_2D", self._schema.DepthwiseConv2DOptionsT()
            options.depthMultiplier = 1
            weights = weights.transpose(1, 2, 3, 0)
        options.padding, options.strideH, options.strideW = padding, stride, stride
        options.dilationHFactor = options.dilationWFactor = 1
        output = node.output
        follows = next((n for n in self._nodes if n.inputs[0] == output), None)
        if follows is not None and follows.kind == "Relu" and self._uses[output] == 1:
            options.fusedActivationFunction = self._schema.ActivationFunctionType.RELU
            output = follows.output
        rows, columns = ((size + 2 * pad - side) // stride + 1 for size in (height, width))
        shape = rows, columns, len(bias)
        tensors = [given, self._tensor(weights.shape, weights), self._tensor(bias.shape, bias)]
        self._values[output] = self._operate(kind, tensors, shape, options), shape

    def _convolve_transposed(self, node: Node) -> None:
        """One of stride 2 and side 2, and the batch normalization behind it, as one operation."""
        given, (height, width, _) = self._values[node.inputs[0]]
        normal = next(n for n in self._nodes if n.inputs[0] == node.output)
        gain, offset, mean, variance = (self._weights[name] for name in normal.inputs[1:])
        gain = gain / np.sqrt(variance + np.float32(normal.settings.get("epsilon", 1e-5)))
        weights = self._weights[node.inputs[1]] * gain[:, None, None]  # (in, out, 2, 2)
        bias = offset - mean * gain
        weights = weights.transpose(1, 2, 3, 0)
        shape = 2 * height, 2 * width, len(bias)
        options = self._schema.TransposeConvOptionsT()
        options.padding = self._schema.Padding.VALID
        options.strideH = options.strideW = 2
        tensors = [self._tensor((4,), np.array([1, *shape])), self._tensor(weights.shape, weights)]
        tensors += [given, self._tensor(bias.shape, bias)]
        out = self._operate("TRANSPOSE_CONV", tensors, shape, options, version=3)
        self._values[normal.output] = out, shape

    def _parameters(self, node: Node) -> tuple[F32, F32]:
        weights = self._weights[node.inputs[1]]
        if len(node.inputs) > 2:
            return weights, self._weights[node.inputs[2]]
        return weights, np.zeros(len(weights), np.float32)

    def _tensor(self, shape: Shape, values: NDArray[Any] | None = None) -> int:
        """The number of a new tensor: of constant values, or one that is computed."""
        tensor = self._schema.TensorT()
        tensor.shape, tensor.type, tensor.buffer = list(shape), self._schema.TensorType.FLOAT32, 0
        if values is not None:
            if values.dtype == np.int64:
                values, tensor.type = values.astype(np.int32), self._schema.TensorType.INT32
            buffer = self._schema.BufferT()
            buffer.data = np.frombuffer(values.tobytes(), np.uint8)
            tensor.buffer = len(self._model.buffers)
            self._model.buffers.append(buffer)
        self._graph.tensors.append(tensor)
        return len(self._graph.tensors) - 1

    def _operate(
        self, kind: str, inputs: list[int], shape: Shape, options: Any, *, version: int = 1
    ) -> int:
        """The number of the tensor that a new operation makes."""
        number = getattr(self._schema.BuiltinOperator, kind)
        if number not in self._codes:
            code = self._schema.OperatorCodeT()
            code.builtinCode, code.deprecatedBuiltinCode, code.version = number, number, version
            self._codes[number] = len(self._model.operatorCodes)
            self._model.operatorCodes.append(code)
        operator = self._schema.OperatorT()
        operator.opcodeIndex, operator.inputs = self._codes[number], inputs
        operator.outputs = [self._tensor((1, *shape))]
        if options is not None:
            name = type(options).__name__.removesuffix("T")
            operator.builtinOptions = options
            operator.builtinOptionsType = getattr(self._schema.BuiltinOptions, name)
        self._graph.operators.append(operator)
        return int(operator.outputs[0])
