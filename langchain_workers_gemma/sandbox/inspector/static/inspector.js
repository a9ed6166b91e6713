// The page: follows the feed, and shows the list and the selected request.

import { byId, request } from "./dom.js";
import { Detail } from "./detail.js";
import { RequestList, statusText } from "./list.js";
import { Settings } from "./settings.js";

const detail = new Detail();
const list = new RequestList(select, () => detail.focus());
const settings = new Settings();
let selected = null;
let loading = null;
let stale = false;
let paused = false;
let waiting = []; // the updates that arrive while the page is paused
const announced = new Set();
let ready = false; // whether the feed has sent the list so far, and now sends new requests
const MAX_WAITING = 2000;

function select(id) {
  selected = id;
  load();
}

/** Load the selected request. If it changes while it is loaded, load it again. */
async function load() {
  if (loading !== null) {
    stale = true;
    return;
  }
  const id = selected;
  loading = request("GET", `requests/${id}`);
  try {
    const found = await loading;
    if (id === selected) detail.update(found);
  } catch (error) {
    if (id === selected) {
      detail.close();
      byId("detail-title").textContent = error.message;
    }
  }
  loading = null;
  if (stale || id !== selected) {
    stale = false;
    if (selected !== null) load();
  }
}

function onExchange(summary) {
  list.update(summary);
  announce(summary);
  if (summary.id === selected) load();
}

function onReset() {
  ready = false;
  selected = null;
  list.clear();
  detail.close();
}

/** Announce a finished request to screen readers, once. */
function announce(summary) {
  if (summary.state === "running" || announced.has(summary.started_at)) return;
  announced.add(summary.started_at);
  if (announced.size > MAX_WAITING) announced.delete(announced.values().next().value);
  if (ready) {
    const tokens = summary.output_tokens === null ? "" : `, ${summary.output_tokens} tokens`;
    byId("announcer").textContent = `Request ${summary.id}: ${statusText(summary)}${tokens}`;
  }
}

function handle(action) {
  if (!paused) action();
  else if (waiting.push(action) > MAX_WAITING) waiting.shift();
}

function follow() {
  const feed = new EventSource("/inspector/feed");
  const state = byId("connection");
  const show = (text, name) => {
    state.textContent = text;
    state.className = name;
  };
  feed.addEventListener("open", () => {
    show("Live", "live");
    settings.load();
  });
  feed.addEventListener("error", () => show("The sandbox does not respond. Trying again…", "lost"));
  feed.addEventListener("reset", () => {
    waiting = [];
    handle(onReset);
  });
  feed.addEventListener("ready", () => handle(() => { ready = true; }));
  feed.addEventListener("exchange", (event) => {
    const summary = JSON.parse(event.data);
    handle(() => onExchange(summary));
  });
}

function setPaused(value) {
  paused = value;
  byId("pause").setAttribute("aria-pressed", String(value));
  byId("pause").textContent = value ? "Resume" : "Pause";
  if (!value) for (const action of waiting.splice(0)) action();
}

function setTheme(name) {
  if (name) document.documentElement.dataset.theme = name;
  else delete document.documentElement.dataset.theme;
  byId("theme").value = name;
}

function storedTheme() {
  try {
    return localStorage.getItem("theme") ?? "";
  } catch {
    return ""; // storage is disabled
  }
}

byId("base-url").textContent = `${location.origin}/client/v4`;
byId("pause").addEventListener("click", () => setPaused(!paused));
byId("clear").addEventListener("click", () => request("DELETE", "requests"));
byId("theme").addEventListener("change", (event) => {
  setTheme(event.target.value);
  try {
    localStorage.setItem("theme", event.target.value);
  } catch {
    // without storage, the theme is kept until the page is closed
  }
});
document.addEventListener("keydown", (event) => {
  const typing = event.target.matches("input, select, textarea");
  if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey) {
    event.preventDefault();
    byId("search").focus();
  } else if (event.key === "Escape" && (byId("detail").contains(event.target) || event.target === byId("search"))) {
    list.focus();
  }
});
setTheme(storedTheme());
follow();
