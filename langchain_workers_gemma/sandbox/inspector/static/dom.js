// Builds elements. Text is inserted only as text nodes, so that text of models and users is never parsed as markup.

export const byId = (id) => document.getElementById(id);

/** Create an element with properties and children. Strings become text nodes; null and undefined are ignored. */
export function el(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name === "class") element.className = value;
    else if (name === "on") for (const [event, handler] of Object.entries(value)) element.addEventListener(event, handler);
    else if (name.startsWith("aria-") || ["role", "scope", "for", "tabindex"].includes(name)) element.setAttribute(name, value);
    else element[name] = value;
  }
  for (const child of children.flat()) {
    if (child !== null && child !== undefined) element.append(child instanceof Node ? child : document.createTextNode(String(child)));
  }
  return element;
}

/** Return a number with its noun, as in "2 requests". */
export const counted = (count, noun) => `${count.toLocaleString("en")} ${noun}${count === 1 ? "" : "s"}`;

export const number = (value) => value.toLocaleString("en");

export function milliseconds(value) {
  if (value === null || value === undefined) return "…";
  return value < 1000 ? `${value.toFixed(value < 10 ? 1 : 0)} ms` : `${(value / 1000).toFixed(2)} s`;
}

export function dollars(value) {
  return value === null || value === undefined ? "–" : `$${value.toFixed(7)}`;
}

/** Send a request to the inspector. A status other than 2xx throws an Error with the message of the response. */
export async function request(method, path, body) {
  const options = { method, headers: {} };
  if (body !== undefined) {
    options.headers["content-type"] = "application/json";
    options.body = JSON.stringify(body);
  }
  const response = await fetch(`/inspector/${path}`, options);
  const value = response.status === 204 ? null : await response.json();
  if (!response.ok) throw new Error(value.error);
  return value;
}
