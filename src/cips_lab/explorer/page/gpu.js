// Drawing on a graphics card: WebGPU compute shaders, one dispatch a layer (see shaders.wgsl).

const GPU_TILE = 128; // columns and rows of a tile at most
const GPU_NUMBERS = 2 ** 22; // features of all pixels of a tile in one buffer: 16 MB
const IN_FLIGHT = 2; // tiles: one is computed while another's pixels are read back
const quads = (count) => 4 * Math.ceil(count / 4);
const PARAMS = 256; // bytes from one dispatch's parameters to the next: what every card aligns to

/** A map's place among the numbers, both sides filled up with zeros to a multiple of four. */
function filledUp({ inputs, outputs, weight, bias }, place) {
  const wide = quads(outputs), rows = new Float32Array(quads(inputs) * wide), ends = new Float32Array(wide);
  for (let k = 0; k < inputs; k++) rows.set(weight.subarray(k * outputs, (k + 1) * outputs), k * wide);
  if (bias) ends.set(bias);
  return { inputs: quads(inputs), outputs: wide, weight: place(rows), bias: place(ends) };
}

class GpuEngine {
  /** An engine, or null where there is no WebGPU. `software`: whether one that is no graphics card will do. */
  static async open(model, software) {
    const adapter = await navigator.gpu?.requestAdapter().catch(() => null);
    if (!adapter) return null;
    const info = adapter.info ?? {}, isSoftware = info.isFallbackAdapter || info.architecture === "swiftshader";
    if (isSoftware && !software) return null;
    const most = adapter.limits.maxStorageBufferBindingSize, table = model.grid.embedding?.table.length ?? 0;
    const weights = model.layers.reduce((sum, { inputs, outputs }) => sum + quads(inputs) * quads(outputs + 2), 0);
    if (4 * (table + 2 * weights) > most) return null; // the network does not fit into one buffer of this card
    const device = await adapter.requestDevice({ requiredLimits: { maxStorageBufferBindingSize: most, maxBufferSize: adapter.limits.maxBufferSize } });
    return new GpuEngine(model, device, isSoftware ? "WebGPU in software" : `WebGPU${info.vendor ? ` (${info.vendor})` : ""}`);
  }

  constructor(model, device, name) {
    Object.assign(this, { kind: "webgpu", model, device, name, capacity: IN_FLIGHT, known: new Axes(model.grid), waiting: [] });
    this.module = device.createShaderModule({ code: document.getElementById("shaders").textContent });
    const visibility = GPUShaderStage.COMPUTE;
    const types = ["uniform", "uniform", ...Array(5).fill("read-only-storage"), "storage"];
    this.layout = device.createBindGroupLayout({ entries: types.map((type, binding) => ({ binding, visibility, buffer: { type } })) });
    const layout = device.createPipelineLayout({ bindGroupLayouts: [this.layout] });
    const pipeline = (entryPoint) => device.createComputePipeline({ layout, compute: { module: this.module, entryPoint } });
    this.pipelines = Object.fromEntries(["encode_waves", "encode_table", "layer", "connect", "colours"].map((name) => [name, pipeline(name)]));
    const widest = quads(Math.max(...model.layers.map(({ inputs, outputs }) => Math.max(inputs, outputs))));
    this.pixels = Math.min(GPU_TILE * GPU_TILE, Math.floor(GPU_NUMBERS / widest / 64) * 64);
    this.cell = [GPU_TILE, Math.max(1, Math.min(GPU_TILE, Math.floor(this.pixels / GPU_TILE)))];
    const { STORAGE, COPY_DST, COPY_SRC, UNIFORM, MAP_READ } = GPUBufferUsage;
    const buffer = (size, usage) => device.createBuffer({ size: Math.ceil(size / 16) * 16, usage });
    this.buffer = buffer;
    const frequencies = model.grid.fourier?.frequencies ?? 0, places = GPU_TILE + this.cell[1];
    this.features = Array.from({ length: 4 }, () => buffer(4 * this.pixels * widest, STORAGE));
    this.rgb = buffer(16 * this.pixels, STORAGE | COPY_SRC);
    this.tile = buffer(16, UNIFORM | COPY_DST);
    this.picks = buffer(4 * this.pixels, STORAGE | COPY_DST);
    this.axes = buffer(4 * places * (2 * frequencies + 1), STORAGE | COPY_DST);
    this.cells = buffer(4 * 5 * places, STORAGE | COPY_DST);
    this.free = Array.from({ length: IN_FLIGHT }, () => buffer(16 * this.pixels, COPY_DST | MAP_READ));
    this.steps = [];
    device.addEventListener("uncapturederror", ({ error }) => this.onlost?.(error.message));
    device.lost.then((loss) => loss.reason !== "destroyed" && this.onlost?.(loss.message));
  }

