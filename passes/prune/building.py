"""The models of a search: channels leave, the others are refitted to the original, and the better of two stays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from onnxslim.analysis.channels import Channels, find_channels
from onnxslim.calibration import Request
from onnxslim.errors import CheckFailed, InputError
from onnxslim.evaluation import OutputNoise
from onnxslim.execution import Feed
from onnxslim.graph.edit import constant_tensor
from onnxslim.pipeline import Context
from onnxslim.samples.feeds import LEAST_FITTED

from .apply import Removal, constants_of, kept_ids, remove_channels
from .layers import layers_of
from .mix import mix_channels
from .reads import Moments, reads_of
from .refit import refit
from .state import Found, State


class Builder:
    """Makes states out of states.

    Args:
        model: The original; not changed.
        channels: Of the original.
        feeds: Of the samples that weights are refitted to.
        judging: Others, that say whether refitting is better.
        context: Memory, threads, and where to say what was left alone.
        refitting: Whether weights are refitted.
    """

    def __init__(
        self,
        model: ir.Model,
        channels: Channels,
        feeds: Sequence[Feed],
        judging: Sequence[Feed],
        context: Context,
        refitting: bool,
    ) -> None:
        self.model, self.channels, self.feeds, self.judging = model, channels, feeds, judging
        self._context, self._refitting = context, refitting

    def start(self, keys: set[str]) -> State:
        """The original, with all its channels."""
        groups = (group for group in self.channels.groups if group.key in keys)
        return State(self.model, {group.key: np.arange(len(group)) for group in groups})

    def without(self, state: State, removal: Removal, moments: Mapping[Request, Moments]) -> State:
        """The state without some more atoms, counted in those that are left; what went is mixed into what stays."""
        model = state.model.clone()
        channels = find_channels(model)
        reads = reads_of(channels)
        mix_channels(reads, moments, kept_ids(channels, removal))
        remove_channels(model, channels, removal)
        alive = {
            key: np.delete(places, np.asarray(removal.get(key, ()), np.int64)) for key, places in state.alive.items()
        }
        return State(model, alive)

    def fitted(self, state: State) -> State:
        """The state with its weights refitted to the original, where that is better on samples not fitted."""
        layers = list(layers_of(self.model, self.channels, kept_ids(self.channels, self.removal(state))))
        if not self._refitting or not layers or len(self.feeds) < LEAST_FITTED:
            return state
        fitted = State(state.model.clone(), state.alive)
        context = self._context
        try:
            refit(
                self.model,
                fitted.model,
                layers,
                self.feeds,
                memory=context.memory // 2,
                threads=context.threads,
                progress=context.progress,
            )
        except (InputError, CheckFailed) as error:
            context.decline("refit", "the model in pieces", str(error))
            return state
        return min((state, fitted), key=lambda each: self._distance(each.model))

    def removal(self, state: State) -> dict[str, list[int]]:
        """What is gone of the original."""
        removal = {}
        for group in self.channels.groups:
            if group.key in state.alive and len(state.alive[group.key]) < len(group):
                removal[group.key] = np.setdiff1d(np.arange(len(group)), state.alive[group.key]).tolist()
        return removal

    def changed(self, state: State) -> dict[str, npt.NDArray[np.generic]]:
        """Name -> numbers of the constants that mixing and refitting changed."""
        plain = self.model.clone()
        remove_channels(plain, find_channels(plain), self.removal(state))
        before = constants_of(plain)
        changed = {}
        for name, value in constants_of(state.model).items():
            tensor, old = constant_tensor(value), constant_tensor(before.get(name))
            if tensor is not None and tensor is not old:
                changed[name] = tensor.numpy()
        return changed

    def found(self, state: State) -> Found:
        """What a state amounts to."""
        return Found(self.removal(state), self.changed(state))

    @cached_property
    def _distance(self) -> OutputNoise:
        return OutputNoise(self.model, self.judging, self._context.threads, self._context.memory // 4)
