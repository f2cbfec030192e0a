// For staff: shows on the page itself how often each element with data-track was clicked. Needs footfall.js before it.
(() => {
  "use strict";
  const own = document.currentScript;
  if (!own || !window.footfall || !footfall.keyOf) return;
  // What a framework put back from a copy of the page is dead: a copy has no listeners.
  document.querySelectorAll(".footfall-heatmap, .footfall-heatmap-layer").forEach((dead) => dead.remove());

  const TOP = 2147483647;
  let layer, shown = [], asked = 0, frame;

  const make = (tag, style, text = "") => {
    const element = document.createElement(tag);
    element.textContent = text;
    Object.assign(element.style, style);
    return element;
  };

  // -- What was counted

  // The elements with data-track, those in shadow trees included.
  const tracked = (root) => Array.from(root.querySelectorAll("*"), (element) => [
    ...(element.hasAttribute("data-track") ? [element] : []), ...(element.shadowRoot ? tracked(element.shadowRoot) : []),
  ]).flat();

  // Addresses stay below what servers take, so a long page asks more than once.
  const chunksOf = (ids) => {
    const chunks = [[]];
    let size = 0;
    ids.forEach((id) => {
      size += encodeURIComponent(id).length + 3;
      if (size > 1500) { chunks.push([]); size = 0; }
      chunks[chunks.length - 1].push(id);
    });
    return chunks;
  };

  const ask = (category, ids, days) =>
    fetch(own.dataset.url + "?" + new URLSearchParams({ category, days, dom_ids: ids.join("|") }))
      .then((answer) => (answer.ok ? answer.json() : Promise.reject(answer.status)));

  const load = () => {
    const turn = ++asked, wanted = new Map(), counts = new Map();
    const marked = tracked(document).map((element) => ({ element, key: footfall.keyOf(element) }));
    marked.forEach(({ key: [, category, id] }) => wanted.set(category, (wanted.get(category) || new Set()).add(id)));
    const asking = [];
    wanted.forEach((ids, category) => chunksOf([...ids]).forEach((some) => asking.push(
      ask(category, some, select.value).then((rows) => rows.forEach(
        ([id, count, label]) => counts.set([label, category, id].join(":"), count))))));
    return Promise.all(asking).then(() => {
      if (turn != asked) return; // turned off, or asked anew
      shown = marked.map(({ element, key }) => ({ element, key: key.join(":"), count: counts.get(key.join(":")) || 0 }));
      button.textContent = "Heat map";
      draw();
    }).catch((reason) => {
      if (turn == asked) button.textContent = `Heat map: no answer (${reason})`;
    });
  };

  // -- The overlay

  const at = (place, zero) => ({
    position: "absolute", left: `${place.left - zero.left}px`, top: `${place.top - zero.top}px`,
    width: `${place.width}px`, height: `${place.height}px`,
  });

  const draw = () => {
    frame = 0;
    if (!layer) return;
    const most = Math.max(1, ...shown.map(({ count }) => count));
    const zero = layer.getBoundingClientRect();
    layer.textContent = "";
    shown.forEach(({ element, key, count }) => {
      const place = element.getBoundingClientRect();
      if (!place.width && !place.height) return;
      const hue = 240 - 240 * count / most;
      const box = make("div", at(place, zero));
      box.setAttribute("data-footfall-count", count);
      box.setAttribute("data-footfall-label", key);
      // A link that goes over several lines is coloured on each, and nowhere else.
      for (const line of element.getClientRects()) {
        if (line.width && line.height) box.append(make("div", {
          ...at(line, place), boxSizing: "border-box", border: `2px solid hsl(${hue}, 100%, 50%)`,
          background: `hsla(${hue}, 100%, 50%, 0.35)`,
        }));
      }
      box.append(make("span", {
        position: "absolute", right: "-8px", top: "-10px", padding: "0 5px", borderRadius: "8px",
        background: "#111", color: "#fff", font: "bold 12px/16px sans-serif",
      }, String(count)));
      layer.append(box);
    });
  };

  const redraw = () => { frame = frame || (layer && requestAnimationFrame(draw)); };

  const turnOn = () => {
    layer = make("div", { position: "absolute", left: 0, top: 0, width: 0, height: 0, pointerEvents: "none", zIndex: TOP - 1 });
    layer.className = "footfall-heatmap-layer";
    layer.setAttribute("aria-hidden", "true");
    document.body.append(layer);
    load();
  };

  const turnOff = () => {
    asked++;
    layer.remove();
    layer = null;
    shown = [];
    button.textContent = "Heat map";
  };

  const toggle = () => {
    if (layer) turnOff(); else turnOn();
    button.setAttribute("aria-pressed", String(!!layer));
  };

  // -- The panel

  const panel = make("div", {
    position: "fixed", right: "12px", bottom: "12px", zIndex: TOP, display: "flex", gap: "6px", padding: "6px",
    background: "#fff", color: "#111", border: "1px solid #888", borderRadius: "6px", font: "14px/20px sans-serif",
  });
  panel.className = "footfall-heatmap";
  // The site's own buttons may look like anything.
  const control = {
    font: "inherit", color: "#111", background: "#eee", border: "1px solid #888", borderRadius: "4px",
    margin: 0, padding: "2px 8px", width: "auto", height: "auto",
  };
  const button = make("button", control, "Heat map");
  button.type = "button";
  button.setAttribute("aria-pressed", "false");
  const select = make("select", control);
  select.setAttribute("aria-label", "Days of the heat map");
  [[1, "today"], [7, "7 days"], [30, "30 days"]].forEach(([days, text]) => {
    const option = make("option", {}, text);
    option.value = days;
    select.append(option);
  });
  panel.append(button, select);
  document.body.append(panel);

  button.addEventListener("click", toggle);
  select.addEventListener("change", () => { if (layer) load(); });
  addEventListener("resize", redraw);
  addEventListener("scroll", redraw, true);
  addEventListener("load", redraw, true); // pictures that come late move what is below them
  if (location.hash == "#footfall-heatmap" || "open" in own.dataset) toggle();
})();
