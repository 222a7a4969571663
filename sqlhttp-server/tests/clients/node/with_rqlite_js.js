// rqlite-js against one node. The only argument is host:port.
"use strict";

const assert = require("node:assert/strict");
const { text } = require("node:stream/consumers");
const { BackupApiClient, DataApiClient, StatusApiClient } = require("rqlite-js");

const CREATE =
  "CREATE TABLE samples (id INTEGER PRIMARY KEY, name TEXT UNIQUE, amount REAL, data BLOB, flag BOOLEAN, moment DATETIME)";
const INSERT = "INSERT INTO samples (name, amount, data, flag, moment) VALUES (?, ?, ?, ?, ?)";

async function writes(client) {
  assert.equal((await client.execute(CREATE)).hasError(), false);
  const first = ["it's ünïcode <&>", 1.5, [0, 1, 255], true, "2024-02-29 23:59:58"];
  const inserted = await client.execute([
    [INSERT, ...first],
    [INSERT, null, null, null, null, null],
    ["INSERT INTO samples (name, amount) VALUES (:name, :amount)", { name: "named", amount: -2.25 }],
  ]);
  assert.equal(inserted.hasError(), false, inserted.toString());
  assert.deepEqual(inserted.getResults().map((result) => result.getLastInsertId()), [1, 2, 3]);
  const changed = await client.execute("UPDATE samples SET flag = 0 WHERE id >= 2");
  assert.equal(changed.get(0).getRowsAffected(), 2);
}

async function reads(client) {
  const found = await client.query("SELECT * FROM samples ORDER BY id", { timings: "" });
  assert.ok(found.getTime() > 0);
  const nothing = { name: null, amount: null, data: null, moment: null };
  assert.deepEqual(found.toArray(), [
    { id: 1, name: "it's ünïcode <&>", amount: 1.5, data: "AAH/", flag: true, moment: "2024-02-29T23:59:58Z" },
    { id: 2, ...nothing, flag: false },
    { id: 3, ...nothing, name: "named", amount: -2.25, flag: false },
  ]);
  const one = await client.query([["SELECT name FROM samples WHERE id = ?", 3]]);
  assert.equal(one.get(0).get("name"), "named");
  const sign = await client.query("SELECT name FROM samples WHERE name = 'it''s ünïcode <&>'");
  assert.equal(sign.get(0).get("name"), "it's ünïcode <&>");
  for (const level of ["none", "weak", "strong", "linearizable"]) {
    const count = await client.query("SELECT count(*) AS n FROM samples", { level });
    assert.deepEqual(count.toArray(), [{ n: 3 }], level);
  }
  const several = await client.query(["SELECT 1 AS a", "SELECT 2 AS b"]);
  assert.deepEqual(several.toArray(), [{ a: 1 }, { b: 2 }]);
}

async function transactions(client) {
  await client.execute("CREATE TABLE bulk (id INTEGER PRIMARY KEY, name TEXT UNIQUE)");
  const rows = Array.from({ length: 500 }, (_, n) => ["INSERT INTO bulk (name) VALUES (?)", `name-${n}`]);
  const inserted = await client.execute(rows, { transaction: true });
  assert.equal(inserted.hasError(), false);
  assert.equal(inserted.get(499).getLastInsertId(), 500);
  const half = [
    ["INSERT INTO bulk (name) VALUES (?)", "new"],
    ["INSERT INTO bulk (name) VALUES (?)", "name-7"],
  ];
  const count = async () => (await client.query("SELECT count(*) AS n FROM bulk")).get(0).get("n");
  const undone = await client.execute(half, { transaction: true });
  assert.match(undone.getFirstError().message, /UNIQUE constraint failed: bulk\.name/);
  assert.equal(await count(), 500);
  const kept = await client.execute(half);
  assert.equal(kept.hasError(), true);
  assert.equal(await count(), 501);
}

async function errors(client) {
  const message = async (results) => (await results).getFirstError().message;
  assert.match(await message(client.execute([[INSERT, "named", 1, null, 1, null]])), /UNIQUE constraint failed: samples\.name/);
  assert.match(await message(client.execute("INSRT INTO samples")), /near "INSRT": syntax error/);
  assert.match(await message(client.query("SELECT * FROM nowhere")), /no such table: nowhere/);
  await assert.rejects(client.execute([[1]]), /400/);
}

async function queued(client) {
  // The library has no option for the queue, so the request is sent to the path itself.
  const body = [["INSERT INTO bulk (name) VALUES (?)", "queued"]];
  const answer = await client.fetch({ uri: "/db/execute", httpMethod: "POST", query: { queue: "", wait: "" }, body });
  assert.equal(answer.status, 200);
  assert.ok(answer.body.sequence_number > 0);
  const found = await client.query("SELECT count(*) AS n FROM bulk WHERE name = 'queued'");
  assert.deepEqual(found.toArray(), [{ n: 1 }]);
}

async function rest(url) {
  const { status, body } = await new StatusApiClient(url).status();
  assert.equal(status, 200);
  assert.equal(body.store.raft.state, "Leader");
  assert.ok(body.store.leader.addr);
  const backup = new BackupApiClient(url);
  const dump = await text(await backup.backup("sql"));
  assert.match(dump, /CREATE TABLE bulk/);
  const binary = await text(await backup.backup());
  assert.ok(binary.startsWith("SQLite format 3\0"));
  await text(await backup.load("CREATE TABLE loaded (n INTEGER); INSERT INTO loaded VALUES (42);"));
  assert.deepEqual((await new DataApiClient(url).query("SELECT n FROM loaded")).toArray(), [{ n: 42 }]);
}

async function main() {
  const url = `http://${process.argv[2]}`;
  const client = new DataApiClient(url);
  for (const step of [writes, reads, transactions, errors, queued]) {
    await step(client);
  }
  await rest(url);
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
