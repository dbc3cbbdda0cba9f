// What pixels of one column, and those of one row, have in common.
//
// A grid's encoding is separable. sin(a(x) + c(y)) = sin a cos c + cos a sin c, so of a tile of n x n pixels only 2 n
// columns and rows need sines; interpolation in the table and the noise's keys are separable likewise. All of it is
// computed in double precision, so that one can walk in as far as a browser's numbers go, however the pixels are drawn.

const TAU = 2 * Math.PI;

/** x within the first turn, from -1 on; as it is on the plane. */
function wrapped(x, turns) {
  return turns === null ? x : x - 2 * turns * Math.floor((x + 1) / (2 * turns));
}

/** The sine and cosine of every frequency at one axis' places: [places, frequencies] each, float32. */
function wavesOf(model, places, vertical) {
  const { frequencies, weight, bias } = model.fourier, turns = model.turns, dimensions = turns === null ? 2 : 3;
  const sine = new Float32Array(places.length * frequencies), cosine = new Float32Array(sine.length);
  for (let i = 0, n = 0; i < places.length; i++) {
    // The point on the surface: on a cylinder (r cos, r sin, y), with r such that a step is as long as on the plane.
    const radius = turns / Math.PI, angle = vertical || turns === null ? 0 : (wrapped(places[i], turns) * Math.PI) / turns;
    const cx = turns === null ? places[i] : radius * Math.cos(angle), sx = radius * Math.sin(angle);
    for (let f = 0; f < frequencies; f++, n++) {
      const row = f * dimensions;
      let phase;
      if (vertical) phase = weight[row + dimensions - 1] * places[i] + bias[f];
      else phase = weight[row] * cx + (turns === null ? 0 : weight[row + 1] * sx);
      sine[n] = Math.sin(phase);
      cosine[n] = Math.cos(phase);
    }
  }
  return { sine, cosine };
}

/** The table's entries on both sides of every place along one axis, and how far it is from the first to the second. */
function neighboursOf(model, places, vertical) {
  const { rows, columns, lookup } = model.embedding, turns = model.turns;
  const count = vertical ? rows : columns, around = !vertical && turns !== null;
  const first = new Uint32Array(places.length), second = new Uint32Array(places.length);
  const share = new Float32Array(places.length);
  for (let i = 0; i < places.length; i++) {
    let position;
    if (around) position = ((wrapped(places[i], turns) + 1) * count) / (2 * turns);
    else {
      position = lookup === "aligned" ? (places[i] + 1) * 0.5 * (count - 1) : (places[i] + 1) * 0.5 * count - 0.5;
      position = Math.min(Math.max(position, 0), count - 1); // beyond the edges, the border's vectors go on
    }
    const start = Math.min(Math.max(Math.floor(position), 0), around ? count - 1 : count - 2);
    first[i] = start;
    second[i] = around ? (start + 1) % count : start + 1;
    share[i] = position - start;
  }
  return { first, second, share };
}

/** All that one axis' places have. */
function axisOf(model, places, vertical) {
  return {
    waves: model.fourier && wavesOf(model, places, vertical),
    entries: model.embedding && neighboursOf(model, places, vertical),
    keys: model.noise ? noiseKeys(model, places, vertical) : null,
  };
}

/** Axes of tiles. Tiles above each other have the same columns, so that the last ones are kept. */
class Axes {
  constructor(model, kept = 96) {
    Object.assign(this, { model, kept, known: new Map(), own: model.fourier });
  }

  /** Take the waves as a program's style has rotated them, see `rotatedWaves`. */
  use({ frequencies }) {
    if (!frequencies) return;
    this.model = { ...this.model, fourier: { ...this.own, weight: frequencies } };
    this.known.clear();
  }

  /** What `Runner` and the shaders need of a tile's columns (xs) and rows (ys), float64 coordinates. */
  of(xs, ys) {
    const x = this.axis(xs, false), y = this.axis(ys, true);
    return { columns: xs.length, rows: ys.length, wavesX: x.waves, wavesY: y.waves, entriesX: x.entries, entriesY: y.entries, keysX: x.keys, keysY: y.keys };
  }

  axis(places, vertical) {
    const name = [vertical, places.length, places[0], places.at(-1)].join();
    const axis = this.known.get(name) ?? axisOf(this.model, places, vertical);
    this.known.delete(name); // and behind all others again: what was not asked for longest goes first
    this.known.set(name, axis);
    if (this.known.size > this.kept) this.known.delete(this.known.keys().next().value);
    return axis;
  }
}
