"""Named plug-ins: sources, sensors, translators, sample layouts.

A plug-in is one module in its package, named as a manifest names it, holding one class registered by decorator::

    @sources.register("interiornet")
    class InteriorNet(Source): ...

Nothing is imported until a name is asked for. Other distributions add names by entry point in the group
``depthforge.<kind>s`` (value ``module:Class``).
"""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
from collections.abc import Callable
from importlib.metadata import entry_points
from typing import Any, TypeVar

from depthforge.errors import UnknownNameError

__all__ = ["Registry", "layouts", "sensors", "sources", "translators"]

T = TypeVar("T", bound=type)


class Registry:
    """Names of one ``kind`` of plug-in, found in the modules of ``package`` and in entry points."""

    def __init__(self, kind: str, package: str) -> None:
        self.kind = kind
        self.package = package
        self._classes: dict[str, type[Any]] = {}

    def register(self, name: str) -> Callable[[T], T]:
        """Return the decorator that registers a class under ``name``; a second class of that name is an error."""

        def keep(cls: T) -> T:
            taken = self._classes.get(name)
            if taken is not None and (taken.__module__, taken.__qualname__) != (cls.__module__, cls.__qualname__):
                raise ValueError(f"{self.kind} {name!r} is already {taken.__module__}.{taken.__qualname__}")
            cls.name = name  # type: ignore[attr-defined]
            self._classes[name] = cls
            return cls

        return keep

    def names(self) -> list[str]:
        """Return every name, sorted, without importing a plug-in (a module may register no other name)."""
        spec = importlib.util.find_spec(self.package)
        locations = spec.submodule_search_locations if spec and spec.submodule_search_locations else []
        built_in = {m.name for m in pkgutil.iter_modules(list(locations)) if not self._is_private(m.name)}
        installed = {entry.name for entry in entry_points(group=self._group)}
        return sorted(built_in | installed | set(self._classes))

    def get(self, name: str, *, where: object = None) -> type[Any]:
        """Return the class registered under ``name``; raise UnknownNameError with the closest known name."""
        if name not in self._classes and name in self.names():
            for entry in entry_points(group=self._group, name=name):
                self._classes.setdefault(name, entry.load())
            if name not in self._classes:
                importlib.import_module(f"{self.package}.{name}")
        try:
            return self._classes[name]
        except KeyError:
            raise UnknownNameError(self.kind, name, self.names(), where=where) from None

    @property
    def _group(self) -> str:
        return f"depthforge.{self.kind}s"

    @staticmethod
    def _is_private(module: str) -> bool:
        # `base` holds the contract; modules that only serve plug-ins start with an underscore.
        return module == "base" or module.startswith("_")


sources = Registry("source", "depthforge.sources")
sensors = Registry("sensor", "depthforge.sensors")
translators = Registry("translator", "depthforge.translators")
layouts = Registry("layout", "depthforge.samples")
