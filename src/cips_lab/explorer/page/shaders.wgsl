// The generator's program on a graphics card: one dispatch a layer, over all pixels of a tile.

struct Params {
  inputs: u32,      // features before
  outputs: u32,     // and after
  weight: u32,      // where this map's weights begin in `numbers`
  bias: u32,        // and its bias; NONE without
  activation: u32,  // 0 none, 1 leaky ReLU, 2 sine, 3 the released code's, 4 SiLU
  salt: u32,        // of the layer's noise
  noise: f32,       // its strength
  first: u32,       // of colours: whether they are the first
};
const NONE = 0xffffffffu;
const TAU = 6.283185307179586;

// Of a tile: sizes, then its pixels (column | row << 16) and axes, see gpu.js.
struct Tile { count: u32, columns: u32, rows: u32, spare: u32 };

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<uniform> tile: Tile;
@group(0) @binding(2) var<storage, read> numbers: array<f32>;     // weights and biases
@group(0) @binding(3) var<storage, read> pixels: array<u32>;      // of this tile
@group(0) @binding(4) var<storage, read> axes: array<f32>;        // of its columns and rows
@group(0) @binding(5) var<storage, read> cells: array<u32>;       // the same: entries of the table, keys of the noise
@group(0) @binding(6) var<storage, read> x: array<f32>;
@group(0) @binding(7) var<storage, read_write> y: array<f32>;

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
fn sine(value: f32) -> f32 {
  return sin(value - TAU * round(value / TAU));
}

fn activate(value: f32, feature: u32) -> f32 {
  let leaky = select(0.2 * value, value, value > 0.0);
  switch params.activation {
    case 1u: { return leaky; }
    case 2u: { return sine(value); }
    case 3u: { return 1.4142135623730951 * select(sine(value), leaky, feature < (params.outputs + 1u) / 2u); }
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

// A layer: a product of [pixels, inputs] and [inputs, outputs], 64 x 64 of it by a workgroup, 4 x 4 by each invocation.
const SIDE = 64u;
const DEPTH = 16u;
var<workgroup> left_part: array<f32, 1024>;   // [DEPTH][SIDE], of x
var<workgroup> right_part: array<f32, 1024>;  // [DEPTH][SIDE], of weights

@compute @workgroup_size(16, 16)
fn layer(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u,
         @builtin(local_invocation_index) index: u32) {
  var sums: array<vec4f, 4>;
  let first_pixel = group.x * SIDE;
  let first_output = group.y * SIDE;
  for (var start = 0u; start < params.inputs; start += DEPTH) {
    for (var i = index; i < DEPTH * SIDE; i += 256u) {
      let pixel = first_pixel + i / DEPTH;
      let input = start + i % DEPTH;
      let inside = pixel < tile.count && input < params.inputs;
      left_part[(i % DEPTH) * SIDE + i / DEPTH] = select(0.0, x[pixel * params.inputs + input], inside);
      let output = first_output + i % SIDE;
      let k = start + i / SIDE;
      let known = output < params.outputs && k < params.inputs;
      right_part[i] = select(0.0, numbers[params.weight + k * params.outputs + output], known);
    }
    workgroupBarrier();
    for (var k = 0u; k < DEPTH; k++) {
      let at = k * SIDE + 4u * local.y;
      let weights = vec4f(right_part[at], right_part[at + 1u], right_part[at + 2u], right_part[at + 3u]);
      for (var p = 0u; p < 4u; p++) {
        sums[p] += left_part[k * SIDE + 4u * local.x + p] * weights;
      }
    }
    workgroupBarrier();
  }
  for (var p = 0u; p < 4u; p++) {
    let pixel = first_pixel + 4u * local.x + p;
    if (pixel >= tile.count) { continue; }
    var moved = 0.0;
    if (params.noise != 0.0) { moved = params.noise * noise_of(pixel); }
    for (var o = 0u; o < 4u; o++) {
      let output = first_output + 4u * local.y + o;
      if (output >= params.outputs) { continue; }
      var value = sums[p][o] + moved;
      if (params.bias != NONE) { value += numbers[params.bias + output]; }
      y[pixel * params.outputs + output] = activate(value, output);
    }
  }
}

// The residual connection: y becomes (y + x) / sqrt 2.
@compute @workgroup_size(64)
fn connect(@builtin(global_invocation_id) id: vec3u) {
  if (id.x >= params.outputs || id.y >= tile.count) { return; }
  let i = id.y * params.outputs + id.x;
  y[i] = (y[i] + x[i]) * 0.7071067811865476;
}

// Colours of a pixel, added to those of the pairs before.
@compute @workgroup_size(64)
fn colours(@builtin(global_invocation_id) id: vec3u) {
  if (id.x >= tile.count) { return; }
  var sum = vec3f(numbers[params.bias], numbers[params.bias + 1u], numbers[params.bias + 2u]);
  for (var k = 0u; k < params.inputs; k++) {
    let at = params.weight + 3u * k;
    sum += x[id.x * params.inputs + k] * vec3f(numbers[at], numbers[at + 1u], numbers[at + 2u]);
  }
  for (var c = 0u; c < 3u; c++) {
    let before = select(y[3u * id.x + c], 0.0, params.first == 1u);
    y[3u * id.x + c] = before + sum[c];
  }
}
