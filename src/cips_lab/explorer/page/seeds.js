// A seed's latent: the numbers that torch.randn draws on a CPU, so that seed 7 here is `synthesize seeds=7`.

/** MT19937 (Matsumoto and Nishimura 1998), seeded as torch.Generator().manual_seed does, with the low 32 bits. */
class MersenneTwister {
  constructor(seed) {
    this.state = new Uint32Array(624);
    this.state[0] = seed >>> 0;
    for (let i = 1; i < 624; i++) {
      const before = this.state[i - 1];
      this.state[i] = Math.imul(1812433253, before ^ (before >>> 30)) + i;
    }
    this.next = 624;
  }

  random() {
    if (this.next === 624) this.renew();
    let y = this.state[this.next++];
    y ^= y >>> 11;
    y ^= (y << 7) & 0x9d2c5680;
    y ^= (y << 15) & 0xefc60000;
    return (y ^ (y >>> 18)) >>> 0;
  }

  renew() {
    const s = this.state;
    for (let i = 0; i < 624; i++) {
      const y = (s[i] & 0x80000000) | (s[(i + 1) % 624] & 0x7fffffff);
      s[i] = s[(i + 397) % 624] ^ (y >>> 1) ^ (y & 1 ? 0x9908b0df : 0);
    }
    this.next = 0;
  }

  /** In [0, 1), of 24 bits: a float32. */
  uniform() {
    return (this.random() & 0xffffff) / 16777216;
  }

  /** In [0, 1), of 53 bits. */
  uniformDouble() {
    const high = this.random(), low = this.random();
    return ((high & 0x1fffff) * 4294967296 + low) / 9007199254740992;
  }
}

/** Box-Muller as torch does for 16 numbers: the first eight are radii, the others angles. */
function normalSixteen(numbers, start) {
  for (let i = start; i < start + 8; i++) {
    const radius = Math.sqrt(-2 * Math.log(1 - numbers[i])), angle = TAU * numbers[i + 8];
    numbers[i] = radius * Math.cos(angle);
    numbers[i + 8] = radius * Math.sin(angle);
  }
}

/** torch.randn(count, generator=torch.Generator().manual_seed(seed)), float32, but for rounding. */
function latentOf(seed, count) {
  const twister = new MersenneTwister(seed), numbers = new Float32Array(count);
  if (count < 16) {
    // Few numbers are drawn in pairs, in double precision.
    for (let i = 0; i < count; i += 2) {
      const angle = TAU * twister.uniformDouble(), radius = Math.sqrt(-2 * Math.log1p(-twister.uniformDouble()));
      numbers[i] = radius * Math.cos(angle);
      if (i + 1 < count) numbers[i + 1] = radius * Math.sin(angle);
    }
    return numbers;
  }
  for (let i = 0; i < count; i++) numbers[i] = twister.uniform();
  for (let start = 0; start + 16 <= count; start += 16) normalSixteen(numbers, start);
  if (count % 16) {
    // What does not fill sixteen: the last sixteen are drawn anew.
    for (let i = count - 16; i < count; i++) numbers[i] = twister.uniform();
    normalSixteen(numbers, count - 16);
  }
  return numbers;
}

/** The class that a seed has by itself, as often as `shares` say. */
function classOf(seed, shares, stream) {
  const place = new MersenneTwister((seed ^ stream) >>> 0).uniform(), total = shares.reduce((sum, share) => sum + share, 0);
  let end = 0, label = 0;
  for (const share of shares) {
    end += share / total;
    if (end > place) break;
    label++;
  }
  return Math.min(label, shares.length - 1);
}
