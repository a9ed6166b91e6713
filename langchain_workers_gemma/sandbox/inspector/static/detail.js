// The details of one request, in tabs.

import { byId, counted, dollars, el, milliseconds, number } from "./dom.js";
import { statusText } from "./list.js";

const TABS = [
  ["messages", "Messages", messagesPanel, (detail) => sum(detail.inputs, "messages") + (hasReply(detail) ? 1 : 0)],
  ["tools", "Tools", toolsPanel, (detail) => sum(detail.inputs, "tools")],
  ["prompt", "Prompt", promptPanel, () => null],
  ["request", "Request", requestPanel, () => null],
  ["response", "Response", responsePanel, () => null],
  ["stream", "Stream", streamPanel, (detail) => detail.events.length + detail.events_omitted],
];
const sum = (inputs, key) => inputs.reduce((total, input) => total + input[key].length, 0);
const hasReply = ({ reply }) => Boolean(reply.text || reply.reasoning || reply.calls.length || reply.note || reply.errors.length);

export class Detail {
  constructor() {
    this.tabs = TABS.map(([name]) => el("button", {
      type: "button", role: "tab", id: `tab-${name}`, "aria-controls": `panel-${name}`, on: { click: () => this.show(name) },
    }));
    this.panels = TABS.map(([name]) => el("div", {
      role: "tabpanel", id: `panel-${name}`, tabindex: "0", "aria-labelledby": `tab-${name}`,
    }));
    byId("tabs").append(...this.tabs);
    byId("panels").append(...this.panels);
    byId("tabs").addEventListener("keydown", (event) => this.onKey(event));
    this.active = "messages";
    this.shown = "";
  }

  close() {
    this.shown = "";
    byId("detail-body").hidden = true;
    byId("detail-title").textContent = "Select a request";
  }

  /** Show a request. Without a change the page is not updated, so that selections and the focus stay. */
  update(detail) {
    const text = JSON.stringify(detail);
    if (text === this.shown) return;
    this.shown = text;
    const { summary } = detail;
    byId("detail-title").textContent = `#${summary.id} ${summary.model || `${summary.method} ${summary.path}`}`;
    byId("facts").replaceChildren(...facts(summary));
    TABS.forEach(([, label, panel, count], at) => {
      const amount = count(detail);
      this.tabs[at].textContent = amount === null ? label : `${label} (${number(amount)})`;
      this.panels[at].replaceChildren(...panel(detail).flat().filter(Boolean));
    });
    byId("detail-body").hidden = false;
    this.show(this.active);
  }

  show(name) {
    this.active = name;
    TABS.forEach(([other], at) => {
      this.tabs[at].setAttribute("aria-selected", String(other === name));
      this.tabs[at].tabIndex = other === name ? 0 : -1;
      this.panels[at].hidden = other !== name;
    });
  }

  focus() {
    this.tabs.find((tab) => tab.tabIndex === 0)?.focus();
  }

  onKey(event) {
    const at = this.tabs.indexOf(document.activeElement);
    const steps = { ArrowRight: at + 1, ArrowLeft: at - 1 + TABS.length, Home: 0, End: TABS.length - 1 };
    if (!(event.key in steps) || at < 0) return;
    event.preventDefault();
    const next = steps[event.key] % TABS.length;
    this.show(TABS[next][0]);
    this.tabs[next].focus();
  }
}

function facts(summary) {
  const rows = [
    ["Route", `${summary.method} ${summary.route}`],
    ["Status", statusText(summary)],
    ["Received", new Date(summary.started_at * 1000).toLocaleTimeString()],
    ["First byte", milliseconds(summary.first_byte_ms)],
    ["Total", milliseconds(summary.duration_ms)],
    ["Tokens in", summary.input_tokens === null ? "–" : number(summary.input_tokens)],
    ["Tokens out", summary.output_tokens === null ? "–" : number(summary.output_tokens)],
    ["Cost", dollars(summary.cost_usd)],
    ["Finish reason", summary.finish_reason || "–"],
  ];
  if (summary.dialect.length) rows.push(["Dialects", summary.dialect.join(", ")]);
  if (summary.fault) rows.push(["Fault", summary.fault]);
  return rows.map(([term, text]) => el("div", {}, el("dt", {}, term), el("dd", {}, text)));
}

