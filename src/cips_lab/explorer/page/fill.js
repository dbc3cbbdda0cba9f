// Colours of pixels that are not computed (yet), from those around: averages of 2, 4, 8 ... and back ("push-pull",
// Gortler et al. 1996, section 3.3). Of a lattice this is a smooth enlargement, of a fovea's samples a smooth surface.

/** One level up: sums of known colours of 2 x 2 and their number, at most 1. */
function averaged(level) {
  const width = (level.width + 1) >> 1, height = (level.height + 1) >> 1, values = new Float32Array(4 * width * height);
  for (let j = 0; j < level.height; j++)
    for (let i = 0, n = 4 * j * level.width; i < level.width; i++, n += 4) {
      const to = 4 * ((j >> 1) * width + (i >> 1)), weight = level.values[n + 3];
      if (weight) for (let c = 0; c < 4; c++) values[to + c] += level.values[n + c];
    }
  for (let n = 3; n < values.length; n += 4)
    if (values[n] > 1) {
      const factor = 1 / values[n];
      values[n - 3] *= factor, values[n - 2] *= factor, values[n - 1] *= factor, (values[n] = 1);
    }
  return { width, height, values };
}

/** The colour at a place of the level below, bilinear between a level's own. Written to `out`. */
function lookUp({ width, height, values }, column, row, out) {
  const x = Math.min(Math.max(0.5 * column - 0.25, 0), width - 1), y = Math.min(Math.max(0.5 * row - 0.25, 0), height - 1);
  const i = x | 0, j = y | 0, fx = x - i, fy = y - j, right = i + 1 < width ? 4 : 0, down = j + 1 < height ? 4 * width : 0;
  const n = 4 * (j * width + i), a = (1 - fx) * (1 - fy), b = fx * (1 - fy), c = (1 - fx) * fy, d = fx * fy;
  for (let k = 0; k < 3; k++)
    out[k] = a * values[n + k] + b * values[n + right + k] + c * values[n + down + k] + d * values[n + right + down + k];
}

/**
 * A picture without holes. pixels: RGBA as uint32; known: uint8, 1 where they count. Returns RGBA as uint32; pixels in
 * whose neighbourhood of 8 x 8 nothing is known stay transparent.
 */
function filled(pixels, known, width, height) {
  const base = new Float32Array(4 * width * height);
  for (let p = 0, n = 0; p < known.length; p++, n += 4)
    if (known[p]) {
      const colour = pixels[p];
      (base[n] = colour & 255), (base[n + 1] = (colour >>> 8) & 255), (base[n + 2] = (colour >>> 16) & 255), (base[n + 3] = 1);
    }
  const levels = [{ width, height, values: base }];
  while (levels.length < 4 || levels.at(-1).values.some((value, n) => n % 4 === 3 && value < 1)) {
    const next = averaged(levels.at(-1));
    levels.push(next);
    if (next.width === 1 && next.height === 1) break;
  }
  const near = levels[Math.min(3, levels.length - 1)], started = near.values.filter((_, n) => n % 4 === 3).map((weight) => (weight > 0 ? 1 : 0));
  const colour = new Float32Array(3);
  for (let k = levels.length - 2; k > 0; k--) {
    const level = levels[k], values = level.values;
    for (let j = 0, n = 0; j < level.height; j++)
      for (let i = 0; i < level.width; i++, n += 4) {
        const missing = 1 - values[n + 3];
        if (missing <= 0) continue;
        lookUp(levels[k + 1], i, j, colour);
        for (let c = 0; c < 3; c++) values[n + c] += missing * colour[c];
        values[n + 3] = 1;
      }
  }
  const picture = new Uint32Array(pixels.length);
  for (let j = 0, p = 0; j < height; j++)
    for (let i = 0; i < width; i++, p++) {
      if (known[p]) picture[p] = pixels[p];
      else if (started[(j >> 3) * near.width + (i >> 3)]) {
        lookUp(levels[1], i, j, colour);
        picture[p] = (255 << 24) | (colour[2] << 16) | (colour[1] << 8) | colour[0];
      }
    }
  return picture;
}
