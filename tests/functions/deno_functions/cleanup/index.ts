// Called by a schedule, with a secret of its own.
import "https://esm.sh/@supabase/functions-js@2.4.1/src/edge-runtime.d.ts";

interface Report {
  removed: number;
  template: string;
}

export default {
  async fetch(req: Request): Promise<Response> {
    if (req.headers.get("authorization") !== `Bearer ${Deno.env.get("CRON_SECRET")}`) {
      return new Response("Unauthorized", { status: 401 });
    }
    const payload = await req.json();
    const template = await Deno.readTextFile(new URL("./template.txt", import.meta.url));
    const report: Report = { removed: payload.ids.length, template: template.trim() };
    return Response.json(report);
  },
};
