// A router from npm, through the import map of all functions.
import { Hono } from "hono";

const app = new Hono().basePath("/api");

app.get("/books/:id", (c) => c.json({ id: c.req.param("id"), verbose: c.req.query("verbose") ?? null }));
app.post("/books", async (c) => c.json({ made: (await c.req.json()).title }, 201));
app.onError((error, c) => c.text(error.message, 418));
app.get("/broken", () => {
  throw new Error("handled by the router");
});

Deno.serve(app.fetch);
