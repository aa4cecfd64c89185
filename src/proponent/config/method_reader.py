"""Reader of methods: ``configs/methods/NAME.yaml`` together with the signature and constants of its module."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from proponent.config.benchmark_schema import MethodConfig
from proponent.config.config_files import ConfigFiles
from proponent.config.configured_method import EXTERNAL, Method
from proponent.config.load import nearest, structured
from proponent.config.signature import Signature, read_signature
from proponent.config.specifications.need_loaders import uses_models, vocabulary
from proponent.errors import UserError

_ARRAYS = ("torch", "numpy")
_HOOKS = ("finish", "group_scores", "self_influence", "SELF_INFLUENCE")
"""What a module of methods may define in addition to its function ``attribute``."""
_NUMPY_NEEDS = {"data"}
"""Needs that are available as NumPy arrays; the others are made by torch."""


def read_method(files: ConfigFiles, name: str) -> Method:
    """Return a validated method.

    Raises:
        UserError: anything unknown, ill-typed, missing or contradictory in its YAML or its module, in one line.
    """
    content, source = files.content("methods", name)
    config = structured(MethodConfig, content, source)
    return _Reader(files, name, config, source).read()


@dataclass(frozen=True)
class _Reader:
    files: ConfigFiles
    name: str
    config: MethodConfig
    source: str
    """The file of the method, the beginning of every error."""

    def read(self) -> Method:
        self.files.check_sources(self.config.sources, f"{self.source}: sources")
        if self.config.family == EXTERNAL:
            return self._external()
        module, function, signature = self._find()
        is_module_of_methods = function == "attribute"
        finish_needs: tuple[str, ...] = ()
        if is_module_of_methods and "finish" in signature.functions:
            finish = self._signature(module, "finish")
            finish_needs = finish.positional[1:]
        needs = (*signature.positional, *finish_needs)
        groups = is_module_of_methods and "group_scores" in signature.functions
        self_influence = is_module_of_methods and "self_influence" in signature.functions
        self._check_needs(needs, signature.where)
        self._check_params(signature)
        self._check_members(signature, needs, groups)
        self._check_scores(needs)
        if self_influence:
            self._check_self_influence(module, signature)
        constants = signature.constants
        return Method(
            name=self.name,
            config=self.config,
            module=module,
            function=function,
            code=self._code(module, function),
            needs=signature.positional,
            self_influence=self_influence,
            tasks=constants.get("TASKS"),
            inputs=constants.get("INPUTS"),
            optimizers=constants.get("OPTIMIZERS"),
            checkpoints=1 if self.config.checkpoints else constants.get("CHECKPOINTS", 0),
            labels=constants.get("LABELS_OF_CLASSES", ()),
            arrays=self._arrays(signature, needs),
            finish_needs=finish_needs,
            groups=groups,
            uses=constants.get("USES", {}),
            defaults=signature.defaults,
            averaged=self.files.averaged(self.name),
        )

    def _find(self) -> tuple[str, str, Signature]:
        """Return the module, the function and its signature."""
        module, colon, function = self.config.family.partition(":")
        if not colon:
            module, function = self._family_module(self.config.family), "attribute"
        return module, function, self._signature(module, function)

    def _code(self, module: str, function: str) -> tuple[str, ...]:
        """Return the definitions that a job uses of a method's module."""
        source = self.files.tree.definitions.index.source(module)
        defined = source.positions if source is not None and function == "attribute" else {}
        return tuple(f"{module}:{name}" for name in (function, *(hook for hook in _HOOKS if hook in defined)))

    def _signature(self, module: str, function: str) -> Signature:
        signature = read_signature(self.files.tree, module, function, f"{self.source}: family")
        if signature is None:
            raise UserError(
                f"{self.source}: family: '{module}' is outside the checkout, where changes would go unnoticed; "
                "move it into the checkout"
            )
        return signature

    def _family_module(self, family: str) -> str:
        """Return the dotted name of the method module called ``family``, in whichever folder of methods/ it is.

        Raises:
            UserError: no folder of methods/ has a module of that name, or two have one.
        """
        root, folder = self.files.root, self.files.root / "src/proponent/methods"
        modules = [
            path
            for path in (*folder.glob("*.py"), *folder.glob("*/*.py"))
            if path.stem != "__init__" and path.parent.name != "shared"
        ]
        found = [path for path in modules if path.stem == family]
        if len(found) > 1:
            places = " and ".join(sorted(str(path.relative_to(root)) for path in found))
            raise UserError(f"{self.source}: family '{family}' is ambiguous: {places}; rename one of them")
        if not found:
            valid = [path.stem for path in modules]
            raise UserError(
                f"{self.source}: no family '{family}' in src/proponent/methods/{nearest(family, valid)}"
            )
        relative = found[0].relative_to(root / "src").with_suffix("")
        return ".".join(relative.parts)

    def _check_needs(self, needs: Iterable[str], where: str) -> None:
        valid = vocabulary()
        for need in needs:
            if need not in valid:
                raise UserError(f"{where}: unknown need '{need}'{nearest(need, valid)}")

    def _check_params(self, signature: Signature) -> None:
        keywords = signature.keywords_only()
        config = self.config
        config.params = keywords.check_arguments(config.params, self.source, "params.")
        if config.tune is not None:
            config.tune.grid = {
                parameter: [
                    keywords.check_arguments({parameter: value}, self.source, "tune.grid.")[parameter]
                    for value in values
                ]
                for parameter, values in config.tune.grid.items()
            }
        grid = config.tune.grid if config.tune is not None else {}
        signature.check_ranges(config.params, f"{self.source}: params.")
        for values in itertools.product(*grid.values()):
            candidate = {**config.params, **dict(zip(grid, values, strict=True))}
            signature.check_ranges(candidate, f"{self.source}: tune.grid.")

    def _check_members(self, signature: Signature, needs: tuple[str, ...], groups: bool) -> None:
        config, source = self.config, self.source
        if config.members > 1 and not uses_models(needs):
            raise UserError(
                f"{source}: 'members' must be 1, because {signature.where} uses no member of the ensemble"
            )
        if groups and (config.members > 1 or config.checkpoints):
            raise UserError(
                f"{source}: 'members' must be 1 and 'checkpoints' empty, because group predictions of {signature.where} "
                "cannot be averaged over members or checkpoints"
            )
        if not config.checkpoints:
            return
        if "checkpoint" not in signature.keywords:
            raise UserError(
                f"{source}: 'checkpoints' needs a method with a hyper-parameter 'checkpoint', and {signature.where} has none"
            )
        if "checkpoint" in config.params or (config.tune and "checkpoint" in config.tune.grid):
            raise UserError(f"{source}: give 'checkpoints' or the hyper-parameter 'checkpoint', not both")

    def _check_scores(self, needs: Iterable[str]) -> None:
        if ("scores" in needs) != bool(self.config.scores):
            raise UserError(
                f"{self.source}: 'scores' must name other methods if the method needs 'scores', and be left out otherwise"
            )
        for other in self.config.scores:
            content, _ = (
                ({"scores": True}, "")
                if other == self.name
                else self.files.content("methods", other, f"{self.source}: scores")
            )
            if content.get("scores"):
                raise UserError(f"{self.source}: scores names '{other}', which starts from scores itself")

    def _check_self_influence(self, module: str, signature: Signature) -> None:
        """Refuse a name in ``SELF_INFLUENCE`` that ``self_influence`` would never receive, and one without any value."""
        own = self._signature(module, "self_influence")
        constants: dict[str, Any] = signature.constants.get("SELF_INFLUENCE", {})
        own.keywords_only().check_arguments(constants, own.where, "SELF_INFLUENCE.")
        given = {*signature.defaulted, *constants, *self.config.params, *own.defaulted}
        missing = [name for name in own.keywords if name not in given]
        if missing:
            raise UserError(
                f"{self.source}: self_influence needs a value of '{missing[0]}'; give it under params, or give the "
                f"argument a default in {signature.where}"
            )

    def _arrays(self, signature: Signature, needs: Iterable[str]) -> str:
        arrays: str = signature.constants.get("ARRAYS", "torch")
        if arrays not in _ARRAYS:
            raise UserError(f"{signature.where}: ARRAYS must be 'torch' or 'numpy', not {arrays!r}")
        torch_needs = [need for need in needs if need not in _NUMPY_NEEDS]
        if arrays == "numpy" and torch_needs:
            raise UserError(
                f"{signature.where}: ARRAYS is 'numpy', but '{torch_needs[0]}' is available for torch only; "
                "leave ARRAYS out"
            )
        return arrays

    def _external(self) -> Method:
        config, source = self.config, self.source
        if config.tune is not None:
            raise UserError(f"{source}: 'tune' needs a Python method; tune within the rule instead")
        self._check_needs(config.needs, source)
        self._check_scores(config.needs)
        needs = tuple(config.needs or ["data"])
        return Method(self.name, config, "", "", (), needs, self_influence=False, tasks=None)
