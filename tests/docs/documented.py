"""What the notation of docs/methods.md names, in float64, from the files of a run and plain autograd.

Nothing here uses the engines of the package: gradients are those of :mod:`torch.func`, everything after them is NumPy.
"""

from __future__ import annotations

import importlib
import inspect
import json
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.func import functional_call, jacrev, vmap

from oracles.training import make_optimizer
from proponent.config.recipe_schema import Optimizer, RecipeConfig
from proponent.training.designs import member_run
from proponent.training.stages import epoch_order, stages_of

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Model:
    """One member at one checkpoint; parameters are ordered layer by layer, the bias after each row of the weight."""

    module: nn.Module
    x: Tensor
    """Examples, then queries."""
    y: Array
    n: int
    """Number of training examples."""
    step: int
    learning_rate: float
    duration: float
    """E: the sum of the learning rates so far, divided by 1 - momentum."""

    @cached_property
    def logits(self) -> Array:
        return self.module(self.x).detach().numpy()

    @cached_property
    def p(self) -> Array:
        """Probabilities of all classes, (n + n_query, classes)."""
        exp = np.exp(self.logits - self.logits.max(1, keepdims=True))
        return exp / exp.sum(1, keepdims=True)

    @cached_property
    def w(self) -> Array:
        """Loss weights of the training examples, 1 - p of the label."""
        return 1 - self.p[np.arange(self.n), self.y[: self.n]]

    @cached_property
    def jacobian(self) -> Array:
        """Derivatives of the outputs, (n + n_query, classes, n_parameters)."""
        parameters = {name: value.detach() for name, value in self.module.named_parameters()}

        def outputs(values: dict[str, Tensor], x: Tensor) -> Tensor:
            return functional_call(self.module, values, (x[None],))[0]

        parts = vmap(jacrev(outputs), in_dims=(None, 0))(parameters, self.x)
        return self.flat(parts, leading=2)

    @property
    def layers(self) -> list[str]:
        """Names of the modules with parameters, in order."""
        return list(dict.fromkeys(name.rpartition(".")[0] for name, _ in self.module.named_parameters()))

    def flat(self, parts: dict[str, Tensor], leading: int = 0) -> Array:
        """Return values per parameter in the order of gradients, after ``leading`` dimensions."""
        rows = []
        for layer in self.layers:
            weight = parts[f"{layer}.weight"]
            if f"{layer}.bias" in parts:
                weight = torch.cat([weight, parts[f"{layer}.bias"][..., None]], -1)
            rows.append(weight.flatten(leading))
        return torch.cat(rows, leading).detach().numpy()

    def shape(self, layer: str) -> tuple[int, int]:
        """Return the rows and columns of a layer's gradient G, the bias as last column."""
        module = self.module.get_submodule(layer)
        rows, columns = module.weight.shape
        return rows, columns + (getattr(module, "bias", None) is not None)

    @cached_property
    def spans(self) -> list[slice]:
        """Coordinates of each layer in a gradient."""
        ends = np.cumsum([0, *(int(np.prod(self.shape(layer))) for layer in self.layers)])
        return [slice(low, high) for low, high in pairwise(ends)]

    @cached_property
    def g(self) -> Array:
        """Gradients of the margin log p / (1 - p), (n + n_query, n_parameters)."""
        rows = np.arange(len(self.y))
        others = self.p.copy()
        others[rows, self.y] = 0
        outer = -others / others.sum(1, keepdims=True)
        outer[rows, self.y] = 1
        return np.einsum("nc,ncp->np", outer, self.jacobian)

    @property
    def train(self) -> Array:
        return self.g[: self.n]

    @property
    def query(self) -> Array:
        return self.g[self.n :]

    @cached_property
    def roots(self) -> Array:
        """Rows of a root of the Gauss-Newton matrix, (n, classes, n_parameters): C is the mean of their outer products."""
        return np.einsum("nck,ncp->nkp", self.output_roots, self.jacobian[: self.n])

    @cached_property
    def output_roots(self) -> Array:
        """R with R R^T = diag(p) - p p^T, (n, classes, classes)."""
        p = self.p[: self.n]
        return (
            np.einsum("nc,ck->nck", np.sqrt(p), np.eye(p.shape[1])) - p[:, :, None] * np.sqrt(p)[:, None, :]
        )

    @cached_property
    def curvature(self) -> Array:
        """C, the generalised Gauss-Newton matrix of the mean loss."""
        return np.einsum("nkp,nkq->pq", self.roots, self.roots) / self.n

    @cached_property
    def h(self) -> Array:
        """Inputs of the last linear layer, (n + n_query, d)."""
        return self._inputs_of([m for m in self.module.modules() if isinstance(m, nn.Linear)][-1])

    def inputs(self, layer: str) -> Array:
        """Return the inputs of a linear layer for the training examples, with a 1 for its bias, (n, columns)."""
        found = self._inputs_of(self.module.get_submodule(layer))[: self.n]
        return np.hstack([found, np.ones((self.n, 1))])[:, : self.shape(layer)[1]]

    def _inputs_of(self, module: nn.Module) -> Array:
        found: list[Tensor] = []
        hook = module.register_forward_hook(lambda module, inputs, output: found.append(inputs[0]))
        self.module(self.x)
        hook.remove()
        return found[0].detach().numpy()

    @cached_property
    def h1(self) -> Array:
        """The same with a 1 for the bias."""
        return np.hstack([self.h, np.ones((len(self.h), 1))])


