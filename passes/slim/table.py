"""The local rules of slimming, by family. One rule one module; a new one is added here and in the registry."""

from __future__ import annotations

from .rewriting import Rule

RULES: tuple[Rule, ...] = ()
