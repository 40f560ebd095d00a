// The query builder of unmodified supabase-js over every method of its documentation, one subject at a time:
// `node query_builder.mjs filters` runs the steps of query_builder/filters.mjs.

await import(`./query_builder/${process.argv[2]}.mjs`)
