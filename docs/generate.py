"""Write docs/cli.md, docs/manifest.md and docs/datasets.md from the code, docs/performance.md from benchmarks/results.

python docs/generate.py; a test holds every page against what this makes.
"""

from __future__ import annotations

import inspect
import sys
from pathlib import Path
from typing import Any

import click
from pydantic import BaseModel

# A script finds what lies beside it, and what is installed: the benchmarks are neither.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.page import performance_reference
from depthforge.cli.main import COMMANDS, cli
from depthforge.manifest import PluginBlock
from depthforge.manifest_schema import manifest_schema
from depthforge.registry import Registry, sensors, sources, tasks, translators
from depthforge.sensors.preset import load_preset, preset_names
from depthforge.sources.base import Source
from depthforge.sources.resized import build_source
from depthforge.tasks.base import TaskConfig
from depthforge.tasks.table_manifest import FramesBlock, RealBlock, RowBlock, TableManifest

HERE = Path(__file__).resolve().parent

TABLE_BLOCKS: dict[type[BaseModel], str] = {
    TableManifest: "A table",
    RealBlock: "`real`",
    FramesBlock: "`real.train` and `real.test`",
    RowBlock: "`rows`",
}

BLOCKS = {
    "CorpusSettings": "corpus",
    "DepthEncoding": "corpus.depth",
    "Codec": "corpus.codec",
    "TrainingSettings": "training",
    "WatchSettings": "training.watch",
    "NightlySettings": "nightly",
}


def cli_reference() -> str:
    """Return the help of every command as one Markdown page."""
    parts = ["# Commands", "", "Written by `docs/generate.py` from the commands' own help.", ""]
    for name in (None, *COMMANDS):
        settings = {**cli.context_settings, "max_content_width": 100, "terminal_width": 100}
        context = click.Context(cli, info_name="depthforge", **settings)
        command: click.Command = cli
        if name is not None:
            found = cli.get_command(context, name)
            assert found is not None
            command = found
            context = click.Context(found, info_name=name, parent=context, **settings)
        title = f"depthforge {name}" if name else "depthforge"
        parts += [f"## {title}", "", "```", command.get_help(context), "```", ""]
        if name is not None and isinstance(command, click.Group):
            for sub_name in command.list_commands(context):
                sub = command.get_command(context, sub_name)
                assert sub is not None
                inner = click.Context(sub, info_name=sub_name, parent=context, **settings)
                parts += [f"### {title} {sub_name}", "", "```", sub.get_help(inner), "```", ""]
    parts += [
        "## Exit codes",
        "",
        "0 done, 2 usage, 3 input invalid, 4 done without some frames or parts of the data set, 5 failed or "
        "incomplete, 6 integrity, 7 realism drifted (`nightly`), 130 interrupted, 143 ended by SIGTERM. A command "
        "whose process Ray or the kernel ends (a node or head that is gone, memory) ends with 5 as well; only one that "
        "is itself ended by SIGKILL has no code of its own (a shell says 137). After 5, 130, 137 and 143 the same "
        "command goes on where it stopped. `check`, a dry run, the run and the same run again end with the same of 0 "
        "and 4; where too many frames are rejected, the first two say 3 before it and the run says 5.",
        "",
    ]
    return "\n".join(parts)


