// Serves @supabase/lite over an existing PostgreSQL: node lite.mjs, settings from LITE_URL, LITE_PORT, LITE_SECRET.
import { serve } from "@hono/node-server";
import { App } from "@supabase/lite";
import { createPostgresConnection } from "@supabase/lite/postgres";

const { LITE_URL: url, LITE_PORT: port, LITE_SECRET: secret } = process.env;

const app = new App({
  connection: createPostgresConnection({ url, postgresOptions: { max: 8 } }),
  api: { enabled: true, schemas: ["public"], extra_search_path: ["extensions"], max_rows: 1000 },
  auth: { enabled: true, jwt_secret: secret },
  options: {
    server: {
      admin: false,
      disableStudio: true,
      apiKeys: { resolver: async () => ({ type: "publishable", claims: { role: "anon" } }) },
    },
  },
});
await app.init();
const answer = (request, env) => app.fetch(request, { peerAddress: env.incoming.socket.remoteAddress });
serve({ fetch: answer, hostname: "127.0.0.1", port: Number(port) }, () => console.log("ready"));
