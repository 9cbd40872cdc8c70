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
    """A package of two plug-ins, one private module and a base; importing `broken` fails."""
    folder = tmp_path / "shelf"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "base.py").write_text("")
    (folder / "_private.py").write_text("")
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
    with pytest.raises(ValueError, match="already"):
        shelf.register("twice")(type("Second", (), {}))


def test_entry_points_add_names(monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint("ordered", "collections:OrderedDict", "depthforge.books")

    def found(*, group: str, name: str | None = None) -> list[EntryPoint]:
        return [point] if group == point.group and name in (None, point.name) else []

    monkeypatch.setattr(registry, "entry_points", found)
    shelf = Registry("book", "depthforge.sources")
    assert "ordered" in shelf.names()
    assert shelf.get("ordered").__name__ == "OrderedDict"


@pytest.mark.parametrize("kind", [registry.sources, registry.translators, registry.layouts])
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