def manifest_reference() -> str:
    """Return every field of a manifest, and of every source and translator, as one Markdown page."""
    schema = manifest_schema()
    parts = [
        "# The manifest",
        "",
        "Written by `docs/generate.py` from the typed models. `depthforge list --schema` prints the JSON Schema.",
        "`${NAME}` and `${NAME:-default}` in a value come from the environment; relative paths are relative to the",
        "working directory.",
        "",
        "## Top level",
        "",
        *_table({k: v for k, v in schema["properties"].items() if k not in ("source", "translator")}, schema),
        "| `source` | mapping | required | where clean frames come from; see Sources |",
        "| `translator` | mapping | required | what makes them noisy; see Translators |",
        "",
    ]
    for name, path in BLOCKS.items():
        block = schema["$defs"][name]
        fields = {k: v for k, v in block["properties"].items() if k != "real"}
        parts += [f"## `{path}`", "", block.get("description", ""), "", *_table(fields, schema)]
        if "real" in block["properties"]:
            parts += ["| `real` | mapping | required | where real scans come from; see Sources |"]
        parts += [""]
    for title, registry, field in (("Sources", sources, "source"), ("Translators", translators, "translator")):
        parts += [f"## {title}", ""]
        for variant in schema["properties"][field]["oneOf"]:
            name = variant["properties"]["name"]["const"]
            parts += [f"### `{name}`", "", _sentence(registry, name), ""]
            fields = {k: v for k, v in variant["properties"].items() if k != "name"}
            parts += [*_table(fields, schema), ""] if fields else ["No fields.", ""]
            prefix = f"{field}-{name}-"
            for model, block in schema["$defs"].items():
                if model.startswith(prefix) and "properties" in block:
                    parts += [f"`{model.removeprefix(prefix)}`:", "", *_table(block["properties"], schema), ""]
    parts += [
        "## Sensors",
        "",
        "Where a field holds a sensor: the name of a preset (`sensor: d435`), the path of a preset file that ends in",
        "`.yaml` (`depthforge fit` writes one), a mapping with `preset` and what changes it, or one with `name` and",
        "parameters. [sensors.md](sensors.md) shows what each does. `reframe: PRESET` in a source block brings frames",
        "to the preset's camera, whose pixels its parameters are of.",
        "",
        "| preset | sensor | camera | |",
        "|---|---|---|---|",
    ]
    for name in preset_names():
        preset = load_preset(name)
        camera = preset.camera
        pixels = "" if camera is None else f"{camera.width}x{camera.height}, f = {camera.fx:g}"
        parts.append(f"| `{name}` | `{preset.sensor}` | {pixels} | {' '.join(preset.description.split())} |")
    parts.append("")
    for name in sensors.names():
        parts += [f"### `{name}`", "", _sentence(sensors, name), ""]
        fields = {k: v for k, v in schema["$defs"][f"sensor-{name}"]["properties"].items() if k != "name"}
        parts += [*_table(fields, schema), ""]
        for model, block in schema["$defs"].items():
            if model.startswith(f"sensor-{name}-") and "properties" in block:
                parts += [f"`{model.removeprefix(f'sensor-{name}-')}`:", "", *_table(block["properties"], schema), ""]
    return "\n".join([*parts, *_tasks_reference()])


def _tasks_reference() -> list[str]:
    """Return every field of a task block and of a table's manifest."""
    parts = [
        "## Tables of tasks",
        "",
        "A YAML file of its own kind, for `depthforge evaluate`: [tasks.md](tasks.md).",
        "",
    ]
    for model, path in TABLE_BLOCKS.items():
        schema = model.model_json_schema()
        parts += [f"### {path}", "", " ".join((model.__doc__ or "").split("\n\n")[0].split()), ""]
        parts += [*_table(schema["properties"], schema), ""]
    parts += ["## Tasks", "", "Fields of every task (`task:` of a table):", ""]
    common = TaskConfig.model_json_schema()
    parts += [*_table(common["properties"], common), ""]
    for name in tasks.names():
        schema = tasks.get(name).Config.model_json_schema()
        own = {k: v for k, v in schema["properties"].items() if v != common["properties"].get(k)}
        small = ", ".join(f"`{field}: {value}`" for field, value in tasks.get(name).Config.small.items())
        parts += [f"### `{name}`", "", _sentence(tasks, name), "", f"`setting: small` is {small}.", ""]
        parts += [*_table(own, schema), ""] if own else []
    return parts


