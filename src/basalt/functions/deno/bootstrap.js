// Stands between a function written for Deno and the gateway, in the function's own process: it serves on a private
// Unix socket whatever the function hands to `Deno.serve`, knows which request a line of output belongs to, and keeps
// count of what goes on behind an answer. The Python side is `deno_process.py`.
//
// A call's target is `/NUMBER/NAME…`: the function sees `/NAME…`, and no header is spent on the number.
// `/rest/NUMBER` is answered at once, and its body ends with everything that the call has started;
// `/cancel/NUMBER` aborts the request's signal first.
//
// What is told to the Python side goes to standard output behind a mark that no text contains.

import { AsyncLocalStorage } from "node:async_hooks";

const MARK = "\x1e";
const OUTCOME = "basalt-outcome";
const TARGET = /^[^:]+:\/\/[^/]*\/(\w+)\/?([^/?]*)/;
const NUMBERED = /^http\+unix:(\/\/[^/]*)\/\d+/;
const HANDLER_WAIT_MS = 2000;
const MAX_TRACE_CHARS = 64 * 1024;

const current = new AsyncLocalStorage();
const calls = new Map();
const callOf = new WeakMap();
const encoder = new TextEncoder();
const listen = Deno.serve;
const urlOf = Object.getOwnPropertyDescriptor(Request.prototype, "url").get;
const signalOf = Object.getOwnPropertyDescriptor(Request.prototype, "signal").get;

let socketPath = "";
let served = null; // { handler, onError }
let lastUncaught = null;

/** One request and what it has started. */
class Call {
  work = new Set();
  #controller = null;
  #isAborted = false;

  constructor(number, requestId) {
    this.number = number;
    this.requestId = requestId;
  }

