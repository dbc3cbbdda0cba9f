// A picture of the view at any size, as a PNG: computed anew, pixel by pixel, not enlarged.

const LARGEST = 8192; // pixels a side: what browsers' canvases hold

/** RGBA bytes of a lattice's whole window, outside the view's own bookkeeping. alive: whether to go on. */
async function computePicture(engine, lattice, onprogress, alive) {
  const { width, height } = lattice, [across, down] = engine.cell, bytes = new Uint8ClampedArray(4 * width * height);
  const cells = [];
  for (let top = 0; top < height; top += down) for (let left = 0; left < width; left += across) cells.push([left, top]);
  let done = 0;
  const work = async () => {
    for (let cell = cells.shift(); cell && alive(); cell = cells.shift()) {
      const [left, top] = cell, columns = Math.min(across, width - left), rows = Math.min(down, height - top);
      const xs = Float64Array.from({ length: columns }, (_, i) => lattice.x(left + i));
      const ys = Float64Array.from({ length: rows }, (_, j) => lattice.y(top + j));
      const pixels = await engine.compute(xs, ys, Uint32Array.from({ length: columns * rows }, (_, n) => n));
      for (let j = 0; j < rows; j++) bytes.set(pixels.subarray(4 * j * columns, 4 * (j + 1) * columns), 4 * ((top + j) * width + left));
      onprogress((done += columns * rows) / (width * height));
    }
  };
  await Promise.all(Array.from({ length: engine.capacity }, work));
  if (!alive()) throw new Error("the style changed before the picture was finished");
  return bytes;
}

async function pngOf(bytes, width, height) {
  const canvas = document.createElement("canvas");
  Object.assign(canvas, { width, height });
  canvas.getContext("2d").putImageData(new ImageData(bytes, width, height), 0, 0);
  return new Promise((resolve, reject) => canvas.toBlob((blob) => (blob ? resolve(blob) : reject(new Error("the browser has no room for this picture"))), "image/png"));
}

function download(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
}