@dataclass(frozen=True)
class Setting:
    """The files of one setting after a run."""

    root: Path
    name: str

    @property
    def folder(self) -> Path:
        return self.root / "results" / self.name

    @cached_property
    def config(self) -> Any:
        """The recipe, the queries and the factories, as the manifest of the ensemble states them."""
        return SimpleNamespace(**self._manifest(self.folder / "ensemble/shard-000.json")["spec"])

    @cached_property
    def data(self) -> dict[str, Tensor]:
        train = load_file(self.folder / "data/train.safetensors")
        query = load_file(self.folder / "data/query.safetensors")
        return {"x": torch.cat([train["x"], query["x"]]), "y": torch.cat([train["y"], query["y"]])}

    @property
    def n(self) -> int:
        return len(load_file(self.folder / "data/train.safetensors")["y"])

    @property
    def y(self) -> Array:
        return self.data["y"].numpy()

    def scores(self, method: str) -> Array:
        """Return the score file's scores, (n_query, n_train)."""
        return self.stored(method)["scores"].double().numpy()

    def stored(self, method: str) -> dict[str, Tensor]:
        """Return all tensors of a method's score file."""
        return load_file(self.folder / f"scores/{method}.safetensors")

    def params(self, method: str) -> Any:
        """Return a method's hyper-parameters: those of its YAML file, and the defaults of its function."""
        spec = self._manifest(self.folder / f"scores/{method}.safetensors")["spec"]
        checkpoints = spec["checkpoints"] or [1.0]
        function = getattr(importlib.import_module(spec["module"]), spec["function"])
        defaults = {
            name: parameter.default
            for name, parameter in inspect.signature(function).parameters.items()
            if parameter.kind is parameter.KEYWORD_ONLY
        }
        return SimpleNamespace(**{"checkpoints": checkpoints, **defaults, **spec["params"]})

    def retrainings(self, design: str) -> tuple[Array, Array]:
        """Return the masks and the targets, averaged over seeds where the design has several, of a design."""
        stored = load_file(self.folder / f"ground_truth/{design}.safetensors")
        return stored["masks"].double().numpy(), stored["targets"].double().numpy()

    @cached_property
    def training(self) -> dict[str, Any]:
        """The record of the first member's training."""
        return json.loads((self.folder / "ensemble/member-000/training.json").read_text())

    def build(self) -> nn.Module:
        """Return the model, freshly built."""
        module, _, function = self.config.model["factory"].partition(":")
        return getattr(importlib.import_module(module), function)()

    def build_with(self, seed: int) -> nn.Module:
        """Return the model in float64, initialised as a run with this seed is."""
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return self.build().double()

    @property
    def recipe(self) -> RecipeConfig:
        """The recipe of the members."""
        recipe = self.config.recipe
        return RecipeConfig(**{**recipe, "optimizer": Optimizer(recipe["optimizer"])})

    def models(self, member: int = 0) -> list[Model]:
        """Return a member at all its checkpoints, the final one last."""
        record = self.training
        times = zip(record["steps"], record["learning_rates"], record["learning_rate_sums"], strict=True)
        return [self._model(member, *time) for time in times]

    def at(self, fraction: float, member: int = 0) -> Model:
        """Return a member at the checkpoint nearest, in ratio, to a fraction of training."""
        return min(
            self.models(member),
            key=lambda model: abs(np.log(model.step / self.training["steps"][-1] / fraction)),
        )

    def _model(self, member: int, step: int, rate: float, rates: float) -> Model:
        folder = self.folder / f"ensemble/member-{member:03d}"
        last = step == self.training["steps"][-1]
        state = load_file(folder / ("final.safetensors" if last else f"step-{step:06d}.safetensors"))
        return self.model(state, step, rate, rates)

    def model(self, state: dict[str, Tensor], step: int, rate: float = 0.0, rates: float = 0.0) -> Model:
        """Return a model with these parameters."""
        module = self.build().double()
        module.load_state_dict({name: value.double() for name, value in state.items()})
        x = self.data["x"]
        x = x.double() if x.is_floating_point() else x
        duration = rates / (1 - self.config.recipe["momentum"])
        return Model(module.eval(), x, self.y, self.n, step, rate, duration)

    @staticmethod
    def _manifest(path: Path) -> dict[str, Any]:
        return json.loads(path.with_name(f"{path.name}.manifest.json").read_text())


@dataclass(frozen=True)
class Step:
    """One step of a member's training, as a plain loop over batches makes it."""

    model: Model
    """The model before the step."""
    batch: Array
    """Indices of the examples in the batch."""
    rate: float
    first_moment: Array
    """Adam's m before the step, (n_parameters,); zeros for SGD."""
    second_moment: Array
    """Adam's v before the step, (n_parameters,); zeros for SGD."""


def trained(setting: Setting) -> tuple[list[Step], Model]:
    """Train the first member again, in float64, with torch.optim; return the steps and the final model."""
    recipe, run = setting.recipe, member_run(setting.config.seed, 0)
    module = setting.build_with(run.init_seed)
    optimizer = make_optimizer(recipe, module)
    (stage,) = stages_of(recipe, run, setting.n)
    steps = []
    x, y = setting.data["x"].double(), setting.data["y"]
    for epoch in range(recipe.epochs):
        for batch in epoch_order(run, stage, epoch).split(recipe.batch_size):
            before = setting.model(module.state_dict(), len(steps))
            moments = [
                before.flat(
                    {
                        name: optimizer.state[value].get(which, torch.zeros_like(value))
                        for name, value in module.named_parameters()
                    }
                )
                for which in ("exp_avg", "exp_avg_sq")
            ]
            steps.append(Step(before, batch.numpy(), recipe.lr, *moments))
            optimizer.zero_grad()
            nn.functional.cross_entropy(module(x[batch]), y[batch]).backward()
            optimizer.step()
    return steps, setting.model(module.state_dict(), len(steps))
