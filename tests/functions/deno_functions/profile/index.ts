// The usual one: the caller's own rows by the caller's own token.
import "@supabase/functions-js/edge-runtime.d.ts";
import { createClient } from "@supabase/supabase-js";
import { corsHeaders } from "../_shared/cors.ts";

Deno.serve(async (req) => {
  if (req.method === "OPTIONS") return new Response("ok", { headers: corsHeaders });

  const supabase = createClient(Deno.env.get("SUPABASE_URL") ?? "", Deno.env.get("SUPABASE_ANON_KEY") ?? "", {
    global: { headers: { Authorization: req.headers.get("Authorization")! } },
  });
  const { data: { user } } = await supabase.auth.getUser();
  const { data: notes, error } = await supabase.from("notes").select("body");
  if (error) throw error;

  const admin = createClient(Deno.env.get("SUPABASE_URL") ?? "", Deno.env.get("SUPABASE_SERVICE_ROLE_KEY") ?? "");
  const { count } = await admin.from("notes").select("*", { count: "exact", head: true });

  return new Response(JSON.stringify({ email: user?.email ?? null, notes, count }), {
    headers: { ...corsHeaders, "Content-Type": "application/json" },
  });
});
