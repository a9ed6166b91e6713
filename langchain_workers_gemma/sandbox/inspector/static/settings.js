// The settings: dialects, faults and speed.

import { byId, counted, el, request } from "./dom.js";

export class Settings {
  constructor() {
    byId("settings").addEventListener("toggle", () => byId("settings").open && this.run(() => request("GET", "settings")));
    byId("fault").addEventListener("submit", (event) => {
      event.preventDefault();
      this.run(() => request("POST", "faults", faultOf(event.target)));
    });
    byId("clear-faults").addEventListener("click", () => this.run(() => request("DELETE", "faults")));
    byId("pace").addEventListener("submit", (event) => {
      event.preventDefault();
      this.run(async () => {
        const pace = byId("tokens-per-second").valueAsNumber || null;
        await request("POST", "pace", { latency: byId("latency").valueAsNumber || 0, tokens_per_second: pace });
        return request("POST", "chaos", { rate: (byId("chaos").valueAsNumber || 0) / 100 });
      });
    });
  }

  load() {
    return this.run(() => request("GET", "settings"));
  }

  async run(action) {
    try {
      this.show(await action());
      byId("settings-error").textContent = "";
    } catch (error) {
      byId("settings-error").textContent = error.message;
    }
  }

  show(settings) {
    this.showDialects(settings.dialects);
    const kinds = byId("fault-kind");
    if (!kinds.options.length) kinds.append(...settings.fault_kinds.map((kind) => el("option", { value: kind }, kind)));
    byId("pending-title").textContent = settings.pending_count
      ? `${counted(settings.pending_count, "fault")} pending, applied to the next requests:` : "No fault is pending.";
    byId("pending").replaceChildren(...settings.pending.map((fault) => el("li", {}, fault)));
    byId("latency").value = settings.latency;
    byId("tokens-per-second").value = settings.tokens_per_second ?? "";
    byId("chaos").value = Number((settings.chaos_rate * 100).toPrecision(6));
    const active = settings.dialects.map(({ choice }) => choice).filter(Boolean);
    const states = [active.join(", "), settings.pending_count ? `${counted(settings.pending_count, "fault")} pending` : "",
      settings.chaos_rate ? "random faults" : "", settings.latency ? `${settings.latency} s latency` : "",
      settings.tokens_per_second ? `${settings.tokens_per_second} tokens per second` : ""];
    byId("settings-state").textContent = states.filter(Boolean).map((text) => `· ${text}`).join(" ");
  }

  showDialects(groups) {
    const box = byId("dialects");
    if (!box.children.length) box.append(...groups.map((group) => this.dialectLabel(group)));
    for (const { group, choice } of groups) {
      const select = byId(`dialect-${group}`);
      if (choice === "custom" && ![...select.options].some(({ value }) => value === choice)) {
        select.append(el("option", { value: choice, disabled: true }, choice));
      }
      select.value = choice;
      select.parentElement.className = choice ? "changed" : "";
    }
  }

  dialectLabel({ group, label, help, names }) {
    const select = el("select", { id: `dialect-${group}`, title: help },
      el("option", { value: "" }, "documented"), names.map((name) => el("option", { value: name }, name)));
    select.addEventListener("change", () => this.run(() => request("POST", "dialect", { group, name: select.value })));
    return el("label", { title: help }, label[0].toUpperCase() + label.slice(1), select);
  }
}

function faultOf(form) {
  const body = {};
  for (const [name, text] of new FormData(form)) {
    if (text === "") continue;
    body[name] = form.elements[name].type === "number" ? Number(text) : text;
  }
  return body;
}
