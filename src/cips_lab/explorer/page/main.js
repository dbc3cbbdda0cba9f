// The page, put together.

class Explorer {
  constructor(model) {
    this.model = model;
    this.state = new State(model);
    this.stage = document.getElementById("stage");
    this.painter = new Painter(document.getElementById("view"), () => this.tell());
    this.painter.onfailure = (error) => (error ? this.fallBack(error.message) : this.say(""));
    this.stats = this.painter.stats;
  }

  async start() {
    this.engine = await this.openEngine(this.state.values.engine);
    this.painter.engine = this.engine;
    this.engine.setProgram(this.program());
    this.painter.look(null, this.state.values.fovea);
    this.painter.restart(this.newLattice());
    this.state.listeners.push((changed) => this.follow(changed));
    bindControls(this);
    bindTheme();
    this.bindButtons();
    listenToPointer(this.stage, this);
    addEventListener("focus", () => this.painter.failing && this.painter.plan()); // what failed may work again
    new ResizeObserver(() => this.resize()).observe(this.stage);
    this.tell();
    document.documentElement.dataset.ready = "true";
    return this;
  }

  // -------- engines

  async openEngine(kind) {
    if (this.model.served) return new ServerEngine(this.model);
    let engine = null;
    if (kind === "auto" || kind === "webgpu") engine = await GpuEngine.open(this.model, kind === "webgpu");
    if (kind === "webgpu" && !engine) this.say("There is no WebGPU in this browser, or no graphics card that it may use.");
    if (!engine) engine = new CpuEngine(this.model, kind === "javascript" || !hasKernel());
    engine.onlost = (message) => this.fallBack(message);
    return engine;
  }

  async changeEngine(kind) {
    const engine = await this.openEngine(kind), old = this.engine;
    this.engine = this.painter.engine = engine;
    Object.assign(this.painter, { running: 0, failing: false });
    this.stats.pixelsPerSecond = 0;
    engine.setProgram(this.program());
    this.painter.restart();
    old.close();
  }

  /** The graphics card was taken away, or cannot do what is asked: go on without. */
  fallBack(message) {
    if (this.engine.kind !== "webgpu") {
      this.say(`Drawing failed: ${message}`);
      return;
    }
    this.say(`WebGPU stopped (${message}); going on with the processor.`);
    this.state.set({ engine: "wasm" });
  }

  say(message) {
    const notice = document.getElementById("notice");
    notice.textContent = message;
    notice.hidden = !message;
  }

  // -------- what is drawn

  program() {
    this.programs = (this.programs ?? 0) + 1;
    if (this.model.served) return this.state.values; // styles are filled in there
    const { values } = this.state, off = ["fourier", "embedding"].filter((part) => !values[part]);
    const label = values.label < 0 ? null : values.label;
    const { pairs } = values, { length } = this.model.pairs;
    return fillStyles(this.model, layerStyles(this.model, { ...values, label }), { off, pairs: pairs >= length ? Infinity : pairs });
  }

  /** [width, height] of the view in its own pixels, which may be coarser than the screen's. */
  measure() {
    const box = this.stage.getBoundingClientRect(), ratio = Math.min(devicePixelRatio || 1, 2) / this.state.values.coarse;
    return [Math.max(8, Math.round(box.width * ratio)), Math.max(8, Math.round(box.height * ratio))];
  }

  newLattice() {
    return new Lattice(this.model, this.state.values, ...this.measure());
  }

  resize() {
    const [width, height] = this.measure(), { lattice } = this.painter;
    if (width !== lattice.width || height !== lattice.height) this.painter.restart(this.newLattice());
  }

  /** The state has changed. */
  follow(changed) {
    const { values } = this.state, has = (...names) => names.some((name) => changed.includes(name));
    if (has("engine")) this.changeEngine(values.engine);
    if (has("seed", "other", "walk", "mix", "psi", "label", "fourier", "embedding", "pairs")) {
      this.engine.setProgram(this.program());
      this.painter.restart();
    }
    const shown = this.painter.lattice.view();
    if (has("coarse") || shown.x !== values.x || shown.y !== values.y || shown.span !== values.span) this.painter.restart(this.newLattice());
    if (has("fovea")) this.painter.look(this.painter.focus, values.fovea);
  }

