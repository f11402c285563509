#!/bin/sh
# What EHRbase wants to find: two roles, two schemas, uuid-ossp, ISO 8601 intervals. Its own migrations do the
# rest, as role ehrbase; it then works as ehrbase_restricted. Run once, on an empty data directory.
set -eu

sql() { psql --no-psqlrc --quiet --set=ON_ERROR_STOP=1 --username="$POSTGRES_USER" --dbname="$1"; }

sql postgres <<'SQL'
\getenv owner_password QUILL_EHRBASE_DB_OWNER_PASSWORD
\getenv password QUILL_EHRBASE_DB_PASSWORD
CREATE ROLE ehrbase LOGIN PASSWORD :'owner_password';
CREATE ROLE ehrbase_restricted LOGIN PASSWORD :'password';
CREATE DATABASE ehrbase ENCODING 'UTF-8' LOCALE 'C' TEMPLATE template0;
REVOKE ALL ON DATABASE ehrbase FROM PUBLIC;
GRANT ALL PRIVILEGES ON DATABASE ehrbase TO ehrbase;
GRANT CONNECT, TEMPORARY ON DATABASE ehrbase TO ehrbase_restricted;
SQL

sql ehrbase <<'SQL'
REVOKE CREATE ON SCHEMA public FROM PUBLIC;
CREATE SCHEMA ehr AUTHORIZATION ehrbase;
GRANT USAGE ON SCHEMA ehr TO ehrbase_restricted;
ALTER DEFAULT PRIVILEGES FOR USER ehrbase IN SCHEMA ehr GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO ehrbase_restricted;
ALTER DEFAULT PRIVILEGES FOR USER ehrbase IN SCHEMA ehr GRANT SELECT ON SEQUENCES TO ehrbase_restricted;
CREATE SCHEMA ext AUTHORIZATION ehrbase;
GRANT USAGE ON SCHEMA ext TO ehrbase_restricted;
CREATE EXTENSION "uuid-ossp" SCHEMA ext;
ALTER DATABASE ehrbase SET search_path TO ext;
ALTER DATABASE ehrbase SET intervalstyle = 'iso_8601';
ALTER FUNCTION jsonb_path_query(jsonb, jsonpath, jsonb, boolean) ROWS 1;
SQL
