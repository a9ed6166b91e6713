// The list of requests: rows, filters and keyboard navigation.

import { byId, counted, dollars, el, milliseconds, number } from "./dom.js";

const MAX_ROWS = 500;
const MAX_OPTIONS = 100;
const PAGE_ROWS = 10;

export class RequestList {
  /** @param onSelect Called with the id of the selected request. @param onOpen Called when the user opens the details. */
  constructor(onSelect, onOpen) {
    this.onSelect = onSelect;
    this.body = byId("requests");
    this.rows = new Map();
    this.selected = null;
    this.filters = ["search", "outcome", "route", "model", "streams"].map(byId);
    for (const filter of this.filters) filter.addEventListener("input", () => this.filter());
    byId("filters").addEventListener("submit", (event) => event.preventDefault());
    this.body.addEventListener("click", (event) => {
      const row = event.target.closest("tr");
      if (row) this.select(Number(row.dataset.id));
    });
    this.body.addEventListener("keydown", (event) => this.onKey(event, onOpen));
  }

  clear() {
    this.rows.clear();
    this.body.replaceChildren();
    this.selected = null;
    this.count();
  }

  update(summary) {
    const known = this.rows.get(summary.id);
    const entry = known ?? { row: el("tr", { role: "row", tabindex: "-1", "aria-selected": "false" }) };
    entry.summary = summary;
    entry.row.dataset.id = summary.id;
    entry.row.replaceChildren(...cells(summary));
    entry.row.hidden = !this.matches(summary);
    if (!known) this.insert(summary.id, entry);
    this.addOption("route", summary.route);
    this.addOption("model", summary.model);
    this.count();
  }

  insert(id, entry) {
    this.rows.set(id, entry);
    const after = [...this.body.children].find((row) => Number(row.dataset.id) < id);
    this.body.insertBefore(entry.row, after ?? null);
    while (this.rows.size > MAX_ROWS) {
      const oldest = this.body.lastElementChild;
      this.rows.delete(Number(oldest.dataset.id));
      oldest.remove();
    }
    if (this.selected === null && this.rows.size === 1) entry.row.tabIndex = 0;
  }

  addOption(id, value) {
    const select = byId(id);
    if (value && select.options.length < MAX_OPTIONS && ![...select.options].some((option) => option.value === value)) {
      select.append(el("option", { value }, value));
    }
  }

  select(id, focus = true) {
    const entry = this.rows.get(id);
    if (!entry) return;
    for (const { row } of this.rows.values()) {
      const chosen = row === entry.row;
      row.setAttribute("aria-selected", String(chosen));
      row.tabIndex = chosen ? 0 : -1;
    }
    this.selected = id;
    if (focus) entry.row.focus();
    this.onSelect(id);
  }

  focus() {
    (this.body.querySelector('tr[tabindex="0"]:not([hidden])') ?? this.visible()[0] ?? byId("search")).focus();
  }

  visible() {
    return [...this.body.children].filter((row) => !row.hidden);
  }

  onKey(event, onOpen) {
    const rows = this.visible();
    const at = rows.indexOf(event.target.closest("tr"));
    const steps = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: rows.length - 1, PageDown: at + PAGE_ROWS, PageUp: at - PAGE_ROWS };
    if (event.key in steps && rows.length) {
      event.preventDefault();
      const next = Math.max(0, Math.min(rows.length - 1, steps[event.key]));
      this.select(Number(rows[next].dataset.id));
    } else if ((event.key === "Enter" || event.key === " ") && at >= 0) {
      event.preventDefault();
      this.select(Number(rows[at].dataset.id), false);
      onOpen();
    }
  }

  filter() {
    for (const { row, summary } of this.rows.values()) row.hidden = !this.matches(summary);
    const visible = this.visible();
    if (visible.length && !visible.some((row) => row.tabIndex === 0)) visible[0].tabIndex = 0;
    this.count();
  }

  matches(summary) {
    const [search, outcome, route, model, streams] = this.filters;
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const text = [summary.model, summary.path, summary.preview, summary.error, summary.fault, summary.status, summary.route]
      .join(" ").toLowerCase();
    return words.every((word) => text.includes(word))
      && (!outcome.value || outcome.value === outcomeOf(summary))
      && (!route.value || route.value === summary.route)
      && (!model.value || model.value === summary.model)
      && (!streams.checked || summary.stream);
  }

  count() {
    const shown = this.visible().length;
    byId("count").textContent = `${number(shown)} of ${counted(this.rows.size, "request")}`;
    byId("empty").hidden = this.rows.size > 0;
  }
}

export function outcomeOf(summary) {
  if (summary.state === "running") return "running";
  if (summary.state !== "complete") return "cut";
  return summary.status >= 400 || summary.error ? "error" : "ok";
}

export function statusText(summary) {
  const status = summary.status ?? "–";
  return summary.state === "complete" ? String(status) : `${status} ${summary.state}`;
}

function cells(summary) {
  const outcome = outcomeOf(summary);
  const style = { ok: "status-good", running: "status-running" }[outcome] ?? "status-bad";
  const tokens = summary.input_tokens === null ? "–" : `${number(summary.input_tokens)} → ${number(summary.output_tokens)}`;
  const chips = [summary.route, summary.stream ? "stream" : null, summary.tools ? counted(summary.tools, "tool") : null,
    summary.calls ? counted(summary.calls, "call") : null].filter(Boolean).map((text) => el("span", { class: "chip" }, text));
  if (summary.fault) chips.push(el("span", { class: "chip fault" }, `fault: ${summary.fault}`));
  return [
    el("td", { role: "gridcell", class: "number" }, summary.id),
    el("td", { role: "gridcell" },
      el("div", { class: "request-model", title: summary.model || summary.path },
        summary.model.split("/").at(-1) || `${summary.method} ${summary.path}`),
      el("div", { class: "request-preview" }, summary.preview),
      el("div", {}, chips)),
    el("td", { role: "gridcell", class: style }, statusText(summary)),
    el("td", { role: "gridcell", class: "number" }, milliseconds(summary.duration_ms)),
    el("td", { role: "gridcell", class: "number" }, el("div", {}, tokens), el("div", { class: "hint" }, dollars(summary.cost_usd))),
  ];
}
