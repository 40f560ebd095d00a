// Answers at once and works on.
declare const EdgeRuntime: { waitUntil(promise: Promise<unknown>): void };

const finished: string[] = [];

async function makeReport(id: string, ms: number) {
  await new Promise((resolve) => setTimeout(resolve, ms));
  if (id === "bad") throw new Error("the report has no rows");
  finished.push(id);
  console.log(`report ${id} made`);
}

addEventListener("beforeunload", (event) => {
  console.log("shutting down because of", (event as CustomEvent).detail?.reason);
});

Deno.serve(async (req) => {
  if (req.method === "GET") return Response.json(finished);
  const { id, ms } = await req.json();
  EdgeRuntime.waitUntil(makeReport(id, ms));
  return new Response(null, { status: 202 });
});
