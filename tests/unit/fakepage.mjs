// A browser's tab with just enough in it to run footfall.js: pages, clicks, a clock, a network that can refuse.
//
//   node fakepage.mjs footfall.js < scenario.js      prints as JSON what the scenario returns
//
// The scenario is the body of an async function with `Tab`, `Element` and `settle`.

import { readFileSync } from "node:fs";
import vm from "node:vm";

const script = new vm.Script(readFileSync(process.argv[2], "utf8"), { filename: "footfall.js" });

class Element {
  constructor(attributes = {}, parent = null, tag = "a") {
    Object.assign(this, { attributes, parent, tag });
  }
  getAttribute(name) { return name in this.attributes ? this.attributes[name] : null; }
  contains(other) {
    for (let one = other; one; one = one.parent) if (one === this) return true;
    return false;
  }
  hasAttribute(name) { return name in this.attributes; }
  get localName() { return this.tag; }
}

// What all pages of a tab share: its storage, the network, and the server behind it.
class Tab {
  constructor(network = {}) {
    this.storage = new Map();
    this.requests = [];
    this.counted = {};
    // fetch: a status, "fail" (rejects), "throw", "missing" or "hang" (arrives, but its answer doesn't before the page
    // is left, which rejects it: so does Chromium); beacon: true, false, "throw" or "missing".
    this.network = { fetch: 200, beacon: true, online: true, storage: true, keepalive: true, refused: [], ...network };
  }
  open(options = {}) { return new Page(this, options); }
  receive(how, url, body) {
    const fields = Object.fromEntries(new URLSearchParams(String(body)));
    const labels = fields.labels.split("|");
    const wrong = labels.some((label) => this.network.refused.includes(label));
    const status = wrong ? 400 : how === "fetch" && this.network.fetch !== "hang" ? this.network.fetch : 200;
    this.requests.push({ how, url, labels, token: fields.token, size: String(body).length, status });
    if (status === 200) labels.forEach((label) => { this.counted[label] = (this.counted[label] || 0) + 1; });
    return status;
  }
}

class Page {
  constructor(tab, { hidden = false, dataset = { url: "/track/", token: "t0ken" } } = {}) {
    Object.assign(this, { tab, timers: new Map(), now: 0, next: 1, listeners: [], underWay: [] });
    const listen = (type, listener) => this.listeners.push({ type, listener });
    const network = tab.network;
    this.document = { visibilityState: hidden ? "hidden" : "visible", currentScript: { dataset }, addEventListener: listen };
    const navigator = { get onLine() { return network.online; } };
    if (network.beacon !== "missing") {
      navigator.sendBeacon = (url, body) => {
        if (network.beacon === "throw") throw new Error("no beacons here");
        if (network.beacon) tab.receive("beacon", url, body);
        return network.beacon;
      };
    }
    const window = {
      document: this.document, navigator, URLSearchParams, addEventListener: listen,
      Request: function Request() {},
      setTimeout: (callback, ms = 0) => { this.timers.set(this.next, { callback, at: this.now + ms }); return this.next++; },
      clearTimeout: (id) => this.timers.delete(id),
      sessionStorage: {
        getItem: (key) => { this.checkStorage(); return tab.storage.has(key) ? tab.storage.get(key) : null; },
        setItem: (key, value) => { this.checkStorage(); tab.storage.set(key, value); },
        removeItem: (key) => { this.checkStorage(); tab.storage.delete(key); },
      },
    };
    if (network.keepalive) window.Request.prototype.keepalive = true;
    if (network.fetch !== "missing") window.fetch = (url, options) => this.fetch(url, options);
    this.window = window.window = vm.createContext(window);
    this.include();
  }
  include() { script.runInContext(this.window); }
  checkStorage() { if (!this.tab.network.storage) throw new Error("storage is blocked"); }
  fetch(url, { method, body, keepalive }) {
    const network = this.tab.network;
    if (network.fetch === "throw") throw new Error("no requests here");
    if (method !== "POST" || !keepalive) throw new Error("not what a beacon is");
    if (network.fetch === "hang") {
      this.tab.receive("fetch", url, body);
      return new Promise((_, reject) => this.underWay.push(reject));
    }
    if (network.fetch === "fail") { this.tab.receive("fetch", url, body); return Promise.reject(new TypeError("network")); }
    return Promise.resolve({ status: this.tab.receive("fetch", url, body) });
  }
  fire(type, event = {}) {
    const composedPath = () => {
      const path = [];
      for (let one = event.target; one; one = one.parent) path.push(one);
      return [...path, this.document, this.window];
    };
    this.listeners.filter((one) => one.type === type).forEach(({ listener }) => listener({ type, composedPath, ...event }));
  }
  click(track, attributes = {}, button = 0) {
    const element = new Element({ "data-track": track, ...attributes });
    this.fire(button ? "auxclick" : "click", { target: new Element({}, element, "b"), button });
  }
  track(...labels) { this.window.footfall.track(...labels); }
  tick(ms) {
    this.now += ms;
    for (const [id, { callback, at }] of [...this.timers]) {
      if (at <= this.now && this.timers.delete(id)) callback();
    }
  }
  hide() { this.document.visibilityState = "hidden"; this.fire("visibilitychange"); }
  show() { this.document.visibilityState = "visible"; this.fire("visibilitychange"); }
  cut() { this.underWay.splice(0).forEach((reject) => reject(new TypeError("Failed to fetch"))); }
  leave() { this.cut(); this.fire("pagehide"); this.hide(); }
  comeBack() { this.document.visibilityState = "visible"; this.fire("pageshow"); this.fire("visibilitychange"); }
}

const settle = () => new Promise((done) => setImmediate(done));
const AsyncFunction = (async () => {}).constructor;
const scenario = new AsyncFunction("Tab", "Element", "settle", readFileSync(0, "utf8"));
console.log(JSON.stringify(await scenario(Tab, Element, settle) ?? null));
