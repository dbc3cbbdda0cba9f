// The inner loop, y = activation(x W + b), as WebAssembly SIMD, assembled here from its opcodes: 250 bytes, no tool.
//
// Four pixels by eight outputs are kept in registers: of ten loads come sixteen products, each of four numbers. Weights
// lie in panels of eight outputs, [outputs / 8][inputs][8], so that the loop reads them one behind the other.

const PANEL = 8; // outputs of a panel; layers are filled up with zeros to a multiple
const PIXELS = 4; // that are computed together

function unsignedLeb(value) {
  const bytes = [];
  do {
    const low = value & 127;
    value >>>= 7;
    bytes.push(value ? low | 128 : low);
  } while (value);
  return bytes;
}

function signedLeb(value) {
  const bytes = [];
  for (;;) {
    const low = value & 127;
    value >>= 7;
    if ((value === 0 && !(low & 64)) || (value === -1 && low & 64)) return [...bytes, low];
    bytes.push(low | 128);
  }
}

function floatBytes(value) {
  return [...new Uint8Array(new Float32Array([value]).buffer)];
}

// What is needed of the instruction set (WebAssembly core specification, chapter 5.4).
const I32 = 0x7f, V128 = 0x7b;
const get = (local) => [0x20, ...unsignedLeb(local)];
const set = (local) => [0x21, ...unsignedLeb(local)];
const int = (value) => [0x41, ...signedLeb(value)];
const float = (value) => [0x43, ...floatBytes(value)];
const add = [0x6a], multiply = [0x6c], lessThan = [0x49];
const simd = (code) => [0xfd, ...unsignedLeb(code)];
const loadVector = (offset) => [...simd(0x00), 0, ...unsignedLeb(offset)];
const loadSplat = (offset) => [...simd(0x09), 0, ...unsignedLeb(offset)];
const storeVector = (offset) => [...simd(0x0b), 0, ...unsignedLeb(offset)];
const splat = simd(0x13), addVectors = simd(0xe4), multiplyVectors = simd(0xe6), larger = simd(0xe9);
const when = (condition, body) => [...condition, 0x04, 0x40, ...body, 0x0b];

/** A loop whose body runs while the condition at its end holds, so at least once. */
const loop = (body, condition) => [0x03, 0x40, ...body, ...condition, 0x0d, 0, 0x0b];
const advance = (local, by) => [...get(local), ...by, ...add, ...set(local)];

/** The module: function `layer(x, weight, bias, shift, y, pixels, inputs, stride, outputs, leaky)`, its memory imported. */
function assembleKernel() {
  const [X, WEIGHT, BIAS, SHIFT, Y, COUNT, INPUTS, STRIDE, OUTPUTS, LEAKY] = Array(10).keys(); // pointers in bytes
  const PIXEL = 10, PANEL_START = 11, K = 12, W = 13, ROW = 14; // integers; ROW: x of the first of four pixels
  const OUT = 18, WEIGHTS = [19, 20], VALUE = 21, SUMS = 22; // OUT: an integer; vectors from 19 on
  const bytesOf = (local) => [...get(local), ...int(4), ...multiply];
  const each = (times, make) => Array.from({ length: times }, (_, i) => make(i)).flat();

  const begin = each(PIXELS, (r) => each(2, (h) => [
    ...get(BIAS), ...bytesOf(PANEL_START), ...add, ...loadVector(16 * h),
    ...get(SHIFT), ...bytesOf(PIXEL), ...add, ...loadSplat(4 * r), ...addVectors, ...set(SUMS + 2 * r + h),
  ]));
  const step = [
    ...each(2, (h) => [...get(W), ...loadVector(16 * h), ...set(WEIGHTS[h])]),
    ...each(PIXELS, (r) => [
      ...get(ROW + r), ...loadSplat(0), ...set(VALUE),
      ...each(2, (h) => [
        ...get(VALUE), ...get(WEIGHTS[h]), ...multiplyVectors, ...get(SUMS + 2 * r + h), ...addVectors, ...set(SUMS + 2 * r + h),
      ]),
      ...advance(ROW + r, int(4)),
    ]),
    ...advance(W, int(4 * PANEL)),
    ...advance(K, int(1)),
  ];
  const leak = each(2 * PIXELS, (i) => [
    ...get(SUMS + i), ...get(SUMS + i), ...float(0.2), ...splat, ...multiplyVectors, ...larger, ...set(SUMS + i),
  ]);
  const finish = [
    ...get(Y), ...get(PIXEL), ...get(OUTPUTS), ...multiply, ...get(PANEL_START), ...add, ...int(4), ...multiply, ...add, ...set(OUT),
    ...each(PIXELS, (r) => [
      ...each(2, (h) => [...get(OUT), ...get(SUMS + 2 * r + h), ...storeVector(16 * h)]),
      ...advance(OUT, bytesOf(OUTPUTS)),
    ]),
  ];
  const rows = each(PIXELS, (r) => [
    ...get(X), ...get(PIXEL), ...int(r), ...add, ...get(STRIDE), ...multiply, ...int(4), ...multiply, ...add, ...set(ROW + r),
  ]);
  const panels = loop(
    [
      ...begin, ...rows, ...int(0), ...set(K),
      ...loop(step, [...get(K), ...get(INPUTS), ...lessThan]),
      ...when(get(LEAKY), leak),
      ...finish, ...advance(PANEL_START, int(PANEL)),
    ],
    [...get(PANEL_START), ...get(OUTPUTS), ...lessThan],
  );
  const code = [
    ...int(0), ...set(PIXEL),
    ...loop(
      [...int(0), ...set(PANEL_START), ...get(WEIGHT), ...set(W), ...panels, ...advance(PIXEL, int(PIXELS))],
      [...get(PIXEL), ...get(COUNT), ...lessThan],
    ),
    0x0b,
  ];
  const locals = [2, ...unsignedLeb(9), I32, ...unsignedLeb(2 + 1 + 2 * PIXELS), V128];
  const body = [...locals, ...code];
  const section = (id, content) => [id, ...unsignedLeb(content.length), ...content];
  const text = (name) => [name.length, ...[...name].map((letter) => letter.charCodeAt(0))];
  return new Uint8Array([
    0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0,
    ...section(1, [1, 0x60, 10, ...Array(10).fill(I32), 0]),
    ...section(2, [1, ...text("page"), ...text("memory"), 2, 0, 1]),
    ...section(3, [1, 0]),
    ...section(7, [1, ...text("layer"), 0, 0]),
    ...section(10, [1, ...unsignedLeb(body.length), ...body]),
  ]);
}

