// A form with a file; the same bytes back on GET.
import { toHex } from "../_shared/hex.ts";

let last = new Uint8Array();

Deno.serve({
  handler: async (req) => {
    if (req.method === "GET") {
      return new Response(last, { headers: { "content-type": "application/octet-stream" } });
    }
    const form = await req.formData();
    const file = form.get("file") as File;
    last = new Uint8Array(await file.arrayBuffer());
    const copy = await Deno.makeTempFile();
    await Deno.writeFile(copy, last);
    const digest = await crypto.subtle.digest("SHA-256", await Deno.readFile(copy));
    return Response.json({ title: form.get("title"), name: file.name, type: file.type, sha256: toHex(digest) });
  },
});
