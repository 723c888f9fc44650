"""Policies made of policies: any of them, all of them, not before so many frames."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field, PrivateAttr

from rtdecode.core import plugins
from rtdecode.core.actions import Action, Stop
from rtdecode.core.config import Plugin
from rtdecode.core.contracts import Policy, Progress
from rtdecode.core.localizations import Localizations
from rtdecode.core.yaml_files import StrictModel


class Any(StrictModel):
    """Stop once any of the policies `of` says so, with its reason. What else they wish for is passed on.

    In YAML: `{use: "plugins/combine.py:Any", of: [{use: ...}, {use: ...}]}`.
    """

    of: Annotated[tuple[Plugin, ...], Field(min_length=1)]
    _inner: list[Policy] = PrivateAttr(default_factory=list)
    _said: bool = PrivateAttr(False)

    def model_post_init(self, context: object, /) -> None:
        """Build the inner policies."""
        self._inner = [_built(plugin, "Any") for plugin in self.of]

    def update(self, localizations: Localizations, progress: Progress) -> Sequence[Action]:
        """Called with whole frames in order."""
        wishes = [action for policy in self._inner for action in policy.update(localizations, progress)]
        stops = [action for action in wishes if isinstance(action, Stop)]
        first = [] if self._said else stops[:1]
        self._said = self._said or bool(stops)
        return [action for action in wishes if not isinstance(action, Stop)] + first

    def state(self) -> dict[str, float | str]:
        """What the inner ones say, numbered."""
        return _states(self.of, self._inner)


class All(StrictModel):
    """Stop once each of the policies `of` has said so, be it at different times. What else they wish for is passed on.

    In YAML: `{use: "plugins/combine.py:All", of: [{use: ...}, {use: ...}]}`.
    """

    of: Annotated[tuple[Plugin, ...], Field(min_length=1)]
    _inner: list[Policy] = PrivateAttr(default_factory=list)
    _reasons: dict[int, str] = PrivateAttr(default_factory=dict)
    _said: bool = PrivateAttr(False)

    def model_post_init(self, context: object, /) -> None:
        """Build the inner policies."""
        self._inner = [_built(plugin, "All") for plugin in self.of]

    def update(self, localizations: Localizations, progress: Progress) -> Sequence[Action]:
        """Called with whole frames in order."""
        passed = list[Action]()
        for number, policy in enumerate(self._inner):
            for action in policy.update(localizations, progress):
                if isinstance(action, Stop):
                    self._reasons.setdefault(number, action.reason)
                else:
                    passed.append(action)
        if self._said or len(self._reasons) < len(self._inner):
            return passed
        self._said = True
        return [*passed, Stop("; ".join(self._reasons[number] for number in sorted(self._reasons)))]

    def state(self) -> dict[str, float | str]:
        """What the inner ones say, numbered."""
        return {"reached": len(self._reasons), **_states(self.of, self._inner)}


class AtLeastFrames(StrictModel):
    """Hold back the Stop of the policy `of` until `frames` frames are fitted; what else it wishes for is passed on.

    In YAML: `{use: "plugins/combine.py:AtLeastFrames", frames: 5000, of: {use: ...}}`.
    """

    frames: Annotated[int, Field(gt=0)]
    of: Plugin
    _inner: list[Policy] = PrivateAttr(default_factory=list)
    _held: Stop | None = PrivateAttr(None)
    _said: bool = PrivateAttr(False)

    def model_post_init(self, context: object, /) -> None:
        """Build the inner policy."""
        self._inner = [_built(self.of, "AtLeastFrames")]

    def update(self, localizations: Localizations, progress: Progress) -> Sequence[Action]:
        """Called with whole frames in order."""
        wishes = list(self._inner[0].update(localizations, progress))
        passed = [action for action in wishes if not isinstance(action, Stop)]
        stops = [action for action in wishes if isinstance(action, Stop)]
        self._held = self._held or (stops[0] if stops else None)
        if self._said or self._held is None or progress.frames_fitted < self.frames:
            return passed
        self._said = True
        return [*passed, self._held]

    def state(self) -> dict[str, float | str]:
        """What the inner one says."""
        return _states((self.of,), self._inner)


def _built(plugin: Plugin, role: str) -> Policy:
    policy: Policy = plugins.build(plugin, {}, f"policy {role}, of", methods=("update",))
    return policy


def _states(made_of: Sequence[Plugin], inner: Sequence[Policy]) -> dict[str, float | str]:
    """`2 DensityStop coverage: 0.93` and so on; a number where one class may stand twice."""
    said: dict[str, float | str] = {}
    for number, (plugin, policy) in enumerate(zip(made_of, inner, strict=True), 1):
        state: dict[str, float | str] = getattr(policy, "state", dict)()
        name = plugin.use.rpartition(":")[2]
        said |= {f"{number} {name} {key}": value for key, value in state.items()}
    return said
