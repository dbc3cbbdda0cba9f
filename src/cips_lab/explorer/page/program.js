// Styles, and the generator with its styles filled in: as CIPSGenerator.program, a plain MLP over pixels.

/** x [in] @ weight [in, out] + bias. */
function affine(x, weight, bias, outputs) {
  const y = bias ? Float64Array.from(bias) : new Float64Array(outputs);
  for (let k = 0; k < x.length; k++) for (let o = 0; o < outputs; o++) y[o] += x[k] * weight[k * outputs + o];
  return y;
}

function normalised(x) {
  const mean = x.reduce((sum, value) => sum + value * value, 0) / x.length;
  return x.map((value) => value / Math.sqrt(mean + 1e-8));
}

/** The style of a seed before truncation; label: a class, or null for the seed's own. Mapping network of StyleGAN2. */
function styleOf(model, seed, label = null) {
  let x = normalised(Float64Array.from(latentOf(seed, model.z_dim)));
  if (model.classes) {
    const own = classOf(seed, model.tensor("mapping.shares"), model.class_stream), one = new Float64Array(model.classes);
    one[label ?? own] = 1;
    const known = affine(one, model.tensor("mapping.classes.weight"), model.tensor("mapping.classes.bias"), model.w_dim);
    x = Float64Array.from([...x, ...normalised(known)]);
  }
  for (let i = 0; i < model.mapping_layers; i++) {
    x = affine(x, model.tensor(`mapping.${i}.weight`), model.tensor(`mapping.${i}.bias`), model.w_dim);
    x = x.map((value) => Math.SQRT2 * (value < 0 ? 0.2 * value : value));
  }
  return x;
}

function between(first, second, share) {
  return first.map((value, i) => value + share * (second[i] - value));
}

/**
 * A style for each layer, of what the controls say: a walk from one seed's style to another's, the second seed's in the
 * layers from `mix` on, all pulled towards the mean.
 */
function layerStyles(model, { seed, other, walk, mix, psi, label }) {
  const mean = Float64Array.from(model.tensor("mapping.mean"));
  const first = styleOf(model, seed, label);
  const second = walk > 0 || mix < model.layers.length ? styleOf(model, other, label) : first;
  const walked = between(mean, between(first, second, walk), psi), mixed = between(mean, second, psi);
  return model.layers.map((_, layer) => (layer < mix ? walked : mixed));
}

/** Modulation and demodulation (paper, equation 3): a matrix for one style, {inputs, outputs, weight, bias}. */
function modulate(model, name, { inputs, outputs, modulated, gain }, w, demodulate) {
  const stored = model.tensor(`${name}.weight`), weight = new Float32Array(stored.length);
  const bias = Float32Array.from(model.tensor(`${name}.bias`));
  if (!modulated) return { inputs, outputs, weight: weight.map((_, i) => stored[i] * gain), bias };
  const style = affine(w, model.tensor(`${name}.affine.weight`), model.tensor(`${name}.affine.bias`), inputs);
  const lengths = new Float64Array(outputs);
  for (let k = 0; k < inputs; k++)
    for (let o = 0; o < outputs; o++) {
      const value = style[k] * stored[k * outputs + o];
      weight[k * outputs + o] = value;
      lengths[o] += value * value;
    }
  const factor = lengths.map((length) => gain * (demodulate ? 1 / Math.sqrt(length + 1e-8) : 1));
  for (let i = 0; i < weight.length; i++) weight[i] *= factor[i % outputs];
  return { inputs, outputs, weight, bias };
}

/** Outputs in another order: of `sinrelu`, even ones first, so that each half has one function. */
function evenFirst(map) {
  const { inputs, outputs } = map, order = [...Array(outputs).keys()].sort((a, b) => (a % 2) - (b % 2) || a - b);
  const weight = new Float32Array(map.weight.length);
  for (let k = 0; k < inputs; k++) for (let o = 0; o < outputs; o++) weight[k * outputs + o] = map.weight[k * outputs + order[o]];
  return { ...map, weight, bias: map.bias.map((_, o) => map.bias[order[o]]) };
}

