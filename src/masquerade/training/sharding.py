"""A network whose weights, gradients and optimizer state are divided among processes (FSDP)."""

import warnings
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from masquerade.anonymizer import Anonymizer
from masquerade.training.distributed import Processes


def shard(anonymizer: Anonymizer, processes: Processes) -> None:
    """Divide an anonymizer's weights among processes; they are whole while it computes.

    As one unit: methods call layers of their blocks one by one, which a block that is a unit of its
    own would not notice.
    """
    # Imported here, since they take as long as all else of torch and one process needs none.
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method

    mesh = init_device_mesh(processes.device.type, (processes.world,))
    # Whole weights are let go after each forward pass: without gradients no backward pass does it,
    # and the next one would compute with the weights of before an update.
    fully_shard(anonymizer, mesh=mesh, reshard_after_forward=True)
    # Training changes no output in place, of which this warns once a process.
    warnings.filterwarnings("ignore", message="FSDP2-wrapped module")
    register_fsdp_forward_method(anonymizer, "training_output")


def full_state(value: Any) -> Any:
    """A state dict with whole tensors, as one process has them; all processes must call it."""
    if hasattr(value, "full_tensor"):  # a DTensor
        return value.full_tensor()
    if isinstance(value, Mapping):
        return {key: full_state(part) for key, part in value.items()}
    return value


def load_optimizer(optimizer: Optimizer, state: Mapping[str, Any]) -> None:
    """Load whole tensors into an optimizer, whose weights may be divided."""
    weights: list[nn.Parameter] = [w for group in optimizer.param_groups for w in group["params"]]
    divided = {
        at: {name: _like(part, weights[at]) for name, part in parts.items()}
        for at, parts in state["state"].items()
    }
    optimizer.load_state_dict({**state, "state": divided})


def _like(value: Any, weight: nn.Parameter) -> Any:
    """A tensor of a weight's shape, divided as the weight is."""
    from torch.distributed.tensor import DTensor, distribute_tensor

    if not isinstance(weight, DTensor) or not isinstance(value, Tensor) or not value.ndim:
        return value
    own = value.to(weight.to_local().device)
    return distribute_tensor(own, weight.device_mesh, weight.placements)
