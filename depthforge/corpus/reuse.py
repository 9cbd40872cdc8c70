"""Take committed shards of one corpus into another that plans the same shards: a version of a corpus that has grown.

Nothing of the old corpus is edited: the arrays of a shard, which are all but a kilobyte of it, become the same files
under a second name (hard links where both lie on one file system, else copies); what binds a shard to its corpus, the
attributes of its group and its index part, is written anew. The bytes are those that a conversion would make: a shard
depends on its frames alone.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Final

from depthforge.corpus.arrays import write_group
from depthforge.corpus.index import FileDigest, ShardCommit, index_part, intact_commit, parts
from depthforge.corpus.layout import CorpusInfo, Layout
from depthforge.corpus.store import CorpusStore
from depthforge.corpus.tables import read_table
from depthforge.errors import IntegrityError
from depthforge.storage import Place, Storage, open_storage

__all__ = ["reuse_shards"]

_GROUP: Final = "zarr.json"


def reuse_shards(store: CorpusStore, old: Place) -> int:
    """Commit in ``store`` every shard of the corpus ``old`` that is not committed there yet; return how many.

    Raises IntegrityError for a shard of ``old`` whose files are not those that it committed, StorageError when the
    output cannot be written.
    """
    source = open_storage(old)
    fingerprint = CorpusInfo.load(source).fingerprint
    done, reused = store.committed(), 0
    for shard in parts(source):
        if shard in done:
            continue
        commit = intact_commit(source, shard, fingerprint)
        if commit is None:
            raise IntegrityError(
                "a shard of the version before is damaged",
                where=source.where(Layout.index_part(shard)),
                remedy=f"depthforge verify {source.address}",
            )
        _reuse(source, commit, store)
        reused += 1
    return reused


def _reuse(source: Storage, commit: ShardCommit, store: CorpusStore) -> None:
    target, shard = store.storage, commit.shard
    files, prefix = dict(commit.files), Layout.shard(shard)
    if commit.num_frames:
        group = target.stage(prefix)
        try:
            for each in source.objects(prefix):
                name = each.name.removeprefix(f"{prefix}/")
                if name == _GROUP:
                    attributes = json.loads(source.read(each.name))["attributes"]
                    write_group(group, {**attributes, "fingerprint": store.info.fingerprint})
                    content = group.storage.read(f"{group.prefix}/{name}")
                    files[each.name] = FileDigest.of_bytes(content)
                else:
                    group.take(source, each.name, name)
            group.seal()
            group.publish()
        finally:
            group.drop()
    rejects = Layout.rejects_part(shard)
    if commit.num_rejects:
        target.write(rejects, source.read(rejects))
    rows = read_table(source.read(Layout.index_part(shard))).to_pylist()
    commit = replace(commit, fingerprint=store.info.fingerprint, files=files)
    target.put_if_absent(Layout.index_part(shard), index_part(rows, store.info.corpus_schema, commit))
