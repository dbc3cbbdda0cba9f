// Where pixels lie. A view is a centre, and how many frames its shorter side spans; a lattice is that on a screen.

const DEEPEST = 2 ** -40, WIDEST = 64; // frames across the shorter side: from where neighbours' numbers are equal

/**
 * Pixel (column, row) of the world is at (x0 + column sx, y0 + row sy); the window shows `width` x `height` of them from
 * (left, top) on. Moving the window by whole pixels keeps what was computed.
 */
class Lattice {
  constructor(model, view, width, height) {
    const [rows, columns] = model.resolution, span = Math.min(Math.max(view.span, DEEPEST), WIDEST);
    // In native pixels, which are square; coordinates span [-1, 1] over all of them, both ways.
    const native = (span * (Math.min(rows, columns) - 1)) / Math.min(width, height);
    this.sx = (2 * native) / (columns - 1);
    this.sy = (2 * native) / (rows - 1);
    Object.assign(this, { model, span, width, height, left: 0, top: 0 });
    this.x0 = view.x - (0.5 * (width - 1)) * this.sx;
    this.y0 = view.y - (0.5 * (height - 1)) * this.sy;
  }

  x(column) {
    return this.x0 + column * this.sx;
  }

  y(row) {
    return this.y0 + row * this.sy;
  }

  move(columns, rows) {
    this.left += columns;
    this.top += rows;
  }

  /** The view that it shows now. */
  view() {
    let x = this.x(this.left + 0.5 * (this.width - 1));
    const { period } = this.model;
    if (period !== null) x -= period * Math.round(x / period); // once around is the same place
    return { x, y: this.y(this.top + 0.5 * (this.height - 1)), span: this.span };
  }

  /** Column and row of the window, as fractions, of a place in the world. */
  toWindow(x, y) {
    return [(x - this.x0) / this.sx - this.left, (y - this.y0) / this.sy - this.top];
  }

  /** The view after zooming by a factor about a place of the window that stays where it is. */
  zoomed(factor, column, row) {
    const span = Math.min(Math.max(this.span * factor, DEEPEST), WIDEST), ratio = span / this.span;
    const x = this.x(this.left + column), y = this.y(this.top + row), center = { x: this.x(this.left + 0.5 * (this.width - 1)), y: this.y(this.top + 0.5 * (this.height - 1)) };
    return { x: x + ratio * (center.x - x), y: y + ratio * (center.y - y), span };
  }
}