/** Inputs of a part of the encoding that is switched off count as zero (paper, Figure 6). */
function withoutParts(model, map, off) {
  let row = 0;
  for (const { kind, features } of model.encoding) {
    if (off.includes(kind)) map.weight.fill(0, row * map.outputs, (row + features) * map.outputs);
    row += features;
  }
  return map;
}

/** A style moves the waves: a shift of the plane turns each pair's rows, of sine and of cosine (networks/shift.py). */
function moveWaves(model, map, w) {
  const { frequencies, weight } = model.grid.fourier, dimensions = weight.length / frequencies, { outputs } = map;
  const shift = affine(w, model.tensor("shift.weight"), model.tensor("shift.bias"), dimensions);
  for (let k = 0; k < frequencies; k++) {
    const phase = shift.reduce((sum, along, d) => sum + along * weight[k * dimensions + d], 0);
    const sin = Math.sin(phase), cos = Math.cos(phase), sines = k * outputs, cosines = (frequencies + k) * outputs;
    for (let o = 0; o < outputs; o++) {
      const s = map.weight[sines + o], c = map.weight[cosines + o];
      map.weight[sines + o] = cos * s - sin * c;
      map.weight[cosines + o] = sin * s + cos * c;
    }
  }
}

/** The waves' frequencies where a style rotates them, as `fourier.weight`; null where none does (networks/rotation.py). */
function rotatedWaves(model, w) {
  if (!model.tensor("rotation.weight")) return null;
  const [angle] = affine(w, model.tensor("rotation.weight"), model.tensor("rotation.bias"), 1);
  const sin = Math.sin(angle), cos = Math.cos(angle), { weight } = model.grid.fourier, rotated = new Float64Array(weight.length);
  for (let k = 0; k < weight.length; k += 2) {
    rotated[k] = weight[k] * cos + weight[k + 1] * sin;
    rotated[k + 1] = weight[k + 1] * cos - weight[k] * sin;
  }
  return rotated;
}

/** A program for a style of each layer; `off`: parts of the encoding left out; `pairs`: how many add their colours. */
function fillStyles(model, styles, { off = [], pairs = Infinity } = {}) {
  const layers = model.layers.map((options, i) => {
    const map = modulate(model, `layer.${i}`, options, styles[i], true);
    if (i === 0 && model.tensor("style.weight")) {
      // Without modulation the style is concatenated to the encoding: one more map into the first layer.
      const style = affine(styles[0], model.tensor("style.weight"), null, options.outputs);
      for (let o = 0; o < options.outputs; o++) map.bias[o] += style[o];
    }
    if (i === 0 && model.tensor("shift.weight")) moveWaves(model, map, styles[0]);
    if (i === 0) withoutParts(model, map, off);
    return { ...(model.activation === "sinrelu" ? evenFirst(map) : map), noise: options.noise };
  });
  const last = model.pairs.length - 1;
  return {
    activation: model.activation,
    residual: model.residual,
    frequencies: rotatedWaves(model, styles[0]),
    layers,
    pairs: model.pairs.map(({ skip, rgb }, i) => {
      const inputs = model.layers[2 * i + 1].inputs, outputs = model.layers[2 * i + 2].outputs;
      const shown = rgb && (i < pairs || (i === last && !model.pairs[0].rgb));
      const options = { inputs: outputs, outputs: 3, modulated: model.layers[1].modulated, gain: 1 };
      return {
        skip: skip ? { inputs, outputs, weight: model.tensor(`skip.${i}.weight`), bias: null } : null,
        rgb: shown ? modulate(model, `rgb.${i}`, options, styles[2 * i + 2], false) : null,
      };
    }),
  };
}
