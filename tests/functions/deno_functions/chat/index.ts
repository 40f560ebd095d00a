// Passes a model's stream on.
import "jsr:@supabase/functions-js/edge-runtime.d.ts";
import { corsHeaders } from "shared/cors.ts";

Deno.serve({ port: 8000 }, async (req: Request): Promise<Response> => {
  const { prompt } = await req.json();
  const upstream = await fetch(`${Deno.env.get("OPENAI_BASE_URL")}/v1/chat/completions`, {
    method: "POST",
    headers: {
      Authorization: `Bearer ${Deno.env.get("OPENAI_API_KEY")}`,
      "Content-Type": "application/json",
    },
    body: JSON.stringify({ model: "gpt-4o-mini", stream: true, messages: [{ role: "user", content: prompt }] }),
    signal: req.signal,
  });
  return new Response(upstream.body, {
    headers: { ...corsHeaders, "Content-Type": "text/event-stream", "Cache-Control": "no-cache" },
  });
});
