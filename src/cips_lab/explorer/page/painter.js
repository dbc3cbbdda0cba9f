// What is computed when: coarse first, then finer; nearest to where one looks first; each pixel of the view once.

const PASSES = [COARSEST, 2, 1]; // every 8th pixel of every 8th row, every 2nd of every 2nd, all others
const UNKNOWN = 0, PENDING = 1, DONE = 2;
const REFRESH = 90; // milliseconds from one picture to the next while pixels come in

class Painter {
  /**
   * onchange: called when there is something new to show or tell; `onfailure`: with an error when drawing fails, with
   * null when it works again.
   */
  constructor(canvas, onchange) {
    Object.assign(this, { canvas, onchange, engine: null, lattice: null, share: 1, focus: null, generation: 0, waiting: [], running: 0, failing: false, wanted: new AbortController(), shownAt: 0, showing: 0 });
    this.context = canvas.getContext("2d");
    this.layer = document.createElement("canvas");
    this.stats = { computed: 0, wanted: 0, done: 0, pixels: 0, idle: true, pictures: 0, pixelsPerSecond: 0, coarse: null, full: null };
  }

  /** Another engine or program: what was computed is shown until there is better, and no longer counts. */
  restart(lattice = this.lattice) {
    this.keepPicture();
    this.generation++;
    this.wanted.abort(); // an engine that is far away need not finish what it was asked for
    this.wanted = new AbortController();
    this.lattice = lattice;
    const { width, height } = lattice;
    this.pixels = new Uint32Array(width * height);
    this.states = new Uint8Array(width * height);
    if (this.canvas.width !== width || this.canvas.height !== height) Object.assign(this.canvas, { width, height });
    Object.assign(this.layer, { width, height });
    this.started = performance.now();
    Object.assign(this.stats, { coarse: null, full: null });
    this.plan();
  }

  /** The picture that is seen, with where it lies: shown below until its place is drawn anew. */
  keepPicture() {
    if (!this.lattice || !this.canvas.width) return;
    const ghost = document.createElement("canvas");
    Object.assign(ghost, { width: this.canvas.width, height: this.canvas.height });
    ghost.getContext("2d").drawImage(this.canvas, 0, 0);
    const { x0, y0, sx, sy, left, top } = this.lattice;
    this.ghost = { picture: ghost, x: x0 + (left - 0.5) * sx, y: y0 + (top - 0.5) * sy, sx, sy };
  }

  /** Move the window by whole pixels. */
  pan(columns, rows) {
    if (!columns && !rows) return;
    const { width, height } = this.lattice;
    const moved = (old) => {
      const next = new old.constructor(old.length);
      const from = Math.max(0, columns), to = Math.min(width, width + columns);
      if (from < to)
        for (let j = Math.max(0, -rows); j < Math.min(height, height - rows); j++)
          next.set(old.subarray((j + rows) * width + from, (j + rows) * width + to), j * width + from - columns);
      return next;
    };
    this.keepPicture();
    this.pixels = moved(this.pixels);
    this.states = moved(this.states);
    this.lattice.move(columns, rows);
    this.plan();
  }

  /** Where one looks, in the window, or null: its middle; and the share of pixels to compute. */
  look(focus, share) {
    const changed = share !== this.share || (share < 1 && String(focus) !== String(this.focus));
    this.focus = focus;
    this.share = share;
    if (changed && this.lattice) this.plan();
  }

  /** List what is to be done for this window. */
  plan() {
    const { width, height, left, top } = this.lattice, [across, down] = this.engine.cell;
    const [fx, fy] = this.focus ?? [0.5 * width, 0.5 * height];
    this.fovea = new Fovea(this.share, width, height, left, top, [fx, fy]);
    this.cells = [];
    for (const step of PASSES) {
      const cells = [], wide = across * step, high = down * step;
      for (let y = Math.floor(top / high) * high; y < top + height; y += high)
        for (let x = Math.floor(left / wide) * wide; x < left + width; x += wide)
          cells.push({ step, x, y, away: Math.hypot(x + 0.5 * wide - left - fx, y + 0.5 * high - top - fy) });
      this.cells.push(...cells.sort((a, b) => a.away - b.away));
    }
    this.next = 0;
    let wanted = 0, done = 0;
    for (let j = 0, p = 0; j < height; j++)
      for (let i = 0; i < width; i++, p++)
        if (this.fovea.wants(i, j)) {
          wanted++;
          if (this.states[p] === DONE) done++;
        }
    Object.assign(this.stats, { pixels: width * height, wanted, done, idle: false });
    this.stale = true;
    this.pump();
    this.refresh();
  }

  /** The pixels of a cell that are wanted and not known, as a job; null where there are none. */
  collect({ step, x, y }) {
    const { left, top, width, height } = this.lattice, [across, down] = this.engine.cell, picks = [];
    const firstColumn = Math.max(0, Math.ceil((left - x) / step)), lastColumn = Math.min(across - 1, Math.floor((left + width - 1 - x) / step));
    const firstRow = Math.max(0, Math.ceil((top - y) / step)), lastRow = Math.min(down - 1, Math.floor((top + height - 1 - y) / step));
    const columns = lastColumn - firstColumn + 1;
    for (let row = firstRow; row <= lastRow; row++)
      for (let column = firstColumn; column <= lastColumn; column++) {
        const i = x + column * step - left, j = y + row * step - top;
        if (this.states[j * width + i] !== UNKNOWN || !this.fovea.wants(i, j)) continue;
        this.states[j * width + i] = PENDING;
        picks.push((row - firstRow) * columns + column - firstColumn);
      }
    if (!picks.length) return null;
    const start = [x + firstColumn * step, y + firstRow * step], rows = lastRow - firstRow + 1;
    return { step, start, columns, picks: Uint32Array.from(picks), xs: this.places(start[0], step, columns, "x"), ys: this.places(start[1], step, rows, "y") };
  }

