// What the page does: themes, figures, the player of sample grids, the search in the configuration.
(() => {
  const root = document.documentElement, data = JSON.parse(document.getElementById("data").textContent);

  // -------- light and dark
  const remembered = (() => { try { return localStorage.getItem("cips-lab-theme"); } catch { return null; } })();
  const asked = location.hash.match(/theme=(light|dark)/)?.[1] || remembered;
  if (asked === "light" || asked === "dark") root.dataset.theme = asked;
  const toggle = document.getElementById("theme");
  const dark = () => (root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches);
  const named = () => { toggle.textContent = dark() ? "Light" : "Dark"; toggle.setAttribute("aria-label", `Switch to the ${dark() ? "light" : "dark"} theme`); };
  toggle.hidden = false;
  toggle.onclick = () => {
    root.dataset.theme = dark() ? "light" : "dark";
    try { localStorage.setItem("cips-lab-theme", root.dataset.theme); } catch { /* a browser that keeps nothing: until the page is closed */ }
    named();
  };
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", named);
  named();

  // -------- figures
  const charts = [...document.querySelectorAll("[data-chart]")], strips = [...document.querySelectorAll("[data-strip]")];
  const drawAll = () => {
    for (const host of charts) drawChart(host, data.charts[host.dataset.chart]);
    for (const host of strips) drawStrip(host, data.strips[host.dataset.strip]);
    if (marked !== null) for (const host of charts) host.mark(marked);
  };
  let marked = null, drawnAt = 0;
  for (const host of charts) {
    const chart = data.charts[host.dataset.chart], button = host.querySelector("button");
    const positive = chart.series.every((s) => s.points.every((p) => p[1] > 0));
    host.dataset.log = chart.log ? "1" : "0";
    button.hidden = !positive;
    button.setAttribute("aria-pressed", String(Boolean(chart.log)));
    button.onclick = () => {
      host.dataset.log = host.dataset.log === "1" ? "0" : "1";
      button.setAttribute("aria-pressed", String(host.dataset.log === "1"));
      drawChart(host, chart);
      if (marked !== null) host.mark(marked);
    };
  }
  new ResizeObserver(() => {
    if (document.body.clientWidth !== drawnAt) { drawnAt = document.body.clientWidth; drawAll(); }
  }).observe(document.body);

  // -------- tabs: one figure of several at a time
  for (const tabs of document.querySelectorAll("[role=tablist]")) {
    const all = [...tabs.querySelectorAll("[role=tab]")];
    const choose = (tab, focus) => {
      for (const other of all) {
        const on = other === tab;
        other.setAttribute("aria-selected", String(on));
        other.tabIndex = on ? 0 : -1;
        document.getElementById(other.getAttribute("aria-controls")).hidden = !on;
      }
      if (focus) { tab.focus(); }
      drawAll();
    };
    all.forEach((tab, i) => {
      tab.onclick = () => choose(tab, false);
      tab.onkeydown = (event) => {
        const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
        if (step) { event.preventDefault(); choose(all[(i + step + all.length) % all.length], true); }
      };
    });
  }

  // -------- sample grids over kimg
  for (const viewer of document.querySelectorAll(".viewer")) {
    const player = viewer.querySelector(".player");
    if (!player) continue;
    const panels = [...viewer.querySelectorAll("[data-frames]")].map((panel) => [...panel.querySelectorAll("img")]);
    const slider = player.querySelector("input"), button = player.querySelector("button"), output = player.querySelector("output");
    const kimgs = panels[0].map((image) => Number(image.dataset.kimg));
    let timer = null;
    player.hidden = kimgs.length < 2;
    const show = (index) => {
      for (const frames of panels) frames.forEach((image, i) => { image.hidden = i !== index; });
      slider.value = index;
      slider.setAttribute("aria-valuetext", `${shown(kimgs[index])} thousand images seen`);
      output.textContent = `${shown(kimgs[index])} kimg`;
      if (viewer.dataset.marks) { marked = kimgs[index]; for (const host of charts) if (host.mark) host.mark(marked); }
    };
    const stop = () => { clearInterval(timer); timer = null; button.textContent = "▶ Play"; };
    const play = () => {
      if (Number(slider.value) === kimgs.length - 1) show(0);
      button.textContent = "❚❚ Pause";
      timer = setInterval(() => {
        const next = Number(slider.value) + 1;
        if (next < kimgs.length) show(next); else stop();
      }, Math.max(150, Math.min(700, 9000 / kimgs.length)));
    };
    button.onclick = () => (timer ? stop() : play());
    slider.oninput = () => { stop(); show(Number(slider.value)); };
    document.addEventListener("keydown", (event) => {
      const typing = /^(input|textarea|select|svg|button|a|summary)$/i.test(event.target.tagName);
      const bounds = viewer.getBoundingClientRect(), visible = bounds.bottom > 0 && bounds.top < innerHeight;
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (typing || !visible || !step || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      stop();
      show(Math.max(0, Math.min(kimgs.length - 1, Number(slider.value) + step)));
    });
    const wanted = location.hash.match(/kimg=([\d.]+)/)?.[1];
    const nearest = (value) => kimgs.reduce((best, k, i) => (Math.abs(k - value) < Math.abs(kimgs[best] - value) ? i : best), 0);
    show(wanted === undefined ? kimgs.length - 1 : nearest(Number(wanted)));
  }

  // -------- configuration
  const find = document.getElementById("find");
  if (find) {
    const groups = [...document.querySelectorAll("#configuration details")], none = document.getElementById("none");
    find.oninput = () => {
      const words = find.value.toLowerCase().split(/\s+/).filter(Boolean);
      let hits = 0;
      for (const group of groups) {
        let here = 0;
        for (const row of group.querySelectorAll("dl > div")) {
          const text = `${group.dataset.name}.${row.textContent}`.toLowerCase();
          row.hidden = !words.every((word) => text.includes(word));
          here += row.hidden ? 0 : 1;
        }
        group.hidden = here === 0;
        group.open = words.length > 0 && here > 0;
        hits += here;
      }
      none.hidden = hits > 0;
    };
  }
  let closed = [];
  addEventListener("beforeprint", () => { closed = [...document.querySelectorAll("details:not([open])")]; for (const d of closed) d.open = true; });
  addEventListener("afterprint", () => { for (const d of closed) d.open = false; });
})();
