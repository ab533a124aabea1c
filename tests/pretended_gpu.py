"""A GPU that is only pretended: its tensors lie and compute on the CPU, but as if they were on ``cuda:0``.

`torch._subclasses.FakeTensorMode` has such devices too, but no values: whatever asks for one ends there (nonzero, the
assigners and samplers of detectors, ``tolist``), its backward pass wants a driver, and torch 2.6 crashes. Here all of
it runs, forward and backward, and an operator refuses tensors of two devices as a GPU does.

Not seen: tensors that C++ or PyTorch's own Python code makes on the CPU while it works for a tensor of the GPU, and
what a `torch.autograd.Function` makes in its backward pass: all of these count as the GPU's.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

GPU, CPU = torch.device('cuda', 0), torch.device('cpu')
aten = torch.ops.aten
# The CPU's tensors may be indices of the GPU's, and are copied from and to it.
MIXING = (aten.index.Tensor, aten.index_put.default, aten.index_put_.default, aten._index_put_impl_.default)
# Elsewhere a number may lie on the CPU.
JOINING = (aten.cat.default, aten.stack.default)
COPIES = (aten.copy_.default, aten._to_copy.default)
MOVES = (Tensor.to, Tensor.cuda, Tensor.cpu)
NEW = (Tensor.new_tensor, Tensor.new)
HOST = (Tensor.numpy, Tensor.__array__)
PROPERTIES: dict[Callable, Callable[[bool], Any]] = {
    Tensor.device.__get__: lambda there: GPU if there else CPU,
    Tensor.is_cuda.__get__: lambda there: there,
    Tensor.is_cpu.__get__: lambda there: not there,
    Tensor.get_device: lambda there: 0 if there else -1,
}


class Memory:
    """What lies on the GPU: storages, so that views are where their base is."""

    def __init__(self) -> None:
        # The reference keeps the address from being given to another storage.
        self._storages: dict[int, StorageWeakRef] = {}
        # Whether tensors made out of nothing are for the GPU.
        self.making = False

    def __contains__(self, value: Any) -> bool:
        return isinstance(value, Tensor) and value.untyped_storage()._cdata in self._storages

    def put(self, value: Any) -> None:
        """Say that a tensor lies on the GPU."""
        if isinstance(value, Tensor):
            storage = value.untyped_storage()
            self._storages[storage._cdata] = StorageWeakRef(storage)

    def take(self, value: Tensor) -> None:
        """Say that a tensor lies on the CPU."""
        self._storages.pop(value.untyped_storage()._cdata, None)


class Operators(TorchDispatchMode):
    """Every operator, as it reaches the device, of backward passes too."""

    def __init__(self, memory: Memory) -> None:
        super().__init__()
        self.memory = memory

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operator where its tensors lie."""
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        there = any(tensor in self.memory for tensor in tensors)
        if there and func not in COPIES:
            self._check(func, args, tensors)
        result = func(*args, **(kwargs or {}))
        if func is not aten.copy_.default and (there or (self.memory.making and not tensors)):
            tree_map(self.memory.put, result)
        return result

    def _check(self, func: Any, args: Any, tensors: list[Tensor]) -> None:
        written = [arg for arg, said in zip(args, func._schema.arguments, strict=False)
                   if said.alias_info is not None and said.alias_info.is_write]  # fmt: skip
        wrong = [t for t in tree_leaves(written) if isinstance(t, Tensor) and t not in self.memory]
        if func in MIXING:
            wrong += [args[0]] if args[0] not in self.memory else []
        else:
            wrong += [t for t in tensors if (t.ndim or func in JOINING) and t not in self.memory]
        if wrong:
            shapes = [tuple(t.shape) for t in wrong]
            raise RuntimeError(f'{func}: expected all tensors on cuda:0, those of shape {shapes} are on the CPU')


class Functions(TorchFunctionMode):
    """Every function of PyTorch, as Python calls it."""

    def __init__(self, memory: Memory) -> None:
        super().__init__()
        self.memory = memory

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call a function with the CPU for the GPU."""
        kwargs = kwargs or {}
        there = bool(args) and args[0] in self.memory
        if func in PROPERTIES:
            return PROPERTIES[func](there)
        if func in HOST and there:
            raise TypeError("can't convert cuda:0 device type tensor to numpy: copy it to the CPU first")
        if func in MOVES:
            return self._move(func, there, args, kwargs)
        device = kwargs.get('device')
        # Without a device, some make their tensors where those they are given are.
        to_gpu = is_gpu(device) or (device is None and any(leaf in self.memory for leaf in tree_leaves((args, kwargs))))
        if is_gpu(device):
            kwargs['device'] = CPU
            if isinstance(kwargs.get('generator'), torch.Generator):
                raise RuntimeError(f"{func}: expected a 'cuda' device type for generator but found 'cpu'")
        before, self.memory.making = self.memory.making, self.memory.making or to_gpu
        try:
            result = func(*args, **kwargs)
        finally:
            self.memory.making = before
        if is_gpu(device) or (func in (*NEW, torch.tensor, torch.as_tensor) and there and device is None):
            tree_map(self.memory.put, result)
        return result

    def _move(self, func: Any, there: bool, args: Any, kwargs: dict[str, Any]) -> Tensor:
        to_gpu = there
        if func is not Tensor.to:
            to_gpu, args = func is Tensor.cuda, args[:1]
            func, kwargs = Tensor.to, {'device': CPU}
        else:
            for value in (*args[1:], *kwargs.values()):
                if isinstance(value, Tensor):
                    to_gpu = value in self.memory
                elif isinstance(value, torch.device | str) or type(value) is int:
                    to_gpu = is_gpu(value)
        on_cpu = lambda value: CPU if is_gpu(value) else value  # noqa: E731
        result = func(*map(on_cpu, args), **{name: on_cpu(value) for name, value in kwargs.items()})
        if to_gpu != there:
            if result.untyped_storage()._cdata == args[0].untyped_storage()._cdata:
                result = result.clone()
            (self.memory.put if to_gpu else self.memory.take)(result)
        return result


def is_gpu(device: Any) -> bool:
    """Whether something names a GPU."""
    return type(device) is int or (isinstance(device, torch.device | str) and torch.device(device).type == 'cuda')


@contextmanager
def pretended_gpu() -> Iterator[torch.device]:
    """Have a GPU; a model comes to it by ``model.to(device)``, a batch by its data preprocessor."""
    memory = Memory()
    with Operators(memory), Functions(memory):
        yield GPU