function perInput(detail, render) {
  const many = detail.inputs.length > 1;
  const parts = detail.inputs.map((input, at) => [many ? el("h3", {}, `Input ${at + 1}`) : null, ...render(input)]);
  if (detail.inputs_omitted) parts.push(el("p", { class: "note" }, counted(detail.inputs_omitted, "more input")));
  return parts.flat();
}

function messagesPanel(detail) {
  const { reply } = detail;
  const parts = perInput(detail, (input) => input.messages.map(message));
  for (const error of reply.errors) parts.push(el("p", { class: "error" }, error));
  if (reply.text || reply.reasoning || reply.calls.length || reply.note) {
    parts.push(el("article", { class: "message reply" },
      el("h3", {}, "Response"), thought(reply.reasoning), reply.note ? el("p", {}, reply.note) : null,
      reply.text ? el("pre", {}, reply.text) : null, reply.calls.map(call)));
  }
  return parts.length ? parts : [el("p", { class: "hint" }, "This request has no messages.")];
}

function message(item) {
  const known = ["user", "assistant", "system", "developer", "tool", "prompt", "text"].includes(item.role) ? item.role : "other";
  return el("article", { class: `message ${known}` },
    el("h3", {}, [item.role, item.name].filter(Boolean).join(" "), item.call_id ? callId(item.call_id) : null),
    thought(item.reasoning), item.text ? el("pre", {}, item.text) : null,
    (item.images ?? []).map((image) => el("p", { class: "note" }, `Image: ${image.label}`)),
    (item.other_parts ?? []).map((kind) => el("p", { class: "note" }, `A part of type ${kind}`)),
    (item.calls ?? []).map(call));
}

function thought(text) {
  return text ? el("details", {}, el("summary", {}, "Reasoning"), el("pre", {}, text)) : null;
}

function call(item) {
  return el("pre", { class: "call" }, el("strong", {}, item.name), `(${item.arguments})`, item.id ? callId(item.id) : null);
}

const callId = (id) => el("span", { class: "call-id mono" }, id);

function toolsPanel(detail) {
  const parts = perInput(detail, (input) => input.tools.map((tool) => el("article", { class: "message" },
    el("h3", {}, tool.name || "a tool without a name"), el("p", {}, tool.description), el("pre", { class: "call" }, tool.parameters))));
  return parts.length ? parts : [el("p", { class: "hint" }, "This request binds no tools.")];
}

function promptPanel(detail) {
  const parts = perInput(detail, ({ prompt }) => (prompt ? promptParts(prompt) : []));
  return parts.length ? parts : [el("p", { class: "hint" }, "This request is not a chat, so it has no prompt.")];
}

function promptParts(prompt) {
  const pre = el("pre", { class: "prompt" }, prompt.segments.map(([kind, text]) => el("span", { class: kind }, text)));
  const legend = el("p", { class: "legend hint" },
    el("span", { class: "token" }, "special token"), el("span", { class: "template" }, "template"), el("span", {}, "message text"));
  const lookalikes = prompt.segments.filter(([kind]) => kind === "lookalike").length;
  return [
    prompt.refusal ? el("p", { class: "error" }, `The chat template refuses this conversation: ${prompt.refusal}`) : null,
    ...prompt.notes.map((note) => el("p", { class: "note" }, note)),
    lookalikes ? el("p", { class: "note" }, el("span", { class: "lookalike" }, "Marked"),
      `: ${counted(lookalikes, "special token")} in the text of messages. A server may treat this text as special tokens.`) : null,
    legend, pre,
    prompt.omitted ? el("p", { class: "note" }, `${number(prompt.omitted)} more characters`) : null,
  ];
}

