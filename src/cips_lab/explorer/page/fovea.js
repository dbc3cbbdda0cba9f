// Which pixels are computed where the eye looks: all of them there, fewer and fewer away from it (paper, Figure 8).

const COARSEST = 8; // columns and rows from one pixel of the first pass to the next; those are computed in any case

/** Wanted pixels of a window. share: of all pixels; focus: (column, row) of the window that is looked at. */
class Fovea {
  constructor(share, width, height, left, top, focus) {
    Object.assign(this, { share, left, top });
    if (share >= 1) return;
    const always = 1 / (COARSEST * COARSEST), density = Math.max(0, (share - always) / (1 - always));
    this.floor = 0.25 * density; // beyond the Gaussian something is seen, too
    const axis = (size, center, std) => Float32Array.from({ length: size }, (_, i) => Math.exp(-0.5 * ((i - center) / std) ** 2));
    // The Gaussian is 1 in its middle; its width follows from how many pixels there may be.
    const mean = (std) => {
      const rough = 4, gx = axis(Math.ceil(width / rough), focus[0] / rough, std / rough), gy = axis(Math.ceil(height / rough), focus[1] / rough, std / rough);
      let sum = 0;
      for (const b of gy) for (const a of gx) sum += Math.max(this.floor, a * b);
      return sum / (gx.length * gy.length);
    };
    let narrow = 1, wide = 16 * (width + height);
    for (let i = 0; i < 30; i++) {
      const middle = Math.sqrt(narrow * wide);
      if (mean(middle) < density) narrow = middle;
      else wide = middle;
    }
    this.std = wide;
    this.gx = axis(width, focus[0], wide);
    this.gy = axis(height, focus[1], wide);
    // Thresholds that fill the plane evenly (Roberts 2018, R2), fixed to the world: a pixel keeps its own when it moves.
    const part = (index, step) => ((index * step) % 1) + (index < 0 ? 1 : 0);
    this.ux = Float64Array.from({ length: width }, (_, i) => part(left + i, 0.7548776662466927));
    this.uy = Float64Array.from({ length: height }, (_, j) => part(top + j, 0.5698402909980532));
  }

  /** Whether a pixel (of the window) is wanted. */
  wants(column, row) {
    if (this.share >= 1) return true;
    if ((this.left + column) % COARSEST === 0 && (this.top + row) % COARSEST === 0) return true;
    return (this.ux[column] + this.uy[row]) % 1 < Math.max(this.floor, this.gx[column] * this.gy[row]);
  }
}