  tell() {
    if (!document.documentElement.dataset.ready) return;
    showStatus(this);
    showOverlay(this);
  }

  /** Resolves when nothing is left to compute and all of it is shown. */
  settled() {
    return this.painter.settled();
  }

  // -------- what listenToPointer calls

  size() {
    return [this.painter.lattice.width, this.painter.lattice.height];
  }

  pan(columns, rows) {
    this.painter.pan(columns, rows);
    this.state.set(this.painter.lattice.view());
  }

  zoom(factor, column, row) {
    this.state.set(this.painter.lattice.zoomed(factor, column, row));
  }

  look(place) {
    if (this.looking) return void (this.place = place);
    this.place = place;
    this.looking = requestAnimationFrame(() => {
      this.looking = 0;
      if (this.state.values.fovea < 1) this.painter.look(this.place, this.state.values.fovea);
      else this.painter.focus = this.place;
    });
  }

  act(key) {
    const { values } = this.state, shares = [1, 0.5, 0.25, 0.05];
    const actions = {
      n: () => this.state.set({ seed: values.seed + 1 }),
      p: () => this.state.set({ seed: values.seed - 1 }),
      f: () => this.state.set({ fovea: shares[(shares.indexOf(values.fovea) + 1) % shares.length] }),
      "0": () => this.home(),
      Home: () => this.home(),
      " ": () => document.activeElement.tagName !== "BUTTON" && void this.play(),
    };
    if (!(key in actions)) return false;
    return actions[key]() !== false;
  }

  home() {
    const { x, y, span } = this.state.settings;
    this.state.set({ x: x.start, y: y.start, span: span.start });
  }

  // -------- buttons

  bindButtons() {
    const on = (id, action) => document.getElementById(id).addEventListener("click", action);
    const middle = () => this.size().map((side) => 0.5 * (side - 1));
    on("zoom-in", () => this.zoom(0.5, ...middle()));
    on("zoom-out", () => this.zoom(2, ...middle()));
    on("home", () => this.home());
    on("random", () => this.state.set({ seed: Math.floor(Math.random() * 100000) }));
    on("play", () => this.play());
    on("save", () => this.save());
  }

  /** Walk from seed to seed until stopped: as many pictures as can be drawn, each at least every other pixel. */
  async play() {
    const button = document.getElementById("play");
    this.playing = !this.playing;
    button.textContent = this.playing ? "Stop" : "Walk";
    button.setAttribute("aria-pressed", String(this.playing));
    let before = performance.now();
    while (this.playing) {
      await new Promise(requestAnimationFrame);
      if (this.stats.done < Math.min(this.stats.wanted, this.stats.pixels / 4) * 0.95) continue;
      const now = performance.now(), { walk, other } = this.state.values, next = walk + Math.min(now - before, 250) / 5000;
      before = now;
      if (!this.playing) break;
      if (next < 1) this.state.set({ walk: next });
      else this.state.set({ walk: 0, seed: other, other: other + 1 });
    }
  }

  async save() {
    const button = document.getElementById("save"), label = button.textContent, { engine, programs } = this;
    const long = Math.min(Math.max(8, Math.round(Number(document.getElementById("size").value)) || 1024), LARGEST);
    const { width, height } = this.painter.lattice, longer = Math.max(width, height);
    const size = [Math.max(1, Math.round((width * long) / longer)), Math.max(1, Math.round((height * long) / longer))];
    button.disabled = true;
    try {
      const lattice = new Lattice(this.model, this.painter.lattice.view(), ...size);
      const alive = () => engine === this.engine && programs === this.programs;
      const bytes = await computePicture(engine, lattice, (share) => (button.textContent = `${Math.round(100 * share)} %`), alive);
      download(await pngOf(bytes, ...size), `${this.model.title.replace(/[^\w.-]+/g, "_")}_seed${this.state.values.seed}_${size.join("x")}.png`);
      this.say("");
    } catch (error) {
      this.say(`No picture: ${error.message}.`);
    } finally {
      button.disabled = false;
      button.textContent = label;
    }
  }
}

const explorer = (() => {
  const read = (id) => document.getElementById(id).textContent;
  return new Explorer(unpack(JSON.parse(read("header")), read("weights")));
})();
window.explorer = explorer;
explorer.ready = explorer.start();
