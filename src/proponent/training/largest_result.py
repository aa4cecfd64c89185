"""Size of the largest tensor that some operations make."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class LargestResult(TorchDispatchMode):
    """Notes the bytes of the largest tensor that an operation makes; views take no memory of their own."""

    bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run one operation."""
        result = func(*args, **(kwargs or {}))
        given = {_storage(value) for value in tree_leaves((args, kwargs)) if isinstance(value, Tensor)}
        made = [
            value.numel() * value.element_size()
            for value in tree_leaves(result)
            if isinstance(value, Tensor) and _storage(value) not in given
        ]
        self.bytes = max([self.bytes, *made])
        return result


def _storage(value: Tensor) -> int:
    return int(value.untyped_storage()._cdata)  # unlike data_ptr, also of tensors without memory
