"""A function of tensors, run once and written down as a graph of tensor operations, which is replayed in its place.

Python runs while the graph is written, never when it is replayed: what it did then is what happens. Numbers that
Python reads of a tensor, and shapes that depend on data, are therefore refused; whatever else went into the graph as a
constant is found by comparing a replay with the function itself. Random draws are operations like others.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, fx
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

A = torch.ops.aten
READS = (torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape)
RANDOM = torch.Tag.nondeterministic_seeded
CHECK = A._linalg_check_errors.default
HOMES = [torch._C._VariableFunctions, *(getattr(torch._C, m) for m in ("_nn", "_special", "_linalg"))]
INDEXED = (A.index, A.index_put, A.index_put_, A._index_put_impl_)
METHODS = {"view", "expand", "new_zeros", "squeeze", "permute"}
Place = tuple[Any, ...]


class Unwritable(Exception):
    """The function does what a graph cannot say."""


def written(function: Callable[[], list[Tensor]], inputs: Sequence[Tensor]) -> fx.GraphModule:
    """What `function` does, as a module of the `inputs` that gives the same tensors.

    The inputs are those tensors themselves, wherever the function gets them from; others are constants.
    """
    with Recorder(inputs) as recorder:
        out = function()
    graph = recorder.graph
    graph.output([recorder.node(t) for t in out])
    if any(t.is_cuda for t in inputs):
        _stay_on_device(recorder)
    _share(recorder)
    _fold(recorder)
    _drop(recorder)
    _prune(graph)
    return fx.GraphModule(recorder.root, graph)


class Recorder(TorchDispatchMode):
    """Writes down what is done to tensors.

    A value is known by its place in memory, and kept as `meta["val"]` of its node, so that its place stays its own.
    A node is `fixed` where it is the same at every replay; memory that changeable values were written into is not.
    """

    def __init__(self, inputs: Sequence[Tensor]):
        super().__init__()
        self.root, self.graph = torch.nn.Module(), fx.Graph()
        self.nodes: dict[Place, Any] = {}
        self.changeable = {memory(t) for t in inputs}
        self.touched: set[int] = set()
        for i, t in enumerate(inputs):
            self._name(self.graph.placeholder(f"t{i}"), t)

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Else torch imports its compiler's front end, for a second, before the first operation is written down."""
        return False

    def constant(self, tensor: Tensor) -> Any:
        name = f"c{len(self.root._buffers)}"
        self.root.register_buffer(name, tensor.data)
        return self._name(self.graph.get_attr(name), tensor)

    def node(self, tensor: Tensor) -> Any:
        node = self.nodes.get(place(tensor))
        if node is None:
            if self._changes(tensor):
                raise Unwritable("a tensor comes from nowhere")
            node = self.constant(tensor)
        return node

    def _changes(self, tensor: Tensor) -> bool:
        """Whether its values may be others at another replay: a tensor without any has none."""
        return tensor.numel() > 0 and memory(tensor) in self.changeable

    def _name(self, node: Any, tensor: Tensor) -> Any:
        node.meta.update(val=tensor.data, fixed=not self._changes(tensor))
        self.nodes[place(tensor)] = node
        return node

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        given = [t for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)]
        free = RANDOM in func.tags or any(map(self._changes, given))
        if func.overloadpacket in INDEXED:
            args = (args[0], self._positions(args[1]), *args[2:])
        elif free and any(tag in func.tags for tag in READS):
            raise Unwritable(_refusal(func))
        inside = tree_map_only(Tensor, self.node, (args, kwargs))
        out = func(*args, **kwargs)
        made = [t for t in tree_leaves(out) if isinstance(t, Tensor)]
        mutable = func._schema.is_mutable
        if not mutable and func is not CHECK and all(place(t) in self.nodes for t in made):
            return out  # the same place: nothing was done
        if not mutable and made and not any(t.numel() for t in made):
            return out  # no values: a constant, if it is used at all
        if mutable:
            into = {memory(t) for t in _into(func, args, kwargs)}
            self.touched |= into
            self.changeable |= into if free else set()
        if free:
            self.changeable |= {memory(t) for t in made}
        node = self.graph.call_function(func, *inside)
        node.meta["fixed"] = not free
        if isinstance(out, Tensor):
            self._name(node, out)
        else:
            for i, t in enumerate(out if isinstance(out, tuple | list) else ()):
                if isinstance(t, Tensor):
                    self._name(self.graph.call_function(operator.getitem, (node, i)), t)
        return out

    def _positions(self, index: Sequence[Tensor | None]) -> list[Tensor | None]:
        """An index without masks, whose shape is up to what they hold: those that never change become positions."""
        out: list[Tensor | None] = []
        for t in index:
            if t is None or t.dtype not in (torch.bool, torch.uint8):
                out.append(t)
            elif self._changes(t):
                raise Unwritable("rows or columns are picked by a mask that depends on the data")
            else:
                out += t.nonzero(as_tuple=True)
        return out