/** The same in plain JavaScript, on the same memory: where there is no WebAssembly, and to compare with. */
function plainKernel(memory) {
  const heap = new Float32Array(memory.buffer);
  return (x, weight, bias, shift, y, pixels, inputs, stride, outputs, leaky) => {
    for (let pixel = 0; pixel < pixels; pixel++) {
      let w = weight >> 2;
      for (let start = 0; start < outputs; start += PANEL) {
        const b = (bias >> 2) + start, moved = heap[(shift >> 2) + pixel];
        let s0 = heap[b] + moved, s1 = heap[b + 1] + moved, s2 = heap[b + 2] + moved, s3 = heap[b + 3] + moved;
        let s4 = heap[b + 4] + moved, s5 = heap[b + 5] + moved, s6 = heap[b + 6] + moved, s7 = heap[b + 7] + moved;
        const row = (x >> 2) + pixel * stride;
        for (let k = 0; k < inputs; k++, w += PANEL) {
          const value = heap[row + k];
          s0 += value * heap[w], s1 += value * heap[w + 1], s2 += value * heap[w + 2], s3 += value * heap[w + 3];
          s4 += value * heap[w + 4], s5 += value * heap[w + 5], s6 += value * heap[w + 6], s7 += value * heap[w + 7];
        }
        const out = (y >> 2) + pixel * outputs + start;
        heap[out] = s0, heap[out + 1] = s1, heap[out + 2] = s2, heap[out + 3] = s3;
        heap[out + 4] = s4, heap[out + 5] = s5, heap[out + 6] = s6, heap[out + 7] = s7;
        if (leaky) for (let i = out; i < out + PANEL; i++) if (heap[i] < 0) heap[i] *= 0.2;
      }
    }
  };
}

/** {memory, layer}: `layer` as WebAssembly or, with `plain`, as JavaScript; pointers are bytes in `memory`. */
function makeKernel(bytes, plain) {
  const pages = Math.ceil(bytes / 65536);
  if (plain) {
    const memory = { buffer: new ArrayBuffer(pages * 65536) };
    return { memory, layer: plainKernel(memory) };
  }
  const memory = new WebAssembly.Memory({ initial: pages });
  const instance = new WebAssembly.Instance(new WebAssembly.Module(assembleKernel()), { page: { memory } });
  return { memory, layer: instance.exports.layer };
}

function hasKernel() {
  try {
    return WebAssembly.validate(assembleKernel());
  } catch {
    return false;
  }
}
