"""A corpus in other formats, one module each; ``docs/export.md`` says what each carries.

A format is registered under the name that ``depthforge export --to`` uses, by the decorator ``registry.formats``.
"""

PLUGINS = ("bop", "coco", "hdf5", "huggingface", "kitti", "lerobot", "npz", "png", "webdataset")
