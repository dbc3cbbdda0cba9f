// Drawing on the machine that the page came from: tiles are asked for, and their colours come back.

const CHOICES = ["seed", "other", "walk", "mix", "psi", "label", "fourier", "embedding", "pairs"];
const ATTEMPTS = 4; // at a tile while no server is there

class ServerEngine {
  constructor(model) {
    const { name, key } = model.served;
    Object.assign(this, { kind: "server", name, key, cell: [64, 64], capacity: 2 }); // one job is drawn, one on its way
  }

  /** What the controls say: the server fills the styles in. */
  setProgram(values) {
    const choices = CHOICES.map((name) => [name, values[name]]);
    this.address = `pixels?${new URLSearchParams([["of", this.key], ...choices])}`;
  }

  /** As CpuEngine's; given up where the signal says so. */
  async compute(xs, ys, picks, signal) {
    const { address } = this, body = new Blob([Uint32Array.of(xs.length, ys.length, picks.length, 0), xs, ys, picks]);
    const asked = { method: "POST", headers: { "Content-Type": "application/octet-stream" }, body, signal };
    for (let missed = 0; ; ) {
      const { status, colours, refusal } = await ask(address, asked);
      signal?.throwIfAborted();
      if (colours) return colours;
      if (refusal && status !== 503) throw new Error(refusal);
      if (!refusal && ++missed === ATTEMPTS) throw new Error("the server does not answer; start it again, and come back to this page");
      await new Promise((done) => setTimeout(done, refusal ? 1000 : 250 * missed)); // busy, or away
      signal?.throwIfAborted();
    }
  }

  close() {} // what is asked for is given up by who asked
}

/** {status, colours} or {status, refusal}; neither where no answer came. */
async function ask(address, asked) {
  try {
    const answer = await fetch(address, asked), { status, ok } = answer;
    return ok ? { status, colours: new Uint8Array(await answer.arrayBuffer()) } : { status, refusal: (await answer.text()).trim() || String(status) };
  } catch {
    return {};
  }
}