function requestPanel(detail) {
  const { summary } = detail;
  const options = detail.inputs.flatMap((input) => Object.entries(input.options));
  return [
    el("div", {}, copyButton("Copy the body", () => detail.request_body), " ", copyButton("Copy as curl", () => curl(detail))),
    el("pre", {}, `${summary.method} ${summary.path}${summary.query ? `?${summary.query}` : ""}`),
    options.length ? el("h3", {}, "Options") : null,
    options.length ? pairs(options) : null,
    el("h3", {}, "Headers"), pairs(detail.request_headers),
    el("h3", {}, `Body (${number(summary.request_bytes)} bytes)`), el("pre", {}, detail.request_body || "empty"),
    omitted(detail.request_bytes_omitted),
  ];
}

function responsePanel(detail) {
  const { summary } = detail;
  return [
    el("div", {}, copyButton("Copy the body", () => detail.response_body)),
    el("pre", {}, `HTTP ${statusText(summary)}`),
    el("h3", {}, "Headers"), pairs(detail.response_headers),
    el("h3", {}, `Body (${number(summary.response_bytes)} bytes)`), el("pre", {}, detail.response_body || "empty"),
    omitted(detail.response_bytes_omitted),
  ];
}

function streamPanel(detail) {
  if (!detail.events.length) return [el("p", { class: "hint" }, "This response is not a stream.")];
  const last = detail.events.at(-1).at_ms || 1;
  const rows = detail.events.map((event, at) => {
    const before = at ? detail.events[at - 1].at_ms : 0;
    const gap = event.at_ms - before;
    const bar = el("div", { class: "bar" });
    bar.style.marginLeft = `${(97 * before) / last}%`; // the content security policy allows styles that a script sets
    bar.style.width = `${(97 * gap) / last}%`;
    return el("tr", {},
      el("td", { class: "number" }, at + 1),
      el("td", { class: "number gap" }, milliseconds(event.at_ms), bar),
      el("td", { class: "number" }, `+${milliseconds(gap)}`),
      el("td", {}, event.adds.map(([kind, text]) => el("div", { class: "adds" }, el("span", { class: "chip" }, kind), el("code", {}, text))),
        event.complete ? null : el("span", { class: "chip fault" }, "incomplete"),
        el("details", {}, el("summary", {}, "Raw"), el("pre", {}, event.text))));
  });
  return [
    el("table", { class: "events" },
      el("thead", {}, el("tr", {}, ["#", "At", "Gap", "Adds"].map((text) => el("th", { scope: "col" }, text)))),
      el("tbody", {}, rows)),
    detail.events_omitted ? el("p", { class: "note" }, counted(detail.events_omitted, "more event")) : null,
  ];
}

function pairs(entries) {
  return el("table", { class: "headers mono" }, el("tbody", {}, entries.map(([name, value]) =>
    el("tr", {}, el("td", {}, name), el("td", {}, value)))));
}

function omitted(bytes) {
  return bytes ? el("p", { class: "note" }, `${number(bytes)} more bytes are not stored`) : null;
}

function copyButton(label, text) {
  const button = el("button", { type: "button" }, label);
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(text());
      button.textContent = "Copied";
    } catch {
      button.textContent = "The browser does not allow it";
    }
    setTimeout(() => { button.textContent = label; }, 1500);
  });
  return button;
}

function curl({ summary, request_body: body }) {
  const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;
  const url = `${location.origin}${encodeURI(summary.path)}${summary.query ? `?${summary.query}` : ""}`;
  const lines = [`curl -N -X ${summary.method} ${quoted(url)}`, '-H "Authorization: Bearer $CLOUDFLARE_API_TOKEN"'];
  if (body) lines.push("-H 'Content-Type: application/json'", `--data ${quoted(body)}`);
  return lines.join(" \\\n  ");
}
