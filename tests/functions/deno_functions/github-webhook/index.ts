// Checks a signature with WebCrypto before it looks at anything.
const encoder = new TextEncoder();

async function isSigned(secret: string, body: string, signature: string): Promise<boolean> {
  const key = await crypto.subtle.importKey("raw", encoder.encode(secret), { name: "HMAC", hash: "SHA-256" }, false, [
    "verify",
  ]);
  const given = Uint8Array.from(signature.match(/../g) ?? [], (pair) => parseInt(pair, 16));
  return await crypto.subtle.verify("HMAC", key, given, encoder.encode(body));
}

Deno.serve(async (req) => {
  const body = await req.text();
  const signature = (req.headers.get("x-hub-signature-256") ?? "").replace("sha256=", "");
  if (!(await isSigned(Deno.env.get("GITHUB_SECRET")!, body, signature))) {
    return new Response("bad signature", { status: 401 });
  }
  return Response.json({ event: req.headers.get("x-github-event"), action: JSON.parse(body).action });
});
