// Short links, with two cookies.
const links = { docs: "https://example.com/docs" };

Deno.serve((req, info) => {
  const url = new URL(req.url);
  const name = url.pathname.split("/")[2];
  if (!(name in links)) {
    return Response.json({
      url: req.url, path: url.pathname, tags: url.searchParams.getAll("tag"), clone: req.clone().url,
      ip: info.remoteAddr.hostname, headers: Object.fromEntries(req.headers),
      env: Object.keys(Deno.env.toObject()).sort(),
    }, { status: 404 });
  }
  const answer = new Headers({ location: links[name] });
  answer.append("set-cookie", "seen=1; Path=/");
  answer.append("set-cookie", "from=short; HttpOnly");
  return new Response(null, { status: 302, headers: answer });
});