  places(start, step, count, axis) {
    return Float64Array.from({ length: count }, (_, i) => this.lattice[axis](start + i * step));
  }

  /** Give the engine as many jobs as it takes. */
  pump() {
    while (this.running < this.engine.capacity && this.next < this.cells.length) {
      const cell = this.cells[this.next], job = this.collect(cell);
      this.next++;
      if (job) this.run(job);
    }
    if (this.running === 0 && this.next === this.cells.length) this.finish();
  }

  async run(job) {
    const { generation, engine } = this, count = job.picks.length;
    if (!this.running++) this.burst = { since: performance.now(), pixels: 0 };
    const picks = job.picks.slice(); // the engine may take the array away
    try {
      const bytes = await engine.compute(job.xs, job.ys, job.picks, this.wanted.signal);
      if (this.failing) this.onfailure?.(null);
      this.failing = false;
      this.stats.computed += count;
      this.burst.pixels += count;
      if (generation === this.generation) this.receive(job, picks, new Uint32Array(bytes.buffer));
    } catch (error) {
      if (engine === this.engine && generation === this.generation) this.fail(job, picks, error);
    } finally {
      if (engine === this.engine) {
        this.running--;
        const seconds = (performance.now() - this.burst.since) / 1000;
        if (seconds > 0.05) this.stats.pixelsPerSecond = this.burst.pixels / seconds;
        this.pump();
        this.refresh();
      }
    }
  }

  receive(job, picks, colours) {
    this.place(job, picks, (p, n, i, j) => {
      this.pixels[p] = colours[n];
      this.states[p] = DONE;
      if (this.fovea.wants(i, j)) this.stats.done++;
    });
    this.stale = true;
  }

  /** What could not be computed is unknown again, and the rest is left until something changes. */
  fail(job, picks, error) {
    this.place(job, picks, (p) => (this.states[p] = UNKNOWN));
    this.next = this.cells.length;
    this.failing = true;
    this.onfailure?.(error);
  }

  /** each(index, number, column, row) for a job's pixels that have not left the window meanwhile. */
  place({ step, start, columns }, picks, each) {
    const { left, top, width, height } = this.lattice;
    picks.forEach((pick, n) => {
      const i = start[0] + (pick % columns) * step - left, j = start[1] + Math.floor(pick / columns) * step - top;
      if (i >= 0 && j >= 0 && i < width && j < height) each(j * width + i, n, i, j);
    });
  }

  finish() {
    const now = performance.now() - this.started;
    if (this.stats.full === null) this.stats.full = now;
    if (this.stats.idle) return;
    this.stats.idle = true;
    this.refresh(true);
  }

  /** Resolves when there is nothing left to compute, and it is shown. */
  settled() {
    return this.stats.idle && !this.stale ? Promise.resolve() : new Promise((resolve) => this.waiting.push(resolve));
  }

  /** Show what there is: soon, but not after every tile. */
  refresh(now = false) {
    if (this.asked && !now) return;
    clearTimeout(this.asked);
    // Of a large view, showing takes long: it must not take the time in which pixels are computed.
    const pause = this.stats.coarse === null ? 0 : Math.max(REFRESH, 5 * this.showing);
    const wait = now ? 0 : Math.max(0, pause - (performance.now() - this.shownAt));
    const show = () => requestAnimationFrame(() => {
      this.asked = 0;
      if (this.stale) this.show();
      this.onchange();
      if (this.stats.idle) this.waiting.splice(0).forEach((resolve) => resolve());
    });
    if (wait) this.asked = setTimeout(show, wait);
    else {
      this.asked = -1;
      show();
    }
  }

  show() {
    const started = performance.now();
    const { width, height } = this.lattice, { pixels, states, fovea } = this, known = new Uint8Array(states.length);
    let count = 0;
    for (let j = 0, p = 0; j < height; j++)
      for (let i = 0; i < width; i++, p++) if (states[p] === DONE && fovea.wants(i, j)) count += known[p] = 1;
    const all = count === known.length, picture = all || !count ? pixels : filled(pixels, known, width, height);
    this.layer.getContext("2d").putImageData(new ImageData(new Uint8ClampedArray(picture.buffer), width, height), 0, 0);
    const { context, ghost, lattice } = this;
    context.imageSmoothingEnabled = true;
    if (ghost && !all) {
      const [x, y] = lattice.toWindow(ghost.x, ghost.y), { sx, sy, picture: old } = ghost;
      context.clearRect(0, 0, width, height);
      context.drawImage(old, x + 0.5, y + 0.5, (old.width * sx) / lattice.sx, (old.height * sy) / lattice.sy);
      context.drawImage(this.layer, 0, 0);
    } else {
      context.clearRect(0, 0, width, height);
      context.drawImage(this.layer, 0, 0);
    }
    if (all) this.ghost = null;
    if (this.stats.coarse === null && count) this.stats.coarse = performance.now() - this.started;
    this.stats.pictures++;
    this.stale = false;
    this.shownAt = performance.now();
    this.showing = this.shownAt - started;
  }
}