  get signal() {
    this.#controller ??= new AbortController();
    if (this.#isAborted) this.#controller.abort();
    return this.#controller.signal;
  }

  abort() {
    this.#isAborted = true;
    this.#controller?.abort();
  }

  keep(promise) {
    calls.set(this.number, this); // again, when its answer has ended already
    this.work.add(promise);
    const settle = () => {
      this.work.delete(promise);
      if (this.work.size === 0) calls.delete(this.number);
    };
    promise.then(settle, settle);
  }

  async end() {
    while (this.work.size > 0) await Promise.allSettled([...this.work]);
  }
}

class NotSupported extends Error {
  name = "NotSupported";
}

/** Load the function. Ready as soon as it serves: what its module does afterwards may never end. */
export async function boot(path, load) {
  socketPath = path;
  try {
    const module = await load();
    if (served === null && typeof module.default?.fetch === "function") {
      serve((request, info) => module.default.fetch(request, info));
    }
    if (served === null) {
      setTimeout(() => {
        if (served === null) tellBoot(lastUncaught ?? "it neither calls Deno.serve nor exports default { fetch }");
      }, HANDLER_WAIT_MS);
    }
  } catch (error) {
    if (served !== null) console.error("Uncaught", error); // it is in service already
    tellBoot(describe(error));
  }
}

function tell(kind, text) {
  Deno.stdout.writeSync(encoder.encode(`${MARK}${kind} ${text}\n`));
}

function tellBoot(problem) {
  tell("boot", JSON.stringify({ problem, rests: calls.has("0") }));
}

function describe(error) {
  if (!(error instanceof Error)) return String(error);
  const known = error.code === "ERR_MODULE_NOT_FOUND" ? error.message : (error.stack ?? String(error));
  return known.replace(/^(TypeError: )?SyntaxError: /, "SyntaxError: ");
}

// Serving

function serve(...options) {
  const settings = options.find((option) => option !== null && typeof option === "object") ?? {};
  const handler = options.find((option) => typeof option === "function") ?? settings.handler;
  if (typeof handler !== "function") throw new TypeError("Deno.serve was called without a handler");
  const isFirst = served === null;
  served = { handler, onError: settings.onError };
  const addr = { transport: "tcp", hostname: settings.hostname ?? "0.0.0.0", port: settings.port ?? 8000 };
  if (isFirst) {
    listen({ path: socketPath, onListen: () => tellBoot(null), onError: (error) => fail(error) }, respond);
  }
  settings.onListen?.(addr);
  const nothing = () => {};
  return {
    addr,
    finished: new Promise(nothing),
    shutdown: () => Promise.resolve(),
    ref: nothing,
    unref: nothing,
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
}

function respond(request, info) {
  const [, first, second] = TARGET.exec(urlOf.call(request));
  if (first === "rest" || first === "cancel") return rest(calls.get(second), first === "cancel");
  const call = new Call(first, request.headers.get("x-request-id") ?? "");
  callOf.set(request, call);
  const answer = current.run(call, answerTo, request, facts(request, info), call);
  call.keep(answer);
  return answer;
}

async function answerTo(request, info, call) {
  const response = await handle(request, info);
  return call.work.size > 1 ? withOutcome(response, "rests") : response; // one is this answer itself
}

async function handle(request, info) {
  const { handler, onError } = served;
  try {
    const response = await handler(request, info);
    if (!(response instanceof Response)) throw new TypeError("The function's handler returned no Response");
    return response;
  } catch (error) {
    return onError === undefined ? fail(error) : onError(error);
  }
}

function withOutcome(response, outcome) {
  const headers = new Headers(response.headers);
  headers.append(OUTCOME, outcome);
  return new Response(response.body, { status: response.status, statusText: response.statusText, headers });
}

function fail(error) {
  const outcome = error instanceof NotSupported ? "unsupported" : "failed";
  const text = outcome === "failed" ? Deno.inspect(error).slice(0, MAX_TRACE_CHARS) : error.message;
  return new Response(text, { status: 500, headers: { [OUTCOME]: outcome } });
}

/** What `Deno.serve` tells a handler of the connection; the address is the client's, not the gateway's. */
function facts(request, info) {
  return {
    get remoteAddr() {
      const hostname = request.headers.get("x-forwarded-for")?.split(",")[0].trim() || "127.0.0.1";
      return { transport: "tcp", hostname, port: 0 };
    },
    get completed() {
      return info.completed;
    },
  };
}

function rest(call, isCancelled) {
  if (call === undefined) return new Response(null, { status: 204 });
  if (isCancelled) call.abort();
  const body = new ReadableStream({
    async start(controller) {
      controller.enqueue(encoder.encode(".")); // the head goes out with the first byte
      await call.end();
      controller.close();
    },
  });
  return new Response(body);
}

// What the function finds

Object.defineProperty(Deno, "serve", { value: serve, configurable: true, enumerable: true, writable: true });
Object.defineProperty(Deno, "upgradeWebSocket", {
  value: () => {
    throw new NotSupported("A function cannot take WebSocket connections here; Realtime can");
  },
  configurable: true,
  enumerable: true,
  writable: true,
});
// Also of clones. `http+unix:` is no scheme that anybody's code expects.
Object.defineProperty(Request.prototype, "url", {
  get() {
    const url = urlOf.call(this);
    return url.startsWith("http+unix:") ? url.replace(NUMBERED, "http:$1") : url;
  },
  configurable: true,
  enumerable: true,
});
// Deno's own signal is also aborted after every complete answer, and it says so in the log.
Object.defineProperty(Request.prototype, "signal", {
  get() {
    return callOf.get(this)?.signal ?? signalOf.call(this);
  },
  configurable: true,
  enumerable: true,
});

globalThis.EdgeRuntime = {
  waitUntil(promise) {
    const work = Promise.resolve(promise).catch((error) => console.error("Background work failed:", error));
    (current.getStore() ?? calls.get("0") ?? new Call("0", "")).keep(work);
    return promise;
  },
};
globalThis.Supabase = {
  ai: {
    Session: class {
      constructor() {
        throw new NotSupported("Supabase.ai does not run here: call a model over HTTP");
      }
    },
  },
};

// Output: a mark tells whose the lines after it are, whenever that changes.

let writer = "";

for (const [name, method] of Object.entries(console)) {
  if (typeof method !== "function") continue;
  console[name] = (...values) => {
    const id = current.getStore()?.requestId ?? "";
    if (id !== writer) {
      writer = id;
      tell("request", id);
    }
    return method.apply(console, values);
  };
}

// Nothing that nobody waits for ends the process: other calls are in it.
addEventListener("unhandledrejection", (event) => reportUncaught(event, event.reason));
addEventListener("error", (event) => reportUncaught(event, event.error));

function reportUncaught(event, error) {
  event.preventDefault();
  lastUncaught = describe(error);
  console.error("Uncaught", error);
}

// The end of standard input is the end of whoever started us, or its wish.
(async () => {
  for await (const _ of Deno.stdin.readable);
  dispatchEvent(new CustomEvent("beforeunload", { detail: { reason: "shutdown" } }));
  setTimeout(() => Deno.exit(0), 0);
})();
