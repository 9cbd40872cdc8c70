"""Named plug-ins: sources, sensors, translators, tasks, sample layouts.

A plug-in is one module (or package) that its package lists in ``PLUGINS``, named as a manifest names it, holding one
class registered by decorator::

    @sources.register("interiornet")
    class InteriorNet(Source): ...

Nothing is imported until a name is asked for. Other distributions add names by entry point in the group
``depthforge.<kind>s`` (value ``module:Class``). A name of our own stays ours: an entry point of the same name is left
out with a warning, and a class registered under it is an error, so that a manifest never means something else because
a package was installed.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from typing import Any, TypeVar

from depthforge.errors import InputError, UnknownNameError

__all__ = ["Registry", "formats", "layouts", "sensors", "sources", "tasks", "translators"]

T = TypeVar("T", bound=type)


class Registry:
    """Names of one ``kind`` of plug-in: those that ``package`` lists, and those of entry points."""

    def __init__(self, kind: str, package: str) -> None:
        self.kind = kind
        self.package = package
        self._classes: dict[str, type[Any]] = {}

    def register(self, name: str) -> Callable[[T], T]:
        """Return the decorator that registers a class under ``name``.

        InputError for a second class of that name, and for a name of depthforge's own from anywhere else.
        """

        def keep(cls: T) -> T:
            home = f"{self.package}.{name}"
            taken = self._classes.get(name)
            if name in self.built_in() and cls.__module__ != home and not cls.__module__.startswith(f"{home}."):
                raise InputError(
                    f"the {self.kind} {name!r} is one of depthforge's own",
                    where=f"{cls.__module__}.{cls.__qualname__}",
                    remedy="register it under another name",
                )
            if taken is not None and (taken.__module__, taken.__qualname__) != (cls.__module__, cls.__qualname__):
                raise InputError(
                    f"two classes are registered as the {self.kind} {name!r}",
                    where=f"{cls.__module__}.{cls.__qualname__}",
                    found=f"{taken.__module__}.{taken.__qualname__}",
                    remedy="register one of them under another name",
                )
            cls.name = name  # type: ignore[attr-defined]
            self._classes[name] = cls
            return cls

        return keep

    def names(self) -> list[str]:
        """Return every name, sorted, without importing a plug-in."""
        return sorted({*self.built_in(), *self._installed(), *self._classes})

    def get(self, name: str, *, where: object = None) -> type[Any]:
        """Return the class registered under ``name``; raise UnknownNameError with the closest known name.

        InputError when two installed packages bring the name.
        """
        if name not in self._classes:
            if name in self.built_in():
                importlib.import_module(f"{self.package}.{name}")
            elif (entry := self._installed().get(name)) is not None:
                self._classes.setdefault(name, entry.load())
        try:
            return self._classes[name]
        except KeyError:
            raise UnknownNameError(self.kind, name, self.names(), where=where) from None

    def built_in(self) -> tuple[str, ...]:
        """Return the names that depthforge itself brings."""
        names: tuple[str, ...] = importlib.import_module(self.package).PLUGINS
        return names

    def _installed(self) -> dict[str, EntryPoint]:
        """Return the entry points by name, without those that would take a name of ours."""
        found: dict[str, EntryPoint] = {}
        for entry in entry_points(group=f"depthforge.{self.kind}s"):
            if entry.name in self.built_in():
                warnings.warn(
                    f"{_package_of(entry)} brings a {self.kind} named {entry.name!r}, which is one of depthforge's "
                    "own; it is left out: ask its authors for another name",
                    stacklevel=3,
                )
            elif entry.name in found and found[entry.name].value != entry.value:
                raise InputError(
                    f"two packages bring a {self.kind} named {entry.name!r}",
                    found=f"{_package_of(found[entry.name])} and {_package_of(entry)}",
                    remedy="uninstall one of them",
                )
            else:
                found[entry.name] = entry
        return found


def _package_of(entry: EntryPoint) -> str:
    name = entry.dist.name if entry.dist is not None else "an installed package"
    return f"{name} ({entry.value})"


sources = Registry("source", "depthforge.sources")
sensors = Registry("sensor", "depthforge.sensors")
translators = Registry("translator", "depthforge.translators")
tasks = Registry("task", "depthforge.tasks")
layouts = Registry("layout", "depthforge.samples")
formats = Registry("format", "depthforge.export")
