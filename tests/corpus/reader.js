// Reads frames of a corpus from docs/corpus-format.md alone, with Node and none of its packages:
//     node reader.js CORPUS FIELD...
// prints, for every frame and field, the SHA-256 of the values as stored (of the JPEG file where the field holds files).
// Blosc 1: https://github.com/Blosc/c-blosc/blob/main/README_CHUNK_FORMAT.rst; LZ4 blocks:
// https://github.com/lz4/lz4/blob/dev/doc/lz4_Block_format.md
const fs = require("fs");
const path = require("path");
const zlib = require("zlib");
const crypto = require("crypto");

const ITEM_BYTES = { bool: 1, int8: 1, uint8: 1, int16: 2, uint16: 2, int32: 4, uint32: 4, float32: 4, float64: 8, int64: 8 };
const ABSENT = 2n ** 64n - 1n;
const readJson = (...parts) => JSON.parse(fs.readFileSync(path.join(...parts), "utf8"));

const CRC_TABLE = Array.from({ length: 256 }, (_, byte) => {
  for (let bit = 0; bit < 8; bit++) byte = byte & 1 ? (byte >>> 1) ^ 0x82f63b78 : byte >>> 1;
  return byte >>> 0;
});

function withoutCrc32c(content) {
  const body = content.subarray(0, -4);
  let crc = 0xffffffff;
  for (const byte of body) crc = (crc >>> 8) ^ CRC_TABLE[(crc ^ byte) & 255];
  if ((crc ^ 0xffffffff) >>> 0 !== content.readUInt32LE(content.length - 4)) throw new Error("a checksum does not match");
  return body;
}

function lz4(source, size) {
  const out = Buffer.alloc(size);
  const long = (length) => {
    for (let byte = 255; length >= 15 && byte === 255; length += byte) byte = source[at++];
    return length;
  };
  let at = 0;
  let filled = 0;
  while (at < source.length) {
    const token = source[at++];
    const literals = long(token >> 4);
    source.copy(out, filled, at, at + literals);
    at += literals;
    filled += literals;
    if (at >= source.length) break;
    const distance = source.readUInt16LE(at);
    at += 2;
    for (let left = long(token & 15) + 4; left > 0; left--, filled++) out[filled] = out[filled - distance];
  }
  return out;
}

function blosc(source) {
  const [flags, itemBytes] = [source[2], source[3]];
  const [size, blockBytes] = [source.readInt32LE(4), source.readInt32LE(8)];
  if (flags & 4) throw new Error("no decoder for shuffled bits");
  if (flags & 2) return source.subarray(16, 16 + size);
  const out = Buffer.alloc(size);
  for (let block = 0, start = 0; start < size; block++, start += blockBytes) {
    const bytes = Math.min(blockBytes, size - start);
    const isSplit = !(flags & 16) && bytes === blockBytes;
    const parts = isSplit ? itemBytes : 1;
    const pieces = [];
    let at = source.readInt32LE(16 + 4 * block);
    for (let part = 0; part < parts; part++) {
      const stored = source.readInt32LE(at);
      const piece = source.subarray(at + 4, at + 4 + stored);
      at += 4 + stored;
      if (stored === bytes / parts) pieces.push(piece);
      else if (flags >> 5 === 1) pieces.push(lz4(piece, bytes / parts));
      else if (flags >> 5 === 4 && zlib.zstdDecompressSync) pieces.push(zlib.zstdDecompressSync(piece));
      else throw new Error(`no decoder for blosc's compressor ${flags >> 5}`);
    }
    const shuffled = Buffer.concat(pieces);
    const items = Math.floor(bytes / itemBytes);
    if (!(flags & 1)) shuffled.copy(out, start);
    else {
      for (let byte = 0; byte < itemBytes; byte++)
        for (let item = 0; item < items; item++) out[start + item * itemBytes + byte] = shuffled[byte * items + item];
      shuffled.copy(out, start + items * itemBytes, items * itemBytes);
    }
  }
  return out;
}