def memory(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)


def place(tensor: Tensor) -> Place:
    return memory(tensor), tensor.storage_offset(), tensor.shape, tensor.stride(), tensor.dtype


def _into(func: Any, args: Any, kwargs: Any) -> Iterator[Tensor]:
    """The tensors that an operation writes into."""
    for i, argument in enumerate(func._schema.arguments):
        if argument.alias_info is not None and argument.alias_info.is_write:
            value = args[i] if i < len(args) else kwargs.get(argument.name)
            yield from (t for t in tree_leaves(value) if isinstance(t, Tensor))


def _refusal(func: Any) -> str:
    if torch.Tag.data_dependent_output in func.tags:
        return "Python reads a number of a tensor (bool, float, item, if)"
    return f"a shape depends on what the data hold ({func._schema.name.removeprefix('aten::')})"


# ------------------------------------------------------------------------------------------------------ simpler graphs


def _own(recorder: Recorder, node: Any) -> bool:
    """Whether the node's value, once there, is never written into."""
    value = node.meta.get("val")
    return value is not None and memory(value) not in recorder.touched


def _fold(recorder: Recorder) -> None:
    """Values that are the same at every replay become constants."""
    for node in list(recorder.graph.nodes):
        if node.op == "call_function" and node.meta["fixed"] and _own(recorder, node):
            with recorder.graph.inserting_before(node):
                node.replace_all_uses_with(recorder.constant(node.meta["val"]))


def _share(recorder: Recorder) -> None:
    """What is worked out twice is worked out once."""
    known: dict[Any, Any] = {}
    for node in list(recorder.graph.nodes):
        if node.op == "get_attr":
            key: Any = place(node.meta["val"])
        elif node.op == "call_function" and not is_kept(node.target):
            if not all(_own(recorder, n) or "val" not in n.meta for n in (node, *node.all_input_nodes)):
                continue
            key = (node.target, _hashable(node.args), _hashable(node.kwargs))
        else:
            continue
        first = known.setdefault(key, node)
        if first is not node:
            node.replace_all_uses_with(first)


def _drop(recorder: Recorder) -> None:
    """What leaves its argument as it is goes: a power of one, a sum with zeros, one part joined with none."""
    for node in list(recorder.graph.nodes):
        if node.op != "call_function" or not all(_own(recorder, n) for n in (node, *node.all_input_nodes)):
            continue
        for other in _unchanged(node):
            if _form(other.meta["val"]) == _form(node.meta["val"]):
                node.replace_all_uses_with(other)
                break


def _unchanged(node: Any) -> list[Any]:
    """The arguments that an operation gives back, where it changes nothing but their shape or type."""
    name, args = node.target._schema.name.removeprefix("aten::") if hasattr(node.target, "_schema") else "", node.args
    if name in ("_to_copy", "clone") or (name in ("mul", "div", "pow") and args[1] in (1, 1.0)):
        return [args[0]]
    if name == "cat":
        parts = [part for part in args[0] if part.meta["val"].numel()]
        return parts if len(parts) == 1 else []
    if name == "add" and not node.kwargs:
        return [a for a, b in (args[:2], args[1::-1]) if isinstance(a, fx.Node) and _zero(b)]
    return []


def _form(tensor: Tensor) -> tuple[Any, ...]:
    return tensor.shape, tensor.stride(), tensor.dtype, tensor.device


def _zero(value: Any) -> bool:
    if isinstance(value, fx.Node):
        return value.op == "get_attr" and not value.meta["val"].any()
    return value in (0, 0.0)


def _stay_on_device(recorder: Recorder) -> None:
    """Nothing waits for the host: a failed factorisation makes the first output NaN, and constants move over."""
    graph = recorder.graph
    output = next(node for node in graph.nodes if node.op == "output")
    first, *others = output.args[0]
    for node in list(graph.nodes):
        if node.target is CHECK:
            with graph.inserting_before(output):
                failed = graph.call_function(A.any.default, (graph.call_function(A.ne.Scalar, (node.args[0], 0)),))
                first = graph.call_function(A.masked_fill.Scalar, (first, failed, float("nan")))
            graph.erase_node(node)
        elif node.op == "get_attr" and any(user.target is A.where.self for user in node.users):
            here = next(user.meta["val"].device for user in node.users if user.target is A.where.self)
            setattr(recorder.root, node.target, getattr(recorder.root, node.target).to(here))
    output.args = ([first, *others],)


