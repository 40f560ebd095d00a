// Everything that a function should not do.
const kept: unknown[] = [];
let aborted = 0;

Deno.serve(async (req) => {
  const how = new URL(req.url).searchParams.get("how");
  switch (how) {
    case "throw":
      throw new Error("the password is hunter2");
    case "nothing":
      return undefined as unknown as Response;
    case "exit":
      return Deno.exit(3);
    case "loop":
      for (;;);
    case "wait":
      await new Promise((resolve) => req.signal.addEventListener("abort", resolve));
      aborted += 1;
      return new Response("too late");
    case "deaf":
      return await new Promise<Response>(() => setInterval(() => {}, 1000));
    case "reject":
      Promise.reject(new Error("nobody waits for this"));
      setTimeout(() => {
        throw new Error("nor for this");
      }, 0);
      await new Promise((resolve) => setTimeout(resolve, 20));
      return new Response("still here");
    case "heap":
      for (;;) kept.push({ at: Math.random() });
    case "buffers":
      for (let i = 0; i < 64; i++) kept.push(new Uint8Array(64 * 1024 * 1024).fill(1));
      return new Response("kept all");
    case "break":
      return new Response(
        new ReadableStream({
          pull(controller) {
            controller.enqueue(new TextEncoder().encode("a part"));
            throw new Error("broken off");
          },
        }),
      );
    case "socket":
      return Deno.upgradeWebSocket(req).response;
    case "read":
      return new Response(await Deno.readTextFile("/etc/passwd"));
    case "write":
      return new Response(String(await Deno.writeTextFile("written.txt", "x")));
    case "run":
      return new Response(String(await new Deno.Command("id").output()));
    default:
      return Response.json({ aborted, pid: Deno.pid });
  }
});
