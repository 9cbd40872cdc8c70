from __future__ import annotations

import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from depthforge import registry
from depthforge.errors import UnknownNameError
from depthforge.registry import Registry


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Registry:
    """A package that lists two plug-ins and has a helper beside them; importing `broken` fails."""
    folder = tmp_path / "shelf"
    folder.mkdir()
    (folder / "__init__.py").write_text("PLUGINS = ('broken', 'novel')\n")
    (folder / "helper.py").write_text("")
    (folder / "broken.py").write_text("raise RuntimeError('imported')")
    made = Registry("book", "shelf")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(sys.modules, "the_registry", made)  # type: ignore[arg-type]
    (folder / "novel.py").write_text(
        "import the_registry\n@the_registry.register('novel')\nclass Novel:\n    '''A story.'''\n"
    )
    yield made
    for name in [name for name in sys.modules if name.split(".")[0] == "shelf"]:
        del sys.modules[name]


def test_names_import_nothing(package: Registry) -> None:
    assert package.names() == ["broken", "novel"]
    assert "shelf.broken" not in sys.modules


def test_a_name_is_found_and_stamped_on_its_class(package: Registry) -> None:
    cls = package.get("novel")
    assert cls.__name__ == "Novel"
    assert cls.name == "novel"
    assert package.get("novel") is cls


def test_an_unknown_name_lists_the_known(package: Registry) -> None:
    with pytest.raises(UnknownNameError, match=r"did you mean 'novel'"):
        package.get("novell")


def test_two_classes_cannot_share_a_name() -> None:
    shelf = Registry("book", "depthforge.sources")
    shelf.register("twice")(type("First", (), {}))
    with pytest.raises(ValueError, match="two classes"):
        shelf.register("twice")(type("Second", (), {}))


def test_entry_points_add_names(monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint("ordered", "collections:OrderedDict", "depthforge.books")

    _brings(monkeypatch, point)
    shelf = Registry("book", "depthforge.sources")
    assert "ordered" in shelf.names()
    assert shelf.get("ordered").__name__ == "OrderedDict"


def _brings(monkeypatch: pytest.MonkeyPatch, *points: EntryPoint) -> None:
    monkeypatch.setattr(registry, "entry_points", lambda *, group: [p for p in points if p.group == group])


def test_an_entry_point_never_takes_a_name_of_ours(package: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    """Defect: the class of another package was used for a built-in name, without a word."""
    _brings(monkeypatch, EntryPoint("novel", "collections:OrderedDict", "depthforge.books"))
    with pytest.warns(UserWarning, match="one of depthforge's own"):
        assert package.names() == ["broken", "novel"]
    assert package.get("novel").__name__ == "Novel"


def test_a_class_from_elsewhere_is_not_registered_under_a_name_of_ours(package: Registry) -> None:
    with pytest.raises(ValueError, match="one of depthforge's own"):
        package.register("novel")(type("Mine", (), {}))


def test_two_packages_that_bring_one_name_are_refused(package: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    _brings(
        monkeypatch,
        EntryPoint("atlas", "collections:OrderedDict", "depthforge.books"),
        EntryPoint("atlas", "collections:Counter", "depthforge.books"),
    )
    with pytest.raises(ValueError, match="two packages bring a book named 'atlas'"):
        package.get("atlas")


@pytest.mark.parametrize(
    "kind", [registry.sources, registry.sensors, registry.translators, registry.tasks, registry.layouts]
)
def test_every_built_in_module_registers_its_own_name(kind: Registry) -> None:
    for name in kind.names():
        assert kind.get(name).name == name


def test_every_plugin_can_be_the_first_to_be_imported() -> None:
    """Packages that share code could import each other in a circle that only one order closes."""
    script = """
import sys
from depthforge.registry import layouts, sensors, sources, translators
for registry in (sources, sensors, layouts):
    for name in registry.names():
        registry._classes.clear()
        for module in [m for m in sys.modules if m.startswith(registry.package + ".")]:
            del sys.modules[module]
        registry.get(name)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
