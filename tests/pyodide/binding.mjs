// A JavaScript object with the interface of a Workers AI binding (Cloudflare's client in workerd): run(model, input,
// options) resolves to a plain object or a ReadableStream of bytes, or rejects with an Error whose text has a code.

export class Ai {
  calls = []; // the arguments of each call of run, as JSON
  replies = []; // the replies, in order; the last one is repeated
  cancelled = 0; // streams that were cancelled before their end
  waiting = 0; // calls without a reply so far

  async run(model, inputs, options = {}) {
    for (const argument of [inputs, options]) checkPlain(argument, "$");
    this.calls.push(JSON.stringify({ model, inputs, options }));
    const reply = this.replies.length > 1 ? this.replies.shift() : this.replies[0];
    this.waiting += 1;
    await new Promise((resolve) => setTimeout(resolve, reply.delay ?? 0));
    this.waiting -= 1;
    if (reply.error !== undefined) {
      const error = new Error(reply.error);
      error.name = reply.name ?? "InferenceUpstreamError";
      throw error;
    }
    if (reply.status !== undefined) return new Response(reply.body, { status: reply.status, headers: reply.headers });
    return reply.stream === undefined ? reply.result : this.#stream(reply);
  }

  // The replies are JSON text, so that the caller in Python does not have to convert them.
  setReplies(json) {
    this.replies = JSON.parse(json);
    this.calls = [];
  }

  #stream({ stream, breaks, endless }) {
    const chunks = stream.map((text) => new TextEncoder().encode(text));
    return new ReadableStream({
      pull: (controller) => {
        if (chunks.length) controller.enqueue(chunks.shift());
        else if (breaks) controller.error(new Error(breaks));
        else if (!endless) controller.close();
        else return new Promise(() => {});
      },
      cancel: () => {
        this.cancelled += 1;
      },
    });
  }
}

// JSON.stringify silently skips values that it cannot write, such as a Map or Pyodide's proxy of a dict.
function checkPlain(value, path) {
  if (value === null || ["string", "boolean"].includes(typeof value)) return;
  if (typeof value === "number" && Number.isFinite(value)) return;
  const prototype = typeof value === "object" ? Object.getPrototypeOf(value) : undefined;
  if (prototype !== Object.prototype && prototype !== Array.prototype) {
    throw new TypeError(`${path} is not a plain value: ${Object.prototype.toString.call(value)}`);
  }
  for (const [key, item] of Object.entries(value)) checkPlain(item, `${path}.${key}`);
}
