// The generator, unpacked: options from the header, tensors from the block of bytes.

function bytesOfBase64(text) {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(text);
  const letters = atob(text), bytes = new Uint8Array(letters.length);
  for (let i = 0; i < letters.length; i++) bytes[i] = letters.charCodeAt(i);
  return bytes;
}

/** Half precision to single: all 65536 values, once. */
const HALVES = (() => {
  const values = new Float32Array(65536);
  for (let bits = 0; bits < 65536; bits++) {
    const exponent = (bits >> 10) & 31, fraction = bits & 1023;
    const size = exponent ? 2 ** (exponent - 15) * (1 + fraction / 1024) : fraction * 2 ** -24;
    values[bits] = bits & 0x8000 ? -size : size;
  }
  return values;
})();

/** header, and the block as base64 -> what all others compute with. `tensor(name)` is float32, or null. */
function unpack(header, base64) {
  const { buffer } = bytesOfBase64(base64), known = new Map();
  const tensor = (name) => {
    if (!(name in header.tensors)) return null;
    if (!known.has(name)) known.set(name, read(...header.tensors[name]));
    return known.get(name);
  };
  const read = (shape, type, offset, factor) => {
    const count = shape.reduce((product, side) => product * side, 1);
    if (type === "f32") return new Float32Array(buffer, offset, count);
    const halves = new Uint16Array(buffer, offset, count), values = new Float32Array(count);
    for (let i = 0; i < count; i++) values[i] = HALVES[halves[i]] * factor;
    return values;
  };
  const part = (kind) => header.encoding.find((entry) => entry.kind === kind) ?? null;
  const fourier = part("fourier"), embedding = part("embedding");
  // What a worker needs to encode pixels; the weights come to it with each program.
  const grid = {
    turns: header.turns,
    resolution: header.resolution,
    noise: header.noise,
    fourier: fourier && { ...fourier, weight: tensor("fourier.weight"), bias: tensor("fourier.bias") },
    embedding: embedding && { ...embedding, table: tensor("embedding.table") },
  };
  return { ...header, grid, tensor, period: header.turns === null ? null : 2 * header.turns };
}
