// What is shown, as numbers: what the controls change, and the address bar holds, so that a view can be shared.

/** Names in the address, with their values at first and how far they go. */
function settingsOf(model) {
  const layers = model.layers.length, pairs = model.pairs.length, span = model.period === null ? 1.25 : 1;
  const number = (start, least, most, whole = false) => ({ start, least, most, whole });
  return {
    x: number(0, -1e6, 1e6),
    y: number(0, -1e6, 1e6),
    span: number(span, DEEPEST, WIDEST),
    seed: number(0, 0, 4294967295, true),
    other: number(1, 0, 4294967295, true),
    walk: number(0, 0, 1),
    mix: number(layers, 0, layers, true),
    psi: number(1, 0, 1.5),
    label: number(-1, -1, Math.max(model.classes - 1, -1), true),
    fourier: number(1, 0, 1, true),
    embedding: number(1, 0, 1, true),
    pairs: number(pairs, 1, pairs, true),
    fovea: number(1, 0.01, 1),
    coarse: number(1, 1, 8, true),
  };
}

const ENGINES = ["auto", "webgpu", "wasm", "javascript"];

/** Current values; `set` brings them within their range and tells whoever listens which changed. */
class State {
  constructor(model) {
    this.settings = settingsOf(model);
    this.values = Object.fromEntries(Object.entries(this.settings).map(([name, { start }]) => [name, start]));
    this.values.engine = "auto";
    this.listeners = [];
    this.read();
    addEventListener("hashchange", () => {
      if (location.hash.slice(1) !== this.written) this.set(this.parsed());
    });
  }

  legal(name, value) {
    if (name === "engine") return ENGINES.includes(value) ? value : "auto";
    const { start, least, most, whole } = this.settings[name], number = value === "" ? NaN : Number(value);
    const inside = Number.isFinite(number) ? Math.min(Math.max(number, least), most) : start;
    return whole ? Math.round(inside) : inside;
  }

  set(changes) {
    const changed = [];
    for (const [name, value] of Object.entries(changes)) {
      const legal = this.legal(name, value);
      if (legal !== this.values[name]) changed.push(name);
      this.values[name] = legal;
    }
    if (changed.length) {
      for (const listen of this.listeners) listen(changed);
      this.write();
    }
  }

  /** All settings as the address has them; those that it does not name are at their start. */
  parsed() {
    const given = new URLSearchParams(location.hash.slice(1)), values = {};
    for (const name of Object.keys(this.values)) values[name] = this.legal(name, given.get(name) ?? "");
    return values;
  }

  read() {
    Object.assign(this.values, this.parsed());
  }

  /** Into the address: soon, for browsers refuse many changes in a row. */
  write() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => {
      const given = new URLSearchParams();
      for (const [name, value] of Object.entries(this.values))
        if (value !== (name === "engine" ? "auto" : this.settings[name].start)) given.set(name, String(value));
      this.written = given.toString();
      history.replaceState(null, "", `#${this.written}`);
    }, 250);
  }
}
