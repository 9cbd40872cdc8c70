"""The frames of the depth images that were chosen, and which of them the files of another group are of."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from glob import escape
from typing import Final

from depthforge.sources.file_tree import Tree
from depthforge.sources.proposing.groups import Group
from depthforge.sources.templates import PathTemplate

__all__ = ["DepthFrames"]

_PLACEHOLDER: Final = re.compile(r"\{\w+\}")


class DepthFrames:
    """Frames by the paths of depth: ``text`` is the template that describes them, ``names`` its placeholders.

    Where no number in a file's name says which frame it is of, a folder does, or the name itself.
    """

    def __init__(self, group: Group, size: tuple[int, int]) -> None:
        self.size = size
        self.is_lone = False
        self._renamed: str | None = None
        self.files: Mapping[str, Mapping[str, str]] = group.files
        self.text = group.template
        if not group.has_frame and group.names:
            self._renamed = group.names[-1]
            self.files = {path: self._with_frame(fields) for path, fields in group.files.items()}
            self.text = self.template(group)
        elif not group.has_frame:
            folder, _, name = group.template.rpartition("/")
            stem = name.removesuffix(group.suffix)
            self.is_lone = True
            self.files = {group.template: {"frame": stem}}
            self.text = f"{folder}/{{frame}}{group.suffix}" if folder else f"{{frame}}{group.suffix}"
        self.names = set(PathTemplate(self.text).names)

    @property
    def count(self) -> int:
        """The number of frames."""
        return len(self.files)

    def template(self, group: Group) -> str:
        """Return the template of a group in the placeholders of depth."""
        return group.template if self._renamed is None else group.template.replace(f"{{{self._renamed}}}", "{frame}")

    def named_by(self, group: Group) -> set[str]:
        """Return the paths of the frames of which a group has a file. A single file is of no more than one frame."""
        template = PathTemplate(self.template(group))
        if not template.names:
            return {path for path in self.files if self.count == 1 and _are_of_one(path, template.text)}
        if not set(template.names) <= self.names:
            return set()
        return {path for path, fields in self.files.items() if template.fill(fields) in group.files}

    def others(self, tree: Tree, groups: Sequence[Group]) -> list[str]:
        """Return globs of the files that the template describes, too, and that are no depth."""
        template = PathTemplate(self.text)
        paths = {path for scene in template.scenes(tree) for path, _ in scene if path not in self.files}
        globs = []
        for group in groups:
            glob = _PLACEHOLDER.sub("*", escape(group.template))
            if group.names and paths & set(group.files) and not any(fnmatchcase(path, glob) for path in self.files):
                globs.append(glob)
                paths -= {path for path in paths if fnmatchcase(path, glob)}
        return sorted([*globs, *map(escape, paths)])

    def _with_frame(self, fields: Mapping[str, str]) -> dict[str, str]:
        return {"frame" if name == self._renamed else name: value for name, value in fields.items()}


def _are_of_one(depth: str, path: str) -> bool:
    """Return whether two lone files are of one frame: they lie side by side, or have one name."""
    (folder, _, name), (own_folder, _, own_name) = depth.rpartition("/"), path.rpartition("/")
    return folder == own_folder or name.rpartition(".")[0] == own_name.rpartition(".")[0]
