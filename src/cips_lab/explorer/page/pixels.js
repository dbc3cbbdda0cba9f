// The MLP over pixels on the CPU. This file, with those before it, is all that a worker runs.

const CHUNK = 64; // pixels that go through all layers together: their features stay in the cache

const padded = (count) => Math.ceil(count / PANEL) * PANEL;

/** [inputs, outputs] -> panels of eight outputs, see wasm.js. */
function inPanels(weight, inputs, outputs) {
  const panels = new Float32Array(inputs * padded(outputs));
  for (let k = 0; k < inputs; k++)
    for (let o = 0; o < outputs; o++)
      panels[((o - (o % PANEL)) * inputs + k * PANEL) + (o % PANEL)] = weight[k * outputs + o];
  return panels;
}

/** Computes pixels of one program (see program.js) in memory of its own. */
class Runner {
  constructor(model, program, plain, axes = new Axes(model)) {
    this.model = model;
    this.axes = axes;
    this.program = program;
    axes.use(program);
    const maps = [...program.layers, ...program.pairs.flatMap((pair) => [pair.skip, pair.rgb])].filter(Boolean);
    let bytes = 16;
    const place = (floats) => {
      const start = bytes;
      bytes += 4 * padded(floats);
      return start;
    };
    const widest = Math.max(...maps.map((map) => Math.max(padded(map.inputs), padded(map.outputs))));
    this.places = new Map(maps.map((map) => [map, { weight: place(map.inputs * padded(map.outputs)), bias: place(padded(map.outputs)) }]));
    this.features = Array.from({ length: 4 }, () => place(CHUNK * widest));
    this.shift = place(CHUNK);
    this.noShift = place(CHUNK);
    this.colours = place(CHUNK * PANEL);
    this.rgb = new Float32Array(3 * CHUNK);
    this.keys = new Uint32Array(CHUNK);
    this.kernel = makeKernel(bytes, plain);
    this.heap = new Float32Array(this.kernel.memory.buffer);
    for (const [map, { weight, bias }] of this.places) {
      this.heap.set(inPanels(map.weight, map.inputs, map.outputs), weight >> 2);
      if (map.bias) this.heap.set(map.bias, bias >> 2);
    }
  }

  /** xs, ys: float64 coordinates of a tile; picks: of its pixels, row * columns + column -> their RGBA bytes. */
  compute(xs, ys, picks) {
    const axes = this.axes.of(xs, ys), bytes = new Uint8ClampedArray(4 * picks.length);
    for (let start = 0; start < picks.length; start += CHUNK) {
      const chunk = picks.subarray(start, start + CHUNK);
      this.encode(axes, chunk);
      this.run(Math.ceil(chunk.length / PIXELS) * PIXELS);
      for (let p = 0, n = 4 * start; p < chunk.length; p++, n += 4) {
        // As quantize does: clamped, and halves rounded to even.
        for (let c = 0; c < 3; c++) bytes[n + c] = (this.rgb[3 * p + c] + 1) * 127.5;
        bytes[n + 3] = 255;
      }
    }
    return bytes;
  }

  /** Put the encoding of up to CHUNK pixels into the first block of features, and their noise's keys beside it. */
  encode(axes, picks) {
    const { fourier, embedding, noise } = this.model, heap = this.heap, stride = padded(this.program.layers[0].inputs);
    for (let p = 0; p < picks.length; p++) {
      const column = picks[p] % axes.columns, row = (picks[p] - column) / axes.columns;
      let out = (this.features[0] >> 2) + p * stride;
      if (fourier) {
        const { frequencies, features, waves } = fourier;
        const sx = axes.wavesX.sine, cx = axes.wavesX.cosine, sy = axes.wavesY.sine, cy = axes.wavesY.cosine;
        const sines = waves === "sine" ? features : frequencies;
        for (let f = 0, x = column * frequencies, y = row * frequencies; f < sines; f++, x++, y++)
          heap[out + f] = sx[x] * cy[y] + cx[x] * sy[y];
        for (let f = sines, x = column * frequencies, y = row * frequencies; f < features; f++, x++, y++)
          heap[out + f] = cx[x] * cy[y] - sx[x] * sy[y];
        out += features;
      }
      if (embedding) {
        const { features, columns, table } = embedding, ex = axes.entriesX, ey = axes.entriesY;
        const fx = ex.share[column], fy = ey.share[row];
        const upper = ey.first[row] * columns, lower = ey.second[row] * columns;
        const a = (upper + ex.first[column]) * features, b = (upper + ex.second[column]) * features;
        const c = (lower + ex.first[column]) * features, d = (lower + ex.second[column]) * features;
        const wa = (1 - fx) * (1 - fy), wb = fx * (1 - fy), wc = (1 - fx) * fy, wd = fx * fy;
        for (let f = 0; f < features; f++)
          heap[out + f] = wa * table[a + f] + wb * table[b + f] + wc * table[c + f] + wd * table[d + f];
      }
      if (noise) this.keys[p] = pixelKey(axes.keysX[column], axes.keysY[row]);
    }
  }