  /** All weights into one buffer, and a list of dispatches that use them. */
  setProgram(program) {
    this.known.use(program);
    const { embedding, fourier } = this.model.grid, chunks = [];
    let length = 0;
    const place = (values) => {
      const start = length;
      chunks.push([start, values]);
      length += quads(values.length);
      return start;
    };
    const table = embedding ? place(embedding.table) : 0;
    const plan = []; // [pipeline, parameters, x, y, width]
    const encoded = quads(program.layers[0].inputs);
    const [start, ...spare] = this.features;
    if (fourier) {
      const sines = fourier.waves === "sine" ? fourier.features : fourier.frequencies;
      plan.push(["encode_waves", { inputs: fourier.frequencies, outputs: encoded, weight: sines, bias: fourier.features }, spare[0], start, fourier.features]);
    }
    if (embedding) {
      const before = fourier?.features ?? 0, first = fourier?.frequencies ?? 0;
      plan.push(["encode_table", { inputs: embedding.features, outputs: encoded, weight: table, bias: before, salt: embedding.columns, first }, spare[0], start, embedding.features]);
    }
    const activation = { lrelu: 1, sine: 2, siren: 2, sinrelu: 3, silu: 4 }[program.activation];
    const product = (map, x, y, more) => {
      plan.push(["layer", { ...filledUp(map, place), ...more }, x, y, quads(map.outputs)]);
    };
    const layer = (index, x, y) => product(program.layers[index], x, y, { activation, noise: program.layers[index].noise, salt: noiseSalt(index), first: Math.ceil(program.layers[index].outputs / 2) });
    let x = spare[0], coloured = 0;
    layer(0, start, x);
    program.pairs.forEach(({ skip, rgb }, i) => {
      const [middle, y] = spare.filter((block) => block !== x);
      layer(2 * i + 1, x, middle);
      layer(2 * i + 2, middle, y);
      if (program.residual) {
        if (skip) product(skip, x, middle, {});
        const width = quads(program.layers[2 * i + 2].outputs);
        plan.push(["connect", { outputs: width }, skip ? middle : x, y, width]);
      }
      x = y;
      if (rgb) plan.push(["colours", { ...filledUp(rgb, place), first: coloured++ ? 0 : 1 }, x, this.rgb, 0]);
    });
    this.upload(chunks, length, plan);
  }

  upload(chunks, length, plan) {
    const { STORAGE, COPY_DST, UNIFORM } = GPUBufferUsage, { device } = this;
    const old = [this.numbers, this.params];
    this.numbers = this.buffer(4 * length, STORAGE | COPY_DST);
    this.params = this.buffer(PARAMS * plan.length, UNIFORM | COPY_DST);
    for (const [start, values] of chunks) device.queue.writeBuffer(this.numbers, 4 * start, values);
    const bytes = new ArrayBuffer(PARAMS * plan.length);
    this.steps = plan.map(([name, given, x, y, width], i) => {
      const integers = new Uint32Array(bytes, PARAMS * i, 8);
      ["inputs", "outputs", "weight", "bias", "activation", "salt", "noise", "first"].forEach((key, n) => (integers[n] = key === "noise" ? 0 : given[key] ?? 0));
      new Float32Array(bytes, PARAMS * i + 24, 1)[0] = given.noise ?? 0;
      const resources = [{ buffer: this.params, offset: PARAMS * i, size: 32 }, ...[this.tile, this.numbers, this.picks, this.axes, this.cells, x, y].map((buffer) => ({ buffer }))];
      const group = device.createBindGroup({ layout: this.layout, entries: resources.map((resource, binding) => ({ binding, resource })) });
      return { pipeline: this.pipelines[name], group, name, width };
    });
    device.queue.writeBuffer(this.params, 0, bytes);
    for (const buffer of old) buffer?.destroy(); // queued work that reads them has been submitted: it is let finish
  }

