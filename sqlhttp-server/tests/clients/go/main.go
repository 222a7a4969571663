// gorqlite against one node. The only argument is host:port.
package main

import (
	"database/sql"
	"errors"
	"fmt"
	"os"
	"reflect"
	"strings"
	"time"

	"github.com/rqlite/gorqlite"
	_ "github.com/rqlite/gorqlite/stdlib"
)

const create = `CREATE TABLE samples (id INTEGER PRIMARY KEY, name TEXT UNIQUE, amount REAL, data BLOB, flag BOOLEAN,
	day DATE, moment DATETIME)`

const insert = "INSERT INTO samples (name, amount, data, flag, day, moment) VALUES (?, ?, ?, ?, ?, ?)"

var moment = time.Date(2024, 2, 29, 23, 59, 58, 0, time.UTC)

func fail(format string, arguments ...any) {
	fmt.Fprintf(os.Stderr, format+"\n", arguments...)
	os.Exit(1)
}

func must(what string, err error) {
	if err != nil {
		fail("%s: %v", what, err)
	}
}

func equal(what string, found, expected any) {
	if !reflect.DeepEqual(found, expected) {
		fail("%s: found %#v, expected %#v", what, found, expected)
	}
}

func refused(what string, err error, text string) {
	if err == nil || !strings.Contains(err.Error(), text) {
		fail("%s: the error is %v, without %q", what, err, text)
	}
}

func statement(query string, arguments ...any) gorqlite.ParameterizedStatement {
	return gorqlite.ParameterizedStatement{Query: query, Arguments: arguments}
}

func count(conn *gorqlite.Connection, table string) int64 {
	result, err := conn.QueryOne("SELECT count(*) FROM " + table)
	must("count "+table, err)
	var n int64
	if !result.Next() {
		fail("count %s: no row", table)
	}
	must("count "+table, result.Scan(&n))
	return n
}

// The library asks /status for the leader and /nodes for its address.
func discovery(conn *gorqlite.Connection, node string) {
	leader, err := conn.Leader()
	must("leader", err)
	equal("leader", leader, node)
	peers, err := conn.Peers()
	must("peers", err)
	equal("peers", peers, []string{node})
}

func writes(conn *gorqlite.Connection) {
	result, err := conn.WriteOne(create)
	must("create", err)
	equal("create", result.RowsAffected, int64(0))
	first := statement(insert, "it's ünïcode <&>", 1.5, []byte{0, 1, 255}, true, "2024-02-29", "2024-02-29 23:59:58")
	result, err = conn.WriteOneParameterized(first)
	must("insert", err)
	equal("insert", []int64{result.LastInsertID, result.RowsAffected}, []int64{1, 1})
	_, err = conn.WriteOneParameterized(statement(insert, nil, nil, nil, nil, nil, nil))
	must("insert NULLs", err)
	named := statement("INSERT INTO samples (name, amount) VALUES (:name, :amount)", map[string]any{"name": "named", "amount": -2.25})
	result, err = conn.WriteOneParameterized(named)
	must("insert with names", err)
	equal("third key", result.LastInsertID, int64(3))
	result, err = conn.WriteOne("UPDATE samples SET flag = 0 WHERE id >= 2")
	must("update", err)
	equal("changed rows", result.RowsAffected, int64(2))
}

func reads(conn *gorqlite.Connection) {
	result, err := conn.QueryOneParameterized(statement("SELECT id, name, amount, data, day, moment FROM samples WHERE id < ? ORDER BY id", 3))
	must("query", err)
	equal("columns", result.Columns(), []string{"id", "name", "amount", "data", "day", "moment"})
	equal("types", result.Types(), []string{"integer", "text", "real", "blob", "date", "datetime"})
	equal("rows", result.NumRows(), int64(2))
	var (
		id        int64
		name      gorqlite.NullString
		amount    gorqlite.NullFloat64
		data      gorqlite.NullString
		day, when gorqlite.NullTime
	)
	result.Next()
	must("scan", result.Scan(&id, &name, &amount, &data, &day, &when))
	equal("id", id, int64(1))
	equal("name", name, gorqlite.NullString{String: "it's ünïcode <&>", Valid: true})
	equal("amount", amount, gorqlite.NullFloat64{Float64: 1.5, Valid: true})
	equal("data", data, gorqlite.NullString{String: "AAH/", Valid: true})
	equal("day", day.Time.Equal(moment.Truncate(24*time.Hour)), true)
	equal("moment", when.Time.Equal(moment), true)
	result.Next()
	row, err := result.Map()
	must("map", err)
	expected := map[string]any{"id": 2.0, "name": nil, "amount": nil, "data": nil, "day": nil, "moment": nil}
	equal("NULLs", row, expected)
	equal("the end", result.Next(), false)

	// Scan refuses JSON's booleans, which rqlite sends as well.
	flags, err := conn.QueryOne("SELECT flag FROM samples ORDER BY id LIMIT 2")
	must("flags", err)
	for _, expected := range []any{true, false} {
		flags.Next()
		found, err := flags.Slice()
		must("flags", err)
		equal("flag", found, []any{expected})
	}

	results, err := conn.Query([]string{"SELECT 1 AS a", "SELECT name FROM samples WHERE id = 99"})
	must("two queries", err)
	equal("two results", []int64{results[0].NumRows(), results[1].NumRows()}, []int64{1, 0})
}