function runningSum(content, itemBytes) {
  const out = Buffer.from(content);
  for (let at = itemBytes; at < out.length; at += itemBytes) {
    const sum = out.readUIntLE(at - itemBytes, itemBytes) + out.readUIntLE(at, itemBytes);
    out.writeUIntLE(sum % 2 ** (8 * itemBytes), at, itemBytes);
  }
  return out;
}

function transposedBack(content, order, shape, itemBytes) {
  const stored = order.map((axis) => shape[axis]);
  const strides = shape.map((_, axis) => shape.slice(axis + 1).reduce((a, b) => a * b, 1));
  const out = Buffer.alloc(content.length);
  const place = stored.map(() => 0);
  for (let from = 0; from < content.length; from += itemBytes) {
    const to = place.reduce((sum, index, axis) => sum + index * strides[order[axis]], 0) * itemBytes;
    content.copy(out, to, from, from + itemBytes);
    for (let axis = place.length - 1; axis >= 0 && ++place[axis] === stored[axis]; axis--) place[axis] = 0;
  }
  return out;
}

function decoded(content, codecs, shape, itemBytes) {
  for (const { name, configuration } of [...codecs].reverse()) {
    if (name === "crc32c") content = withoutCrc32c(content);
    else if (name === "blosc") content = blosc(content);
    else if (name === "zstd" && zlib.zstdDecompressSync) content = zlib.zstdDecompressSync(content);
    else if (name === "numcodecs.delta") content = runningSum(content, itemBytes);
    else if (name === "transpose") content = transposedBack(content, configuration.order, shape, itemBytes);
    else if (name !== "bytes" && name !== "depthforge.jpeg") throw new Error(`no decoder for ${name}`);
  }
  return content;
}

function* framesOf(group, field, count) {
  const array = readJson(group, field, "zarr.json");
  const { chunk_shape: shape, codecs } = array.codecs[0].configuration;
  const itemBytes = ITEM_BYTES[array.data_type];
  const file = path.join(group, field, ["c", ...array.shape.map(() => "0")].join("."));
  const content = array.shape[0] ? fs.readFileSync(file) : Buffer.alloc(0);
  const chunks = Math.ceil(array.shape[0] / shape[0]);
  const index = chunks ? withoutCrc32c(content.subarray(content.length - 16 * chunks - 4)) : content;
  const chunk = (number) => {
    const [offset, length] = [index.readBigUInt64LE(16 * number), index.readBigUInt64LE(16 * number + 8)];
    if (offset === ABSENT) return null;
    return decoded(content.subarray(Number(offset), Number(offset + length)), codecs, shape, itemBytes);
  };
  const offsets = array.attributes.offsets;
  if (!offsets) for (let row = 0; row < count; row++) yield chunk(row);
  else {
    const rowBytes = itemBytes * shape.slice(1).reduce((a, b) => a * b, 1);
    const rows = Buffer.concat(Array.from({ length: chunks }, (_, number) => chunk(number)));
    for (let row = 0; row < count; row++) yield rows.subarray(offsets[row] * rowBytes, offsets[row + 1] * rowBytes);
  }
}

const [corpus, ...fields] = process.argv.slice(2);
const description = readJson(corpus, "corpus.json");
if (description.format_version !== 2) throw new Error(`format version ${description.format_version}`);
if (description.units.depth !== "m" || description.quantity !== "planar z") throw new Error("not planar z in metres");
const found = {};
for (const name of fs.readdirSync(path.join(corpus, "index")).filter((name) => /^[^.].*\.parquet$/.test(name))) {
  const group = path.join(corpus, "shards", name.replace(".parquet", ".zarr"));
  const { keys } = readJson(group, "zarr.json").attributes;
  for (const key of keys) found[key] = {};
  for (const field of fields) {
    const values = framesOf(group, field, keys.length);
    for (const key of keys) {
      const content = values.next().value;
      found[key][field] = content && crypto.createHash("sha256").update(content).digest("hex");
    }
  }
}
console.log(JSON.stringify(found));
