// Counts clicks on elements with data-track="label:category", and what footfall.track("label:category:id") is given.
(() => {
  "use strict";
  const own = document.currentScript;
  if (!own || (window.footfall && footfall.track)) return;

  const { url, token = "" } = own.dataset;
  const STORE = "footfall";
  const NAME = /^(?!__)[\p{L}\p{N}_.+\- /#@(][\p{L}\p{M}\p{N}_.+\-/#@,()!?&% ]*$/u;
  const keeps = window.Request && "keepalive" in Request.prototype;
  let queue = [], left = 0, timer, resting, gone;

  const fits = (text, most) => text && text.length <= most && NAME.test(text);

  // What a click on the element counts for: label, category and id.
  const keyOf = (element) => {
    const [label, category, ...rest] = element.getAttribute("data-track").split(":");
    const id = element.getAttribute("id");
    return [label, category || "None", ...(rest.length ? rest : [fits(id, 50) ? id : "None"])];
  };

  const later = (ms) => { timer = timer || setTimeout(flush, ms); };

  // What the server would refuse is left out here: it would take the rest of its batch with it.
  const add = (label) => {
    const parts = String(label).split(":");
    const good = parts[0].trim() && parts.length < 4 && parts.every((part, i) => (i && !part) || fits(part, [250, 30, 50][i]));
    if (good && queue.length < 200) queue.push(String(label));
  };

  const track = (...labels) => {
    try {
      labels.join("|").split("|").forEach(add);
      if (queue.length > 19 && !resting) flush();
      else if (queue.length) later(1e3);
    } catch (e) {}
  };

  // While the page is hidden its queue lies in the tab's storage, and only there: the next page of the tab sends it.
  const store = () => {
    try {
      if (queue.length) sessionStorage.setItem(STORE, JSON.stringify(queue));
      queue = [];
    } catch (e) {}
  };
  const restore = () => {
    try {
      const kept = sessionStorage.getItem(STORE);
      sessionStorage.removeItem(STORE);
      JSON.parse(kept || "[]").forEach(add);
    } catch (e) {}
  };

  const hidden = () => gone || document.visibilityState == "hidden";

  const keep = (labels) => {
    restore();
    labels.forEach(add);
    if (hidden()) store();
    resting = true;
    later(3e4);
  };

  const bodyOf = (labels) => new URLSearchParams({ labels: labels.join("|"), token });

  const send = (labels, leaving) => {
    if (leaving && navigator.onLine === false) return keep(labels);
    try {
      if ((leaving || !keeps) && navigator.sendBeacon(url, bodyOf(labels))) return;
    } catch (e) {}
    try {
      const late = gone, then = left;
      fetch(url, { method: "POST", body: bodyOf(labels), keepalive: true }).then(({ status }) => {
        if (status == 429 || status > 499) keep(labels);
        else if (status == 400 && labels[1]) labels.forEach((label) => send([label]));
      }, () => {
        // A browser that leaves a page says so of all that is under way, some moments early, and sends it all the same.
        if (late) keep(labels); else setTimeout(() => { if (left == then) keep(labels); });
      });
    } catch (e) {
      keep(labels);
    }
  };

  const flush = (leaving) => {
    clearTimeout(timer);
    timer = resting = 0;
    restore();
    const all = queue;
    queue = [];
    while (all.length) {
      let n = 0, size = 0;
      while (n < 20 && n < all.length && (size += encodeURIComponent(all[n]).length) < 8e3) n++;
      send(all.splice(0, n), leaving);
    }
  };

  const turn = ({ type }) => {
    if (type == "pagehide") left++;
    gone = type == "pagehide" || (gone && type != "pageshow");
    if (hidden()) {
      flush(true);
      store();
    } else {
      restore();
      track();
    }
  };

  const click = (event) => {
    try {
      const path = event.composedPath(); // out of shadow trees as well
      const element = event.button < 2 && path.find((one) => one.hasAttribute && one.hasAttribute("data-track"));
      const { control } = path.find(({ localName }) => localName == "label") || {};
      // The browser clicks a label's control, too: that one counts where both lie in the element.
      if (element && (!control || control == path[0] || !element.contains(control))) track(keyOf(element).join(":"));
    } catch (e) {}
  };

  addEventListener("click", click, true);
  addEventListener("auxclick", click, true);
  addEventListener("pagehide", turn);
  addEventListener("pageshow", turn);
  document.addEventListener("visibilitychange", turn);
  window.footfall = { track, keyOf };
  turn({});
})();
