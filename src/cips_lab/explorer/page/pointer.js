// Mouse, wheel, fingers and keys, as moves of the view.

const KEY_STEP = 0.125; // of the view, an arrow key's way
const KEY_ZOOM = 1.25;

/**
 * element: what is touched. world: {pan(columns, rows), zoom(factor, column, row), look(place or null), size(), act(key)}
 * in the view's own pixels; `act` returns whether it knew the key.
 */
function listenToPointer(element, world) {
  const fingers = new Map();
  let wheel = null, rest = [0, 0];
  const place = (event) => {
    const box = element.getBoundingClientRect(), [width, height] = world.size();
    return [((event.clientX - box.left) / box.width) * width, ((event.clientY - box.top) / box.height) * height];
  };
  // Only whole pixels are moved by, so that pixels are computed once; what is left over waits.
  const pan = (columns, rows) => {
    rest = [rest[0] + columns, rest[1] + rows];
    const whole = rest.map(Math.round);
    rest = rest.map((value, i) => value - whole[i]);
    world.pan(...whole);
  };

  element.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    element.setPointerCapture(event.pointerId);
    fingers.set(event.pointerId, place(event));
    element.classList.add("held");
    rest = [0, 0];
  });
  element.addEventListener("pointermove", (event) => {
    const now = place(event), before = fingers.get(event.pointerId);
    world.look(now);
    if (!before) return;
    if (fingers.size === 1) pan(before[0] - now[0], before[1] - now[1]);
    else if (fingers.size === 2) {
      const [other] = [...fingers].filter(([id]) => id !== event.pointerId).map(([, at]) => at);
      const apart = (at) => Math.max(8, Math.hypot(at[0] - other[0], at[1] - other[1]));
      pan(0.5 * (before[0] - now[0]), 0.5 * (before[1] - now[1]));
      world.zoom(apart(before) / apart(now), 0.5 * (now[0] + other[0]), 0.5 * (now[1] + other[1]));
    }
    fingers.set(event.pointerId, now);
  });
  const release = (event) => {
    fingers.delete(event.pointerId);
    if (!fingers.size) element.classList.remove("held");
  };
  element.addEventListener("pointerup", release);
  element.addEventListener("pointercancel", release);
  element.addEventListener("pointerleave", () => fingers.size || world.look(null));

  element.addEventListener("wheel", (event) => {
    event.preventDefault();
    // Many come between two pictures: their sum is one zoom. Lines (deltaMode 1) are some 16 pixels high.
    const way = event.deltaY * (event.deltaMode ? 16 : 1) * (event.ctrlKey ? 8 : 1), at = place(event);
    if (!wheel) requestAnimationFrame(() => {
      world.zoom(Math.exp(Math.min(Math.max(wheel.way, -700), 700) * 0.0015), ...wheel.at);
      wheel = null;
    });
    wheel = { way: (wheel?.way ?? 0) + way, at };
  }, { passive: false });
  element.addEventListener("dblclick", (event) => world.zoom(event.shiftKey ? 2 : 0.5, ...place(event)));

  const arrows = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest?.("input, select, textarea")) return;
    const [width, height] = world.size(), middle = [0.5 * (width - 1), 0.5 * (height - 1)];
    if (event.key in arrows) {
      const [right, down] = arrows[event.key];
      world.pan(right * Math.round(KEY_STEP * width), down * Math.round(KEY_STEP * height)); // as far back as forth
    } else if (event.key === "+" || event.key === "=") world.zoom(1 / KEY_ZOOM, ...middle);
    else if (event.key === "-" || event.key === "_") world.zoom(KEY_ZOOM, ...middle);
    else if (!world.act(event.key)) return;
    event.preventDefault();
  });
}
