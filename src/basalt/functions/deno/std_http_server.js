// Stands for `https://deno.land/std@…/http/server.ts` of any version: old ones use what Deno 2 no longer has.

const forever = (server) => server.finished;

export function serve(handler, options = {}) {
  return forever(Deno.serve(options, (request, info) => handler(request, info)));
}

export function serveTls(handler, options = {}) {
  return serve(handler, options);
}

export function serveListener(_listener, handler, options = {}) {
  return serve(handler, options);
}

export function listenAndServe(address, handler, options = {}) {
  const settings = typeof address === "object" ? { ...address, ...options } : options;
  return typeof address === "function" ? serve(address, settings) : serve(handler, settings);
}

export class Server {
  #settings;

  constructor(settings) {
    this.#settings = settings;
  }

  listenAndServe() {
    return serve(this.#settings.handler, this.#settings);
  }

  serve() {
    return this.listenAndServe();
  }

  close() {}

  get closed() {
    return false;
  }

  get addrs() {
    return [];
  }
}

