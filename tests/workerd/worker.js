// Call env.AI.run with the arguments in the request, and respond with exactly what it returned or threw.
export default {
  async fetch(request, env) {
    const { model, inputs, options } = await request.json();
    let result;
    try {
      result = await env.AI.run(model, inputs, options);
    } catch (error) {
      const { name, message } = error;
      return makeResponse("error", JSON.stringify({ name, message, text: String(error), own: Object.keys(error) }));
    }
    if (result instanceof ReadableStream) return makeResponse("ReadableStream", result);
    if (result instanceof Response) {
      const head = { "x-status": String(result.status), "x-headers": JSON.stringify([...result.headers]) };
      return makeResponse("Response", result.body, head);
    }
    return makeResponse(Object.prototype.toString.call(result), JSON.stringify(result) ?? "undefined");
  },
};

function makeResponse(kind, body, head = {}) {
  return new Response(body, { headers: { "content-type": "application/octet-stream", "x-kind": kind, ...head } });
}
