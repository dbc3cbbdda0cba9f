// The panel: each control is bound by its name to a number of the state.

const count = (value) => Math.round(value).toLocaleString("en");

/** 1234567 -> "1.23 M". */
function short(value) {
  const [size, letter] = value >= 1e9 ? [1e9, " G"] : value >= 1e6 ? [1e6, " M"] : value >= 1e3 ? [1e3, " k"] : [1, ""];
  return `${(value / size).toPrecision(value / size >= 1 ? 3 : 2)}${letter}`;
}

const WORDS = {
  psi: (value) => value.toFixed(2),
  walk: (value) => `${Math.round(100 * value)} %`,
  mix: (value, { model }) => (value >= model.layers.length ? "none" : `${value} to ${model.layers.length - 1}`),
  pairs: (value, { model }) => (value >= model.pairs.length ? "all" : `${value} of ${model.pairs.length}`),
};

/** Bind all controls to the explorer's state, both ways. */
function bindControls(explorer) {
  const { state, model } = explorer;
  for (const control of document.querySelectorAll("[data-set]")) {
    const name = control.dataset.set;
    if (control.tagName === "BUTTON") control.addEventListener("click", () => state.set({ [name]: control.dataset.value }));
    else if (control.type === "checkbox") control.addEventListener("change", () => state.set({ [name]: Number(control.checked) }));
    else control.addEventListener(control.type === "number" ? "change" : "input", () => state.set({ [name]: control.value }));
    if (control.type === "range") {
      // Layers and pairs are as many as the generator has.
      if (control.dataset.most) control.max = state.settings[name].most;
    }
  }
  for (const button of document.querySelectorAll("[data-step]"))
    button.addEventListener("click", () => state.set({ [button.dataset.of]: state.values[button.dataset.of] + Number(button.dataset.step) }));
  const has = (kind) => model.encoding.some((part) => part.kind === kind);
  const present = { fourier: has("fourier"), embedding: has("embedding"), pairs: model.pairs.every((pair) => pair.rgb), label: model.classes > 0 };
  for (const element of document.querySelectorAll("[data-needs]")) element.hidden = !element.dataset.needs.split(" ").some((need) => present[need]);
  const classes = document.querySelector("select[data-set=label]");
  for (let i = 0; i < model.classes; i++) classes.add(new Option(`class ${i}`, i));
  state.listeners.push(() => showControls(explorer));
  showControls(explorer);
}

function showControls(explorer) {
  const { values } = explorer.state;
  for (const control of document.querySelectorAll("[data-set]")) {
    const value = values[control.dataset.set];
    if (control.tagName === "BUTTON") control.setAttribute("aria-pressed", String(Number(control.dataset.value) === value));
    else if (control.type === "checkbox") control.checked = Boolean(value);
    else if (control.value !== String(value)) control.value = value;
  }
  for (const output of document.querySelectorAll("output[data-of]")) output.textContent = WORDS[output.dataset.of](values[output.dataset.of], explorer);
}

/** The line below the view: who draws, how fast, how much. */
function showStatus(explorer) {
  const { stats, engine } = explorer, say = (id, text) => {
    const element = document.getElementById(id);
    if (element.textContent !== text) element.textContent = text;
  };
  say("engine-name", engine.name);
  say("speed", stats.pixelsPerSecond ? `${short(stats.pixelsPerSecond)} pixels/s` : "");
  const share = stats.wanted / stats.pixels, saved = share < 0.995 ? ` (${(100 * share).toFixed(1)} %: ${(100 - 100 * share).toFixed(1)} % saved)` : "";
  say("amount", stats.idle ? `${count(stats.done)} of ${count(stats.pixels)} pixels${saved}` : `${count(stats.done)} of ${count(stats.wanted)} pixels ...`);
  document.getElementById("busy").hidden = stats.idle;
  const { x, y, span } = explorer.painter.lattice.view(), digits = Math.max(2, Math.ceil(2 - Math.log10(span)));
  const around = explorer.model.period === null ? "" : ` = ${((((x / explorer.model.period) * 360) % 360 + 360) % 360).toFixed(Math.max(0, digits - 2))}\u00b0`;
  say("place", `x ${x.toFixed(digits)}${around}, y ${y.toFixed(digits)}`);
  say("magnification", `${short(1 / span)}\u00d7`);
}

/** Dark or light: what the system says, or what is chosen. */
function bindTheme() {
  const root = document.documentElement, button = document.getElementById("theme"), system = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : system.matches);
  const name = () => {
    button.textContent = isDark() ? "Light" : "Dark";
    button.title = `Switch to the ${isDark() ? "light" : "dark"} theme`;
  };
  try {
    const remembered = localStorage.getItem("cips-lab-theme");
    if (remembered === "light" || remembered === "dark") root.dataset.theme = remembered;
  } catch { /* a browser that keeps nothing */ }
  button.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    try {
      localStorage.setItem("cips-lab-theme", root.dataset.theme);
    } catch { /* until the page is closed */ }
    name();
  });
  system.addEventListener("change", name);
  name();
}

/** The training pictures' edge, as a path in the view's pixels: parts of it that lie in the view. */
function framePath(lattice) {
  const [left, top] = lattice.toWindow(-1, -1), [right, bottom] = lattice.toWindow(1, 1), { width, height } = lattice;
  const around = lattice.model.period !== null, lines = [];
  const [from, to] = around ? [0, width] : [Math.max(0, left), Math.min(width, right)];
  for (const y of [top, bottom]) if (y > -2 && y < height + 2 && from < to) lines.push(`M${from} ${y + 0.5}H${to}`);
  const [start, stop] = [Math.max(0, top), Math.min(height, bottom)];
  for (const x of around ? [] : [left, right]) if (x > -2 && x < width + 2 && start < stop) lines.push(`M${x + 0.5} ${start}V${stop}`);
  return lines.join("");
}

function showOverlay(explorer) {
  const { lattice, fovea, focus } = explorer.painter, { width, height } = lattice, overlay = document.getElementById("overlay");
  overlay.setAttribute("viewBox", `0 0 ${width} ${height}`);
  for (const path of overlay.querySelectorAll("path")) path.setAttribute("d", framePath(lattice));
  const ring = overlay.querySelector("circle"), [x, y] = focus ?? [0.5 * width, 0.5 * height];
  ring.style.display = fovea.share < 1 ? "" : "none";
  if (fovea.share < 1) for (const [name, value] of [["cx", x], ["cy", y], ["r", fovea.std]]) ring.setAttribute(name, value);
}