func levels(conn *gorqlite.Connection) {
	for _, name := range []string{"none", "weak", "linearizable", "strong"} {
		level, err := gorqlite.ParseConsistencyLevel(name)
		must(name, err)
		must(name, conn.SetConsistencyLevel(level))
		found, err := conn.ConsistencyLevel()
		must(name, err)
		equal("level", found, name)
		equal("rows at level "+name, count(conn, "samples"), int64(3))
	}
	must("weak", conn.SetConsistencyLevel(gorqlite.ConsistencyLevelWeak))
}

func transactions(conn *gorqlite.Connection) {
	_, err := conn.WriteOne("CREATE TABLE bulk (id INTEGER PRIMARY KEY, name TEXT UNIQUE)")
	must("create", err)
	var statements []gorqlite.ParameterizedStatement
	for n := 0; n < 500; n++ {
		statements = append(statements, statement("INSERT INTO bulk (name) VALUES (?)", fmt.Sprintf("name-%d", n)))
	}
	results, err := conn.WriteParameterized(statements)
	must("bulk", err)
	equal("bulk", []int64{int64(len(results)), results[499].LastInsertID}, []int64{500, 500})

	half := []string{"INSERT INTO bulk (name) VALUES ('new')", "INSERT INTO bulk (name) VALUES ('name-7')"}
	_, err = conn.Write(half)
	refused("a transaction", err, "UNIQUE constraint failed: bulk.name")
	equal("after the rollback", count(conn, "bulk"), int64(500))
	must("no transactions", conn.SetExecutionWithTransaction(false))
	_, err = conn.Write(half)
	refused("no transaction", err, "UNIQUE constraint failed: bulk.name")
	equal("without a transaction", count(conn, "bulk"), int64(501))
	must("transactions", conn.SetExecutionWithTransaction(true))
}

func unified(conn *gorqlite.Connection) {
	results, err := conn.RequestParameterized([]gorqlite.ParameterizedStatement{
		statement("INSERT INTO bulk (name) VALUES (?)", "unified"),
		statement("SELECT name FROM bulk WHERE name = ?", "unified"),
		statement("DELETE FROM bulk WHERE name = ? RETURNING name", "unified"),
	})
	must("request", err)
	equal("results", len(results), 3)
	equal("a write", results[0].Write != nil && results[0].Write.RowsAffected == 1, true)
	equal("a read", results[1].Query != nil && results[1].Query.NumRows() == 1, true)
	equal("returning", results[2].Query != nil && results[2].Query.NumRows() == 1, true)
}

func failures(conn *gorqlite.Connection) {
	_, err := conn.WriteOneParameterized(statement(insert, "named", nil, nil, nil, nil, nil))
	refused("constraint", err, "UNIQUE constraint failed: samples.name")
	_, err = conn.WriteOne("INSRT INTO samples")
	refused("syntax", err, `near "INSRT": syntax error`)
	result, err := conn.QueryOne("SELECT * FROM nowhere")
	refused("no table", err, "no such table: nowhere")
	equal("the result's error", result.Err != nil, true)
	_, err = conn.Request([]string{"SELECT * FROM nowhere"})
	refused("no table in a request", err, "no such table: nowhere")
	equal("still there", count(conn, "samples"), int64(3))
}

func queued(conn *gorqlite.Connection) {
	before := count(conn, "bulk")
	first, err := conn.QueueOneParameterized(statement("INSERT INTO bulk (name) VALUES (?)", "queued"))
	must("queue", err)
	second, err := conn.Queue([]string{"INSERT INTO bulk (name) VALUES ('q1')", "INSERT INTO bulk (name) VALUES ('q2')"})
	must("queue", err)
	if first <= 0 || second <= first {
		fail("sequence numbers %d, %d do not grow", first, second)
	}
	deadline := time.Now().Add(20 * time.Second)
	for count(conn, "bulk") != before+3 {
		if time.Now().After(deadline) {
			fail("queued rows do not appear")
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// The library's driver for database/sql.
func driver(node string) {
	db, err := sql.Open("rqlite", "http://"+node+"?level=strong")
	must("open", err)
	result, err := db.Exec("INSERT INTO bulk (name) VALUES (?)", "by database/sql")
	must("exec", err)
	changed, err := result.RowsAffected()
	must("exec", err)
	equal("exec", changed, int64(1))
	var name string
	must("row", db.QueryRow("SELECT name FROM bulk WHERE name = ?", "by database/sql").Scan(&name))
	equal("row", name, "by database/sql")
	must("close", db.Close())
}

func main() {
	node := os.Args[1]
	conn, err := gorqlite.Open("http://" + node + "?level=weak&timeout=20")
	must("open", err)
	discovery(conn, node)
	writes(conn)
	reads(conn)
	levels(conn)
	transactions(conn)
	unified(conn)
	failures(conn)
	queued(conn)
	driver(node)
	conn.Close()
	_, err = conn.QueryOne("SELECT 1")
	equal("closed", errors.Is(err, gorqlite.ErrClosed), true)
}