# For each source the configurations that carry different labels, for the table of labels; only roots are made up.
FOLDER = {
    "root": "scans",
    "dataset": "scans",
    "depth": "{frame}.png",
    "depth_scale": 1000,
    "camera": {"width": 640, "height": 480, "fx": 525, "fy": 525, "cx": 319.5, "cy": 239.5},
    "licence": {"name": "stated in the manifest", "non_commercial": True},
    "pose": {"file": "{frame}.txt", "format": "matrix"},
    "rgb": "{frame}.jpg",
    "semantic": "{frame}.png",
    "instance": "{frame}.png",
}
CONFIGURATIONS: dict[str, list[dict[str, Any]]] = {
    "interiornet": [{}],
    "graspnet": [{"depth": depth, "grasps": {}, "prepared": "prepared"} for depth in ("rendered", "raw")],
    "vkitti": [{"version": version} for version in ("1.3.1", "2.0.3")],
    "scannet": [{}],
    "kitti": [{"layout": layout} for layout in ("raw", "depth_completion", "object", "odometry")],
    "nyu": [{}, {"depth": "inpainted"}, {"files": "raw"}],
    "replica": [{}],
    "tartanair": [{}],
    "hypersim": [{}],
    "nerfstudio": [{}],
    "tum": [{"layout": layout} for layout in ("tum", "icl_nuim")],
    "linemod": [
        {"layout": layout, "depth": depth} for layout in ("bop", "preprocessed") for depth in ("raw", "rendered")
    ],
    "bop": [{"depth": depth} for depth in ("raw", "rendered")],
    "fused": [{"of": {"name": "rgbd_folder", **FOLDER}, "prepared": "prepared"}],
    "rgbd_folder": [FOLDER],
    "rosbag": [{"world_frame": "map", "licence": FOLDER["licence"]}],
    "blenderproc": [{"licence": FOLDER["licence"]}],
    "replicator": [{"licence": FOLDER["licence"]}],
    "procedural": [{}],
}


def datasets_reference() -> str:
    """Return what each source reads, under which terms, and the table of data sets against labels, as one page."""
    made = {name: [_source(name, options) for options in CONFIGURATIONS[name]] for name in sources.names()}
    parts = [
        "# Data sets and labels",
        "",
        "Written by `docs/generate.py` from the sources themselves. Everything is converted at the door: depth is",
        "planar z in metres with a mask of its own, poses are camera-to-world in OpenCV axes, colour is RGB.",
        "",
        "| source | reads | licence, as the card of a corpus states it |",
        "|---|---|---|",
    ]
    for name, variants in made.items():
        licence = variants[0].licence
        terms = f"[{licence.name}]({licence.url})" if licence.url else licence.name
        parts.append(f"| `{name}` | {_sentence(sources, name)} | {terms} |")
    parts += [
        "",
        "## Which label comes from where",
        "",
        "*yes*: carried; *some*: in some of the layouts, versions or depths that the source reads (see",
        "[manifest.md](manifest.md)). A label whose file is missing is left out of that frame, and `required` in a",
        "manifest makes such a frame a reject. Labels are carried bit for bit; one that noise changes is computed",
        "again from the noisy depth. `resize` and `reframe` in a source block resample each as the last column says.",
        "",
    ]
    specs = {label: spec for variants in made.values() for source in variants for label, spec in source.labels.items()}
    parts.append("| label | " + " | ".join(f"`{name}`" for name in made) + " | resized |")
    parts.append("|---" * (len(made) + 2) + "|")
    for label in sorted(specs):
        cells = [_carried(label, variants) for variants in made.values()]
        parts.append(f"| `{label}` | " + " | ".join(cells) + f" | {specs[label].resize} |")
    parts += ["", "## What each label is", "", "| label | stored as | meaning |", "|---|---|---|"]
    for label in sorted(specs):
        spec = specs[label]
        shape = {"image": ["H", "W"], "frame": [], "ragged": ["N"]}[spec.layout] + [str(n) for n in spec.trailing]
        changed = " **Computed again from the noisy depth.**" if spec.noise else ""
        units = f", {spec.units}" if spec.units else ""
        told = {s.labels[label].description for group in made.values() for s in group if label in s.labels}
        meaning = "; or ".join(sorted(told))
        parts.append(f"| `{label}` | ({', '.join(shape)}) {spec.dtype}{units} | {meaning}.{changed} |")
    return "\n".join([*parts, "", *THROUGHPUT, ""])


