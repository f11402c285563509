#!/bin/sh
# One database per service, each with an owner for the migrations and a restricted role for the service, and
# one for HAPI FHIR. The image runs this once, on an empty data directory. A test keeps the statements equal
# to those of the embedded stack (quill_embedded.provision).
set -eu

sql() { psql --no-psqlrc --quiet --set=ON_ERROR_STOP=1 --username="$POSTGRES_USER" --dbname="$1"; }

# role NAME VARIABLE: the password is read from the environment by psql, which also quotes it.
role() {
    sql postgres <<SQL
\\getenv password $2
DO \$\$ BEGIN CREATE ROLE $1; EXCEPTION WHEN duplicate_object THEN NULL; END \$\$;
ALTER ROLE $1 WITH LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS PASSWORD :'password';
SQL
}

# database NAME OWNER: opened to nobody but its owner.
database() {
    sql postgres <<SQL
CREATE DATABASE $1 OWNER $2;
SQL
    sql "$1" <<SQL
ALTER DATABASE $1 OWNER TO $2;
REVOKE ALL ON DATABASE $1 FROM PUBLIC;
REVOKE ALL ON SCHEMA public FROM PUBLIC;
SQL
}

sql postgres <<SQL
REVOKE CONNECT, TEMPORARY ON DATABASE postgres FROM PUBLIC;
REVOKE CONNECT, TEMPORARY ON DATABASE template1 FROM PUBLIC;
SQL

for service in auth patients letters messaging orgs; do
    name=quill_$service
    prefix=QUILL_$(printf %s "$service" | tr a-z A-Z)_DB
    role "${name}_owner" "${prefix}_OWNER_PASSWORD"
    role "$name" "${prefix}_PASSWORD"
    sql postgres <<SQL
ALTER ROLE $name SET statement_timeout = '30s';
ALTER ROLE $name SET lock_timeout = '10s';
ALTER ROLE $name SET idle_in_transaction_session_timeout = '60s';
SQL
    database "$name" "${name}_owner"
    sql "$name" <<SQL
REVOKE ALL ON DATABASE $name FROM $name;
GRANT CONNECT ON DATABASE $name TO $name;
GRANT USAGE ON SCHEMA public TO $name;
ALTER DEFAULT PRIVILEGES FOR ROLE ${name}_owner IN SCHEMA public GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO $name;
ALTER DEFAULT PRIVILEGES FOR ROLE ${name}_owner IN SCHEMA public GRANT USAGE ON SEQUENCES TO $name;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO $name;
GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO $name;
SQL
done

role quill_fhir QUILL_FHIR_DB_PASSWORD
database quill_fhir quill_fhir