def _hashable(value: Any) -> Any:
    if isinstance(value, tuple | list):
        return tuple(_hashable(v) for v in value)
    if isinstance(value, dict):
        return tuple((k, _hashable(v)) for k, v in value.items())
    return (
        (type(value), value, str(value)) if isinstance(value, float | int) else value
    )  # 1, 1.0 and True, 0.0 and -0.0


def is_kept(target: Any) -> bool:
    """Whether an operation counts though nothing uses its value: it draws, writes or checks."""
    return isinstance(target, torch._ops.OpOverload) and (
        target._schema.is_mutable or RANDOM in target.tags or target is CHECK
    )


def _prune(graph: fx.Graph) -> None:
    for node in reversed(list(graph.nodes)):
        if not node.users and node.op in ("call_function", "get_attr") and not is_kept(node.target):
            graph.erase_node(node)


# ------------------------------------------------------------------------------------------------- cheaper Python calls


def bound(module: fx.GraphModule) -> fx.GraphModule:
    """The same graph by torch's own functions, each of which costs a fraction of its dispatched operation.

    A function takes the operation's place only where it gives the same tensor for the values met while recording.
    """
    graph = fx.Graph()
    graph.output(graph.graph_copy(module.graph, {}))
    for node in list(graph.nodes):
        if node.op != "call_function" or is_kept(node.target) or node.target is operator.getitem:
            continue
        value = node.meta.get("val")
        for op, target, args, kwargs in () if value is None else _candidates(node):
            if _gives(op, target, args, kwargs, value):
                node.op, node.target, node.args, node.kwargs = op, target, args, kwargs
                break
    return fx.GraphModule(module, graph)


Call = tuple[str, Any, tuple[Any, ...], dict[str, Any]]


def _candidates(node: Any) -> Iterator[Call]:
    name = node.target._schema.name.removeprefix("aten::").removeprefix("_unsafe_")
    args, kwargs = node.args, {k: v for k, v in node.kwargs.items() if k not in ("pin_memory", "layout")}
    if name == "_to_copy" and kwargs.keys() <= {"dtype", "device"}:
        yield "call_method", "to", (args[0], kwargs.get("dtype", args[0].meta["val"].dtype)), {"copy": True}
    if name == "slice" and len(args) == 4:
        size = args[0].meta["val"].shape[args[1]]
        begin, end, _ = slice(args[2], args[3]).indices(size)
        yield "call_function", torch.narrow, (args[0], args[1], begin, end - begin), {}
    if name == "slice_backward":
        grad, size, dim, start, end, step = args
        begin, end, _ = slice(start, end).indices(size[dim])
        if step == 1:
            pad = [0, 0] * (len(size) - 1 - dim % len(size)) + [begin, size[dim] - end]
            yield "call_function", torch.constant_pad_nd, (grad, pad), {}
    if name == "index":
        leading = len(args[1]) - 1
        if all(i is None for i in args[1][:-1]) and args[1][-1].meta["val"].dim() == 1:
            yield "call_function", torch.index_select, (args[0], leading, args[1][-1]), {}
        if all(i is not None for i in args[1]):
            yield "call_function", operator.getitem, (args[0], tuple(args[1])), {}
    if name in METHODS:
        yield "call_method", name, args, kwargs
    for home in HOMES:
        function = getattr(home, name, None)
        if function is not None:
            yield "call_function", function, args, kwargs


def _gives(op: str, target: Any, args: Any, kwargs: Any, value: Tensor) -> bool:
    """Whether a call gives this value, laid out in memory in the same way."""
    there = fx.map_arg((args, kwargs), lambda node: node.meta["val"])
    try:
        out = getattr(there[0][0], target)(*there[0][1:], **there[1]) if op == "call_method" else target(
            *there[0], **there[1])  # fmt: skip
    except Exception:
        return False
    alike = isinstance(out, Tensor) and (out.shape, out.dtype, out.stride()) == (
        value.shape,
        value.dtype,
        value.stride(),
    )
    return alike and torch.equal(out.nan_to_num(7.0), value.nan_to_num(7.0))