THROUGHPUT = [
    "## Throughput",
    "",
    "`python -m benchmarks.bench_sources`: procedural samples through the manifest that is shipped for each,",
    "shards of 32 frames, in one process on one core of an EPYC; frames per second of reading alone, of writing",
    "alone, and of all of `synthesize` (read, simulate, write, re-read, hash). The last column is how many times",
    "as fast that is as a plain script that writes a PNG for each image and one compressed .npz for the rest, of",
    "the same frames by the same sensor, and re-reads and hashes nothing. Rendering clean depth is most of",
    "GraspNet's and YCB-V's reading.",
    "",
    "| manifest | pixels | labels | read | write | whole | of a script |",
    "|---|---|---|---|---|---|---|",
    "| `bop.yaml` (PBR as shipped) | 640x480 | 12 | 73 | 62 | 25.2 | 1.32 |",
    "| `ycbv.yaml` (rendered, 11 objects) | 640x480 | 14 | 8.8 | 45 | 7.2 | 1.27 |",
    "| `linemod.yaml` (rendered, 1 object) | 640x480 | 14 | 34 | 71 | 19.6 | 1.83 |",
    "| `graspnet.yaml` (rendered, 8 objects) | 1280x720 | 10 | 7.3 | 25 | 5.5 | 1.55 |",
    "| `interiornet.yaml` | 640x480 | 6 | 73 | 70 | 29.4 | 1.43 |",
    "| `vkitti.yaml` | 1242x375 | 13 | 38 | 31 | 16.3 | 2.23 |",
    "| `kitti.yaml` | 1216x352 | 5 | 59 | 23 | 17.0 | 0.85 |",
    "| `kitti-depth-completion.yaml` | 1216x352 | 5 | 46 | 19 | 14.2 | 0.88 |",
    "| `nyu.yaml` | 640x480 | 5 | 165 | 67 | 35.3 | 2.18 |",
    "| `scannet.yaml` | 640x480 | 5 | 43 | 79 | 23.7 | 1.32 |",
    "| `scans.yaml` | 640x480 | 3 | 226 | 88 | 59.1 | 1.52 |",
]


def _source(name: str, options: dict[str, Any]) -> Source:
    fields = sources.get(name).Config.model_fields
    root = {"root": "root"} if "root" in fields and "root" not in options else {}
    return build_source(name, PluginBlock.parse(sources, {"name": name, **root, **options}).config)  # type: ignore[arg-type]


def _carried(label: str, variants: list[Source]) -> str:
    count = sum(label in source.labels for source in variants)
    return "yes" if count == len(variants) else "some" if count else ""


def _sentence(registry: Registry, name: str) -> str:
    text = inspect.getdoc(registry.get(name)) or ""
    return " ".join(text.split("\n\n")[0].split())


def _table(fields: dict[str, Any], schema: dict[str, Any]) -> list[str]:
    rows = ["| field | type | default | meaning |", "|---|---|---|---|"]
    for name, field in fields.items():
        default = f"`{field['default']}`" if "default" in field else "see below" if "$ref" in field else ""
        rows.append(f"| `{name}` | {_kind(field)} | {default} | {_meaning(field)} |")
    return rows


def _meaning(field: dict[str, Any]) -> str:
    return str(field.get("description", "")).replace("\n", " ").replace("|", "\\|")


def _kind(field: dict[str, Any]) -> str:
    if "enum" in field:
        return " or ".join(f"`{value}`" for value in field["enum"])
    if "const" in field:
        return f"`{field['const']}`"
    for key in ("anyOf", "oneOf"):
        if key in field:
            return " or ".join(_kind(option) for option in field[key])
    if "$ref" in field:
        return f"`{field['$ref'].rsplit('/', 1)[1].rsplit('-', 1)[-1]}`"
    if field.get("type") == "array":
        return f"list of {_kind(field['items'])}" if "items" in field else "list"
    return str(field.get("type", "any"))


def main() -> None:
    """Write every page."""
    (HERE / "cli.md").write_text(cli_reference())
    (HERE / "manifest.md").write_text(manifest_reference())
    (HERE / "datasets.md").write_text(datasets_reference())
    (HERE / "performance.md").write_text(performance_reference())


if __name__ == "__main__":
    main()
