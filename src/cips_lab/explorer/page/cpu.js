// Drawing on the processor: workers, each with the whole program, take tiles in turn.

class CpuEngine {
  /** plain: JavaScript where WebAssembly's SIMD is not to be had, or not wanted. */
  constructor(model, plain) {
    this.kind = plain ? "javascript" : "wasm";
    const count = Math.max(1, Math.min(navigator.hardwareConcurrency || 2, 16));
    this.name = `${plain ? "JavaScript" : "WebAssembly SIMD"} on ${count} core${count > 1 ? "s" : ""}`;
    this.plain = plain;
    this.cell = [64, 32]; // pixels of a job: some milliseconds, so that a change is soon seen
    this.jobs = new Map();
    this.number = 0;
    const source = `"use strict";${document.getElementById("engine").textContent};serve(self);`;
    const address = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
    this.workers = Array.from({ length: count }, () => {
      const worker = new Worker(address);
      worker.busy = 0;
      worker.onmessage = ({ data }) => {
        worker.busy--;
        this.jobs.get(data.id).resolve(data.bytes);
        this.jobs.delete(data.id);
      };
      worker.onerror = (event) => {
        const error = new Error(event.message || "a worker failed");
        for (const job of this.jobs.values()) job.reject(error);
        this.jobs.clear();
      };
      worker.postMessage({ model: model.grid });
      return worker;
    });
    // One job runs and one waits, so that a worker never does.
    this.capacity = 2 * count;
    URL.revokeObjectURL(address);
  }

  setProgram(program) {
    for (const worker of this.workers) worker.postMessage({ program, plain: this.plain });
  }

  /** xs, ys: float64 coordinates; picks: uint32, row * columns + column. Resolves to RGBA bytes in that order. */
  compute(xs, ys, picks) {
    const worker = this.workers.reduce((best, next) => (next.busy < best.busy ? next : best));
    worker.busy++;
    const id = ++this.number;
    return new Promise((resolve, reject) => {
      this.jobs.set(id, { resolve, reject });
      worker.postMessage({ id, xs, ys, picks }, [picks.buffer]);
    });
  }

  close() {
    for (const worker of this.workers) worker.terminate();
  }
}
