// The generator's program on a graphics card: one dispatch a layer, over all pixels of a tile.

struct Params {
  inputs: u32,      // features before, filled up with zeros to a multiple of four
  outputs: u32,     // and after, likewise
  weight: u32,      // where this map's weights begin in `numbers`
  bias: u32,        // and its bias
  activation: u32,  // 0 none, 1 leaky ReLU, 2 sine, 3 the released code's, 4 SiLU
  salt: u32,        // of the layer's noise
  noise: f32,       // its strength
  first: u32,       // of colours: whether they are the first; of the released code's activation: features with a ReLU
};
const TAU = 6.283185307179586;

// Of a tile: sizes, then its pixels (column | row << 16) and axes, see gpu.js.
struct Tile { count: u32, columns: u32, rows: u32, spare: u32 };

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<uniform> tile: Tile;
@group(0) @binding(2) var<storage, read> numbers: array<f32>;     // weights and biases
@group(0) @binding(3) var<storage, read> pixels: array<u32>;      // of this tile
@group(0) @binding(4) var<storage, read> axes: array<f32>;        // of its columns and rows
@group(0) @binding(5) var<storage, read> cells: array<u32>;       // the same: entries of the table, keys of the noise
@group(0) @binding(7) var<storage, read_write> y: array<f32>;
// The same buffers, four numbers at a time.
@group(0) @binding(2) var<storage, read> numbers4: array<vec4f>;
@group(0) @binding(6) var<storage, read> x4: array<vec4f>;
@group(0) @binding(7) var<storage, read_write> y4: array<vec4f>;

fn mix_bits(value: u32) -> u32 {
  var h = (value ^ (value >> 16u)) * 0x85ebca6bu;
  h = (h ^ (h >> 13u)) * 0xc2b2ae35u;
  return h ^ (h >> 16u);
}

fn noise_of(pixel: u32) -> f32 {
  let place = pixels[pixel];
  let keys = 4u * (tile.columns + tile.rows);  // behind the table's entries, which may be unused
  let key = mix_bits(cells[keys + (place & 0xffffu)] + cells[keys + tile.columns + (place >> 16u)]);
  let first = mix_bits(key ^ params.salt);
  let second = mix_bits(first + 0x9e3779b9u);
  let radius = sqrt(-2.0 * log((f32(first >> 8u) + 0.5) / 16777216.0));
  return radius * cos(f32(second >> 8u) * (TAU / 16777216.0));
}

// A card's sine is exact near zero only: bring its argument there.
fn sine(value: vec4f) -> vec4f {
  return sin(value - TAU * round(value / TAU));
}

// Of four neighbouring features, the first of which is `feature`.
fn activate(value: vec4f, feature: u32) -> vec4f {
  let leaky = max(value, 0.2 * value);
  switch params.activation {
    case 1u: { return leaky; }
    case 2u: { return sine(value); }
    case 3u: {
      let is_leaky = vec4u(feature) + vec4u(0u, 1u, 2u, 3u) < vec4u(params.first);
      return 1.4142135623730951 * select(sine(value), leaky, is_leaky);
    }
    case 4u: { return 1.6765 * value / (1.0 + exp(-value)); }
    default: { return value; }
  }
}

// Sines and cosines of sums, from those of columns and rows. params.inputs: frequencies; outputs: features of the whole
// encoding; weight: of them, sines; bias: features of the Fourier part.
@compute @workgroup_size(64)
fn encode_waves(@builtin(global_invocation_id) id: vec3u) {
  let features = params.bias;
  let pixel = id.y;
  if (id.x >= features || pixel >= tile.count) { return; }
  let place = pixels[pixel];
  let cosine = id.x >= params.weight;
  let wave = select(id.x, id.x - params.weight, cosine);
  let column = 2u * ((place & 0xffffu) * params.inputs + wave);
  let row = 2u * ((tile.columns + (place >> 16u)) * params.inputs + wave);
  let a = vec2f(axes[column], axes[column + 1u]);  // (sine, cosine)
  let b = vec2f(axes[row], axes[row + 1u]);
  y[pixel * params.outputs + id.x] = select(a.x * b.y + a.y * b.x, a.y * b.y - a.x * b.x, cosine);
}

