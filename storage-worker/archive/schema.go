package archive

import _ "embed"

// SchemaSQL creates the tables in SQLite. Changing it takes a new schema
// version in package sqlite.
//
//go:embed schema.sql
var SchemaSQL string

// SchemaCQL creates the tables in Cassandra or Scylla, in the keyspace of the
// session.
//
//go:embed schema.cql
var SchemaCQL string