  /** As CpuEngine.compute. */
  async compute(xs, ys, picks) {
    const staging = this.free.pop() ?? (await new Promise((resolve) => this.waiting.push(resolve)));
    try {
      this.submit(xs, ys, picks, staging);
      await staging.mapAsync(GPUMapMode.READ, 0, 16 * picks.length);
      const rgb = new Float32Array(staging.getMappedRange(0, 16 * picks.length)), bytes = new Uint8ClampedArray(4 * picks.length);
      for (let p = 0, n = 0; p < picks.length; p++) {
        for (let c = 0; c < 3; c++) bytes[n++] = (rgb[4 * p + c] + 1) * 127.5;
        bytes[n++] = 255;
      }
      staging.unmap();
      return bytes;
    } finally {
      const next = this.waiting.shift();
      if (next) next(staging);
      else this.free.push(staging);
    }
  }

  submit(xs, ys, picks, staging) {
    const { queue } = this.device, columns = xs.length, rows = ys.length, count = picks.length;
    const { numbers, cells } = this.pack(this.known.of(xs, ys), columns, rows);
    queue.writeBuffer(this.tile, 0, new Uint32Array([count, columns, rows, 0]));
    queue.writeBuffer(this.picks, 0, picks.map((pick) => (pick % columns) | (Math.floor(pick / columns) << 16)));
    if (numbers.length) queue.writeBuffer(this.axes, 0, numbers);
    if (cells.length) queue.writeBuffer(this.cells, 0, cells);
    const encoder = this.device.createCommandEncoder(), pass = encoder.beginComputePass();
    for (const { pipeline, group, name, width } of this.steps) {
      pass.setPipeline(pipeline);
      pass.setBindGroup(0, group);
      if (name === "layer") pass.dispatchWorkgroups(Math.ceil(width / 32), Math.ceil(count / 32));
      else if (name === "colours") pass.dispatchWorkgroups(Math.ceil(count / 64));
      else pass.dispatchWorkgroups(Math.ceil(width / 64), count);
    }
    pass.end();
    encoder.copyBufferToBuffer(this.rgb, 0, staging, 0, 16 * count);
    queue.submit([encoder.finish()]);
  }

  /** A tile's axes as the shaders read them: columns, then rows; sines beside cosines, then shares; entries, then keys. */
  pack(axes, columns, rows) {
    const waves = axes.wavesX ? axes.wavesX.sine.length / columns : 0, places = columns + rows;
    const numbers = new Float32Array(places * (2 * waves + 1)), cells = new Uint32Array(5 * places);
    [[axes.wavesX, 0], [axes.wavesY, columns]].forEach(([own, start]) => {
      if (own) for (let i = 0, n = 2 * start * waves; i < own.sine.length; i++) (numbers[n++] = own.sine[i]), (numbers[n++] = own.cosine[i]);
    });
    [[axes.entriesX, 0], [axes.entriesY, columns]].forEach(([own, start]) => {
      if (!own) return;
      numbers.set(own.share, 2 * waves * places + start);
      for (let i = 0; i < own.first.length; i++) (cells[2 * (start + i)] = own.first[i]), (cells[2 * (start + i) + 1] = own.second[i]);
    });
    if (axes.keysX) cells.set(axes.keysX, 4 * places), cells.set(axes.keysY, 4 * places + columns);
    return { numbers, cells };
  }

  close() {
    this.device.destroy();
  }
}