// The table between its entries. params.inputs: features of a vector; outputs: of the whole encoding; weight: where the
// table begins; bias: before which features are others; salt: columns of the table; first: frequencies of the other part.
@compute @workgroup_size(64)
fn encode_table(@builtin(global_invocation_id) id: vec3u) {
  let pixel = id.y;
  if (id.x >= params.inputs || pixel >= tile.count) { return; }
  let place = pixels[pixel];
  let column = place & 0xffffu;
  let row = tile.columns + (place >> 16u);
  let shares = 2u * params.first * (tile.columns + tile.rows);
  let fx = axes[shares + column];
  let fy = axes[shares + row];
  let upper = cells[2u * row] * params.salt;
  let lower = cells[2u * row + 1u] * params.salt;
  let left = cells[2u * column];
  let right = cells[2u * column + 1u];
  let at = params.weight + id.x;
  let above = mix(numbers[at + (upper + left) * params.inputs], numbers[at + (upper + right) * params.inputs], fx);
  let below = mix(numbers[at + (lower + left) * params.inputs], numbers[at + (lower + right) * params.inputs], fx);
  y[pixel * params.outputs + params.bias + id.x] = mix(above, below, fy);
}

// A layer: a product of [pixels, inputs] and [inputs, outputs], of which each invocation makes 4 x 4 numbers: of 8 loads
// come 64 products. No memory is shared and nothing waits: whatever the card, its caches hold what neighbours read.
@compute @workgroup_size(8, 8)
fn layer(@builtin(global_invocation_id) id: vec3u) {
  let pixel = 4u * id.y;
  let inputs = params.inputs / 4u;
  let outputs = params.outputs / 4u;
  if (id.x >= outputs || pixel >= tile.count) { return; }
  let bias = numbers4[params.bias / 4u + id.x];
  var s0 = bias;
  var s1 = bias;
  var s2 = bias;
  var s3 = bias;
  var w = params.weight / 4u + id.x;
  var at = pixel * inputs;
  for (var k = 0u; k < inputs; k++) {
    let weights = mat4x4f(numbers4[w], numbers4[w + outputs], numbers4[w + 2u * outputs], numbers4[w + 3u * outputs]);
    s0 += weights * x4[at];
    s1 += weights * x4[at + inputs];
    s2 += weights * x4[at + 2u * inputs];
    s3 += weights * x4[at + 3u * inputs];
    w += 4u * outputs;
    at++;
  }
  if (params.noise != 0.0) {
    s0 += params.noise * noise_of(pixel);
    s1 += params.noise * noise_of(pixel + 1u);
    s2 += params.noise * noise_of(pixel + 2u);
    s3 += params.noise * noise_of(pixel + 3u);
  }
  // Buffers hold a multiple of four pixels: what is behind the last one is never read back.
  let out = pixel * outputs + id.x;
  y4[out] = activate(s0, 4u * id.x);
  y4[out + outputs] = activate(s1, 4u * id.x);
  y4[out + 2u * outputs] = activate(s2, 4u * id.x);
  y4[out + 3u * outputs] = activate(s3, 4u * id.x);
}

// The residual connection: y becomes (y + x) / sqrt 2.
@compute @workgroup_size(64)
fn connect(@builtin(global_invocation_id) id: vec3u) {
  if (id.x >= params.outputs / 4u || id.y >= tile.count) { return; }
  let i = id.y * (params.outputs / 4u) + id.x;
  y4[i] = (y4[i] + x4[i]) * 0.7071067811865476;
}

// Colours of a pixel, added to those of the pairs before.
@compute @workgroup_size(64)
fn colours(@builtin(global_invocation_id) id: vec3u) {
  if (id.x >= tile.count) { return; }
  let inputs = params.inputs / 4u;
  var sum = numbers4[params.bias / 4u];
  var w = params.weight / 4u;
  for (var k = 0u; k < inputs; k++) {
    sum += mat4x4f(numbers4[w], numbers4[w + 1u], numbers4[w + 2u], numbers4[w + 3u]) * x4[id.x * inputs + k];
    w += 4u;
  }
  if (params.first == 0u) { sum += y4[id.x]; }
  y4[id.x] = sum;
}
