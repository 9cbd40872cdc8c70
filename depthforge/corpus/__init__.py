"""The corpus format: zarr shards, parquet index, writer, readers, verification. Read docs/corpus-format.md first."""
