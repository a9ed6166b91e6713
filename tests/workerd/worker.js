// Calls env.AI.run with what it is sent, and tells exactly what that resolved to or threw.
export default {
  async fetch(request, env) {
    const { model, inputs, options } = await request.json();
    let result;
    try {
      result = await env.AI.run(model, inputs, options);
    } catch (error) {
      const { name, message } = error;
      return told("error", JSON.stringify({ name, message, text: String(error), own: Object.keys(error) }));
    }
    if (result instanceof ReadableStream) return told("ReadableStream", result);
    if (result instanceof Response) {
      const head = { "x-status": String(result.status), "x-headers": JSON.stringify([...result.headers]) };
      return told("Response", result.body, head);
    }
    return told(Object.prototype.toString.call(result), JSON.stringify(result) ?? "undefined");
  },
};

function told(kind, body, head = {}) {
  return new Response(body, { headers: { "content-type": "application/octet-stream", "x-kind": kind, ...head } });
}