  /** The layers over `pixels` (a multiple of four) encoded ones; their sum of colours is then in `rgb`. */
  run(pixels) {
    const { layers, pairs } = this.program, [encoded, ...free] = this.features;
    this.rgb.fill(0);
    let x = encoded, stride = padded(layers[0].inputs);
    const step = (index, from, fromStride, to) => {
      this.layer(layers[index], index, from, fromStride, to, pixels);
      return padded(layers[index].outputs);
    };
    stride = step(0, x, stride, free[0]);
    x = free[0];
    for (let i = 0; i < pairs.length; i++) {
      const [middle, y] = free.filter((block) => block !== x);
      const inner = step(2 * i + 1, x, stride, middle);
      const outer = step(2 * i + 2, middle, inner, y);
      if (this.program.residual) this.connect(pairs[i].skip, x, stride, y, outer, middle, pixels);
      x = y;
      stride = outer;
      if (pairs[i].rgb) this.addColours(pairs[i].rgb, x, stride, pixels);
    }
  }

  affine(map, x, stride, y, pixels, shift, leaky) {
    const { weight, bias } = this.places.get(map);
    this.kernel.layer(x, weight, bias, shift, y, pixels, map.inputs, stride, padded(map.outputs), leaky);
  }

  layer(layer, index, x, stride, y, pixels) {
    const { activation } = this.program;
    let shift = this.noShift;
    if (layer.noise) {
      shift = this.shift;
      const salt = noiseSalt(index);
      for (let p = 0; p < pixels; p++) this.heap[(shift >> 2) + p] = layer.noise * noiseAt(this.keys[p], salt);
    }
    this.affine(layer, x, stride, y, pixels, shift, activation === "lrelu" ? 1 : 0);
    if (activation !== "lrelu") activate(this.heap, y >> 2, pixels, layer.outputs, padded(layer.outputs), activation);
  }

  /** The residual connection: y becomes (y + skip(x)) / sqrt 2. */
  connect(skip, x, stride, y, outputs, spare, pixels) {
    if (skip) this.affine(skip, x, stride, spare, pixels, this.noShift, 0);
    const from = (skip ? spare : x) >> 2, to = y >> 2;
    for (let i = 0; i < pixels * outputs; i++) this.heap[to + i] = (this.heap[to + i] + this.heap[from + i]) * Math.SQRT1_2;
  }

  addColours(map, x, stride, pixels) {
    this.affine(map, x, stride, this.colours, pixels, this.noShift, 0);
    const from = this.colours >> 2;
    for (let p = 0; p < pixels; p++) for (let c = 0; c < 3; c++) this.rgb[3 * p + c] += this.heap[from + p * PANEL + c];
  }
}

/** The activations that need more than a product; of `sinrelu`, even features come first (see program.js). */
function activate(heap, start, pixels, outputs, stride, activation) {
  for (let p = 0; p < pixels; p++, start += stride) {
    if (activation === "silu") {
      for (let i = start; i < start + outputs; i++) heap[i] = (1.6765 * heap[i]) / (1 + Math.exp(-heap[i]));
    } else if (activation === "sinrelu") {
      const middle = start + Math.ceil(outputs / 2);
      for (let i = start; i < middle; i++) heap[i] *= heap[i] < 0 ? 0.2 * Math.SQRT2 : Math.SQRT2;
      for (let i = middle; i < start + outputs; i++) heap[i] = Math.SQRT2 * Math.sin(heap[i]);
    } else {
      for (let i = start; i < start + outputs; i++) heap[i] = Math.sin(heap[i]);
    }
  }
}

/** What a worker answers: {model}, {program, plain}, or a job {id, xs, ys, picks}. */
function serve(scope) {
  let model, axes, runner;
  scope.onmessage = ({ data }) => {
    if (data.model) (model = data.model), (axes = new Axes(model));
    else if (data.program) runner = new Runner(model, data.program, data.plain, axes);
    else {
      const started = performance.now(), bytes = runner.compute(data.xs, data.ys, data.picks);
      scope.postMessage({ id: data.id, bytes, milliseconds: performance.now() - started }, [bytes.buffer]);
    }
  };
}
