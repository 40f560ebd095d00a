"""What PostgreSQL itself does for backups: copies of the cluster, its log, recovery to a moment, dumps, new majors."""
