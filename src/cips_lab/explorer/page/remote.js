// Drawing on the machine that the page came from: tiles are asked for, and their colours come back.

const CHOICES = ["seed", "other", "walk", "mix", "psi", "label", "fourier", "embedding", "pairs"];
const ATTEMPTS = 4; // at a tile while the server is busy or away, each after twice the time

class ServerEngine {
  constructor(model) {
    Object.assign(this, { kind: "server", name: model.served, cell: [64, 64], capacity: 2, gone: new AbortController() });
  }

  /** What the controls say: the server fills the styles in. */
  setProgram(values) {
    this.query = new URLSearchParams(CHOICES.map((name) => [name, values[name]])).toString();
  }

  /** As CpuEngine's. */
  async compute(xs, ys, picks) {
    const head = Uint32Array.of(xs.length, ys.length, picks.length, 0), body = new Blob([head, xs, ys, picks]), { query } = this;
    for (let pause = 250, left = ATTEMPTS; ; pause *= 2) {
      const answer = await fetch(`pixels?${query}`, {
        method: "POST",
        headers: { "Content-Type": "application/octet-stream" },
        body,
        signal: this.gone.signal,
      }).catch(() => null);
      if (answer?.ok) return new Uint8Array(await answer.arrayBuffer());
      if (answer && answer.status !== 503) throw new Error((await answer.text()).trim());
      if (!--left || this.gone.signal.aborted) throw new Error(answer ? "the server is busy" : "the server is gone: start it again, and load this page again");
      await new Promise((done) => setTimeout(done, pause));
    }
  }

  close() {
    this.gone.abort();
  }
}
