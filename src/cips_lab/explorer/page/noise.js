// Per-pixel noise, a hash of pixel and layer: the same numbers as cips_lab.networks.noise, in 32-bit arithmetic.

const SUBPIXELS = 64; // noise cells per native pixel and direction

function mixBits(h) {
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}

function roundHalfToEven(value) {
  const down = Math.floor(value), rest = value - down;
  return rest < 0.5 || (rest === 0.5 && down % 2 === 0) ? down : down + 1;
}

/** Of columns, or of rows, what is added to make pixels' keys: cells are found in single precision, as torch does. */
function noiseKeys(model, places, vertical) {
  const side = model.resolution[vertical ? 0 : 1], keys = new Uint32Array(places.length);
  const scale = Math.fround(0.5 * SUBPIXELS * (side - 1));
  for (let i = 0; i < places.length; i++) {
    let cell = roundHalfToEven(Math.fround(Math.fround(Math.fround(places[i]) + 1) * scale));
    if (vertical) {
      keys[i] = cell;
      continue;
    }
    if (model.turns !== null) {
      const around = SUBPIXELS * (side - 1) * model.turns;
      cell = ((cell % around) + around) % around;
    }
    keys[i] = Math.imul(mixBits(cell | 0), 0x9e3779b1);
  }
  return keys;
}

function pixelKey(column, row) {
  return mixBits((column + row) | 0);
}

/** What a layer's keys are mixed with, for noise of seed 0. */
function noiseSalt(layer) {
  return mixBits((Math.imul(layer, 0x165667b1) + 1) | 0);
}

/** A standard normal number (Box-Muller on two hashes). */
function noiseAt(key, salt) {
  const first = mixBits(key ^ salt), second = mixBits((first + 0x9e3779b9) | 0);
  const radius = Math.sqrt(-2 * Math.log(((first >>> 8) + 0.5) / 16777216));
  return radius * Math.cos((second >>> 8) * (TAU / 16777216));
}
