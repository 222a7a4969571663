//! The Rust client of `sqlhttp-rqlite`, with real servers.

#![allow(clippy::unwrap_used, clippy::panic)]

mod common;
/// The example of the crate. Its `main` is not called.
#[allow(dead_code)]
#[path = "../../sqlhttp-protocol/rqlite/examples/client.rs"]
mod example;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use common::{Cluster, Node, Server, temp_dir, write};
use rustls::{ClientConfig, RootCertStore};
use sqlhttp_core::{
    Atomicity, Batch, Database, Error, Executor, Failure, Options, Step, StepOutcome, Value, named_params, params,
};
use sqlhttp_rqlite::Endpoint;
use sqlhttp_rqlite::client::{
    BodySource, Client, ClientError, Host, HttpRequest, HyperTransport, Method, Part, ResponseBody as _,
    StatementResult, Transport,
};

fn client(hosts: &[String]) -> Client<HyperTransport> {
    let mut hosts = hosts.iter().map(|host| host.parse::<Host>().unwrap());
    Client::new(HyperTransport::with_system_roots().unwrap(), hosts.next().unwrap(), hosts)
}

/// Creates a table, inserts a row and reads it.
async fn write_and_read<T: Transport>(client: &Client<T>) {
    let steps = vec![
        Step::execute("CREATE TABLE t(a INTEGER, b TEXT, c BLOB)", ()),
        Step::execute(
            "INSERT INTO t VALUES(?, ?, ?)",
            [Value::Integer(7), Value::Text("seven".into()), Value::Blob(vec![1, 2])],
        ),
    ];
    let batch = Batch { steps, atomicity: Atomicity::Each, ..Batch::default() };
    let written = client.run(Endpoint::Execute, &batch, |_| {}).await.unwrap();
    assert!(matches!(written.results[..], [StatementResult::Changed(_), StatementResult::Changed(changes)]
        if changes.rows_affected == 1 && changes.last_insert_id == Some(1)));
    let batch = Batch::one(Step::query("SELECT a, b, c FROM t", ()));
    let read = client.run(Endpoint::Query, &batch, |params| params.blob_array = true).await.unwrap();
    let [StatementResult::Rows(rows)] = &read.results[..] else { panic!("{:?}", read.results) };
    assert_eq!(rows.columns, ["a", "b", "c"]);
    assert_eq!(rows.rows, [[Value::Integer(7), Value::Text("seven".into()), Value::Blob(vec![1, 2])]]);
}

#[tokio::test]
async fn a_client_writes_and_reads_on_both_servers() {
    let node = Server::node(&[]);
    write_and_read(&client(&[node.addr().to_string()])).await;
    let standalone = Server::start(["--mem-db", "test"]);
    write_and_read(&client(&[standalone.addr().to_string()]).with_prefix("test")).await;
}

fn ws4sqlite_client(hosts: &[String], database: &str) -> sqlhttp_ws4sqlite::client::Client<HyperTransport> {
    let mut hosts = hosts.iter().map(|host| host.parse::<Host>().unwrap());
    let transport = HyperTransport::with_system_roots().unwrap();
    sqlhttp_ws4sqlite::client::Client::new(transport, hosts.next().unwrap(), hosts, database)
}

/// A program that runs on every kind of database, without BLOBs and `last_insert_id`, which ws4sqlite's protocol lacks.
async fn stock(db: &impl Executor) -> Result<Vec<(i64, String, f64)>, Error> {
    let create = "CREATE TABLE stock(id INTEGER PRIMARY KEY, name TEXT UNIQUE NOT NULL, price REAL, since DATE)";
    db.execute(create, ()).await?;
    let insert = "INSERT INTO stock(name, price) VALUES (?, ?)";
    assert_eq!(db.execute(insert, params!["apple", 0.5]).await?.rows, 1);
    let id: i64 = db.query_one("INSERT INTO stock(name, price) VALUES ('pear', 2.0) RETURNING id", ()).await?;
    assert_eq!(id, 2);
    let counted = db.batch(vec![Step::execute(insert, ("fig", 1)), Step::query("SELECT count(*) FROM stock", ())]);
    let counted = counted.await?.pop().map(|counted| counted.into_rows()).unwrap()?;
    assert_eq!(counted.read_one::<u8>()?, 3);
    let kiwi = || Step::execute(insert, ("kiwi", 1));
    let error = db.batch(vec![Step::execute("DELETE FROM stock", ()), kiwi(), kiwi()]).await.unwrap_err();
    assert!(error.is_unique() && matches!(error, Error::Failed { step: Some(2), .. }), "{error:?}");
    assert_eq!(error.to_string(), "step 3: UNIQUE constraint failed: stock.name");
    let price = "SELECT price FROM stock WHERE name = :name";
    assert_eq!(db.query_opt::<f64>(price, [("name", "kiwi")]).await?, None);
    assert_eq!(db.query_one::<f64>(price, named_params! { "name": "pear" }).await?, 2.0);
    let missing = db.query_all::<i64>("SELECT nope FROM stock", ()).await.unwrap_err();
    assert_eq!(missing.to_string(), "no such column: nope");
    let many = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 50000) SELECT n FROM c";
    let (mut rows, mut sum) = (db.query_stream::<i64>(many, ()).await?, 0);
    while let Some(row) = rows.next().await {
        sum += row?;
    }
    assert_eq!(sum, 50_000 * 50_001 / 2);
    db.query_all("SELECT id, name, price FROM stock ORDER BY id", ()).await
}

#[tokio::test]
async fn a_program_runs_over_both_protocols_on_both_servers() {
    let embedded = stock(&Database::open(":memory:", Options::default()).unwrap()).await.unwrap();
    let all = [(1, "apple", 0.5), (2, "pear", 2.0), (3, "fig", 1.0)];
    assert_eq!(embedded, all.map(|(id, name, price)| (id, name.to_owned(), price)));
    let unused = format!("127.0.0.1:{}", common::cluster::free_port());
    for over_ws4sqlite in [true, false] {
        let (node, standalone) = (Server::node(&[]), Server::start(["--mem-db", "test"]));
        // The first host cannot be reached.
        let hosts = |server: &Server| [unused.clone(), server.addr().to_string()];
        let (clustered, served) = if over_ws4sqlite {
            let cluster = ws4sqlite_client(&hosts(&node), "main");
            (stock(&cluster).await, stock(&ws4sqlite_client(&hosts(&standalone), "test")).await)
        } else {
            (stock(&client(&hosts(&node))).await, stock(&client(&hosts(&standalone)).with_prefix("test")).await)
        };
        assert_eq!(clustered.unwrap(), embedded, "over ws4sqlite's protocol: {over_ws4sqlite}");
        assert_eq!(served.unwrap(), embedded, "over ws4sqlite's protocol: {over_ws4sqlite}");
    }
}

#[tokio::test]
async fn the_example_runs_on_each_kind_of_database() {
    let (node, standalone) = (Server::node(&[]), Server::start(["--mem-db", "test"]));
    example::users(&Database::open(":memory:", Options::default()).unwrap()).await.unwrap();
    example::users(&client(&[node.addr().to_string()])).await.unwrap();
    example::users(&ws4sqlite_client(&[standalone.addr().to_string()], "test")).await.unwrap();
}

#[tokio::test]
async fn a_client_of_ws4sqlite_reports_what_the_protocol_cannot_express_and_what_a_server_refuses() {
    use sqlhttp_ws4sqlite::client::AuthMode;
    let dir = temp_dir();
    let password = "auth:\n  mode: HTTP\n  byCredentials:\n    - user: ada\n      password: secret\n";
    write(dir.path(), "test.yaml", password);
    let server = Server::start(["--db", &dir.path().join("test.db").to_string_lossy()]);
    let hosts = [server.addr().to_string()];
    let stranger = ws4sqlite_client(&hosts, "test");
    assert!(matches!(stranger.execute("SELECT 1", ()).await, Err(Error::Unauthorized)));
    let client = ws4sqlite_client(&hosts, "test").with_credentials(AuthMode::Http, "ada", "secret");
    client.execute("CREATE TABLE t(a)", ()).await.unwrap();
    let steps = vec![Step::execute("INSERT INTO x VALUES (1)", ()).or_continue(), Step::execute("DELETE FROM t", ())];
    let results = client.batch(steps).await.unwrap();
    assert!(matches!(results[..], [StepOutcome::Failed(_), StepOutcome::Changed(_)]), "{results:?}");
    let blob = client.execute("INSERT INTO t VALUES (?)", [vec![0_u8]]).await;
    assert!(matches!(blob, Err(Error::Unsupported(_))), "{blob:?}");
    let guarded = client.batch(vec![Step::execute("DELETE FROM t", ()).expect_changed(1)]).await;
    assert!(matches!(guarded, Err(Error::Unsupported(_))), "{guarded:?}");
    let missing = ws4sqlite_client(&hosts, "missing").query_one::<i64>("SELECT 1", ()).await.unwrap_err();
    assert!(matches!(missing, Error::Unsupported(_)) && missing.to_string().contains("404"), "{missing:?}");
    let endless = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT sum(n) FROM c";
    let limited = sqlhttp_core::CallOptions::new()
        .deadline(sqlhttp_core::Deadline::after(std::time::Instant::now(), std::time::Duration::from_millis(200)));
    let late = client.with(limited).query_one::<i64>(endless, ()).await.unwrap_err();
    assert!(late.is_unknown_outcome(), "{late:?}");
    assert_eq!(client.query_one::<i64>("SELECT count(*) FROM t", ()).await.unwrap(), 0);
}

/// A program that runs on every kind of database, and uses what ws4sqlite's protocol lacks.
async fn orders(db: &impl Executor) -> Result<Vec<(i64, String, f64, Option<Vec<u8>>)>, Error> {
    let create = "CREATE TABLE orders(id INTEGER PRIMARY KEY, name TEXT UNIQUE NOT NULL, price REAL, picture BLOB)";
    db.execute(create, ()).await?;
    let insert = "INSERT INTO orders(name, price, picture) VALUES (?, ?, ?)";
    let changed = db.execute(insert, params!["apple", 0.5, vec![0_u8, 255]]).await?;
    assert_eq!((changed.rows, changed.last_insert_id), (1, Some(1)));
    let steps = vec![
        Step::execute(insert, params!["pear", 2.0, None::<Vec<u8>>]),
        Step::query("SELECT count(*) FROM orders", ()),
    ];
    let counted = db.batch(steps).await?.pop().map(|counted| counted.into_rows()).unwrap()?;
    assert_eq!(counted.read_one::<u8>()?, 2);
    let twice = vec![
        Step::execute("DELETE FROM orders", ()),
        Step::execute(insert, params!["fig", 1.5, None::<Vec<u8>>]),
        Step::execute(insert, params!["fig", 1.5, None::<Vec<u8>>]),
    ];
    let error = db.batch(twice).await.unwrap_err();
    assert!(error.is_unique() && matches!(error, Error::Failed { step: Some(2), .. }), "{error:?}");
    assert_eq!(error.to_string(), "step 3: UNIQUE constraint failed: orders.name");
    assert_eq!(db.query_opt::<i64>("SELECT id FROM orders WHERE name = ?", ["fig"]).await?, None);
    let id: i64 = db.query_one("SELECT id FROM orders WHERE name = :name", named_params! { ":name": "pear" }).await?;
    assert_eq!(id, 2);
    let renamed = db.query_one::<String>("UPDATE orders SET price = 1 WHERE id = 2 RETURNING name", ()).await?;
    assert_eq!(renamed, "pear");
    let error = db.query_all::<i64>("SELECT nope FROM orders", ()).await.unwrap_err();
    assert_eq!(error.to_string(), "no such column: nope");
    let mut rows = db.query_stream("SELECT * FROM orders ORDER BY id", ()).await?;
    let mut all = Vec::new();
    while let Some(row) = rows.next().await {
        all.push(row?);
    }
    let many =
        "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 50000) SELECT n, 'x' || n FROM c";
    let mut rows = db.query_stream::<(i64, String)>(many, ()).await?;
    let mut sum = 0;
    while let Some(row) = rows.next().await {
        sum += row?.0;
    }
    assert_eq!(sum, 50_000 * 50_001 / 2);
    Ok(all)
}

#[tokio::test]
async fn a_program_runs_on_an_embedded_database_and_on_both_servers() {
    let (node, standalone) = (Server::node(&[]), Server::start(["--mem-db", "test"]));
    let embedded = orders(&Database::open(":memory:", Options::default()).unwrap()).await.unwrap();
    let clustered = orders(&client(&[node.addr().to_string()])).await.unwrap();
    let served = orders(&client(&[standalone.addr().to_string()]).with_prefix("test")).await.unwrap();
    let pear = (2, "pear".to_owned(), 1.0, None);
    assert_eq!(embedded, [(1, "apple".to_owned(), 0.5, Some(vec![0, 255])), pear]);
    assert_eq!(clustered, embedded);
    assert_eq!(served, embedded);
}

#[tokio::test]
async fn a_client_reports_what_the_protocol_cannot_express_and_what_a_server_refuses() {
    let node = Server::node(&[]);
    let client = client(&[node.addr().to_string()]);
    client.execute("CREATE TABLE t(a)", ()).await.unwrap();
    let guarded = vec![Step::execute("DELETE FROM t", ()).expect_changed(1)];
    assert!(matches!(client.batch(guarded).await, Err(Error::Unsupported(_))));
    let text = client.execute("INSERT INTO t VALUES (?)", ["x'00'"]).await;
    assert!(matches!(text, Err(Error::Unsupported(_))), "{text:?}");
    let error = client.execute("INSERT INTO t VALUES (?)", [u64::MAX]).await.unwrap_err();
    assert!(matches!(error.failure(), Some(Failure::BadParameter { .. })), "{error:?}");
    let sum = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT sum(n) FROM c";
    let limited = sqlhttp_core::CallOptions::new()
        .deadline(sqlhttp_core::Deadline::after(std::time::Instant::now(), std::time::Duration::from_millis(200)));
    let error = client.with(limited).query_one::<i64>(sum, ()).await.unwrap_err();
    assert!(error.is_timeout(), "{error:?}");
    drop(node);
    let error = client.query_one::<i64>("SELECT 1", ()).await.unwrap_err();
    assert!(matches!(error, Error::Unavailable(_) | Error::ConnectionLost(_)), "{error:?}");
}

#[tokio::test]
async fn a_client_continues_when_its_node_is_killed_and_follows_redirects() {
    let mut cluster = Cluster::start(3, &[]);
    let (leader, follower) = (cluster.leader(), cluster.follower());
    let hosts = [follower, leader].map(|index| cluster.server(index).addr().to_string());
    let client = client(&hosts);
    let batch = Batch::one(Step::execute("CREATE TABLE IF NOT EXISTS t(a)", ()));
    // The follower redirects the client to the leader.
    client.run(Endpoint::Execute, &batch, |params| params.redirect = true).await.unwrap();
    assert_eq!(client.host().to_string(), format!("http://{}", hosts[0]));
    cluster.kill(follower);
    // The pooled connection is closed. The client may notice that only after it has sent a request.
    let lost = client.run(Endpoint::Execute, &batch, |_| {}).await;
    assert!(matches!(lost, Ok(_) | Err(ClientError::Lost { .. })), "{lost:?}");
    client.run(Endpoint::Execute, &batch, |_| {}).await.unwrap();
    assert_eq!(client.host().to_string(), format!("http://{}", hosts[1]));
}

#[tokio::test]
async fn a_body_arrives_in_chunks() {
    let node = Server::node(&[]);
    let client = client(&[node.addr().to_string()]);
    let sql = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<200000) SELECT i FROM n";
    let body = serde_json::to_vec(&[sql]).unwrap();
    let request = HttpRequest::new(Method::Post, "/db/query").with_body("application/json", body);
    let (_, mut response) = client.send(request).await.unwrap();
    let (mut chunks, mut bytes) = (0, Vec::new());
    while let Some(chunk) = response.body.chunk().await.unwrap() {
        chunks += 1;
        bytes.extend(chunk);
    }
    assert!(chunks > 10, "{chunks}");
    let reply = sqlhttp_rqlite::client::decode_reply(response.status, &bytes).unwrap();
    assert!(matches!(&reply.results[..], [StatementResult::Rows(rows)] if rows.rows.len() == 200_000));
}

#[tokio::test]
async fn rows_arrive_before_the_statement_has_ended() {
    let node = Server::node(&[]);
    let client = client(&[node.addr().to_string()]);
    let sql = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<200000) SELECT i FROM n";
    let batch =
        Batch { steps: vec![Step::query(sql, ()), Step::query("SELECT x FROM missing", ())], ..Batch::default() };
    let mut stream = client.stream::<Value>(Endpoint::Query, &batch, |_| {}).await.unwrap();
    let (mut parts, mut sum) = (0, 0);
    let mut ends = Vec::new();
    while let Some(part) = stream.next().await.unwrap() {
        match part {
            Part::Columns { names, .. } => assert_eq!(names, ["i"]),
            Part::Rows(rows) => {
                parts += 1;
                sum += rows.iter().map(|row| if let [Value::Integer(i)] = row[..] { i } else { 0 }).sum::<i64>();
            }
            Part::End(result) => ends.push(result),
        }
    }
    assert!(parts > 10, "{parts}");
    assert_eq!(sum, 200_000 * 200_001 / 2);
    assert!(matches!(&ends[..], [StatementResult::Rows(_), StatementResult::Failed(why)] if why.contains("missing")));
}

/// Bytes that count how often they are opened.
struct Text(&'static [u8], AtomicUsize);

impl BodySource for Text {
    fn length(&self) -> u64 {
        self.0.len() as u64
    }

    fn open(&self) -> std::io::Result<Box<dyn std::io::Read + Send>> {
        self.1.fetch_add(1, Ordering::Relaxed);
        Ok(Box::new(self.0))
    }
}

#[tokio::test]
async fn a_body_is_read_from_a_source_and_sent_to_the_first_server_that_can_be_reached() {
    let node = Server::node(&[]);
    let client = client(&[format!("127.0.0.1:{}", common::cluster::free_port()), node.addr().to_string()]);
    let text = Arc::new(Text(b"CREATE TABLE sent(a); INSERT INTO sent VALUES(1), (2);", AtomicUsize::new(0)));
    let source: Arc<dyn BodySource> = text.clone();
    let load = HttpRequest::new(Method::Post, "/db/load").with_body("text/plain", source).without_time_limit();
    let response = client.send_whole(load).await.unwrap();
    let reply = sqlhttp_rqlite::client::decode_reply(response.status, &response.body).unwrap();
    assert!(matches!(reply.results[..], [.., StatementResult::Changed(changes)] if changes.rows_affected == 2));
    // Once for the server that cannot be reached, and once for the other.
    assert_eq!(text.1.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn the_error_of_a_server_that_does_not_run_contains_the_reason() {
    let unused = format!("127.0.0.1:{}", common::cluster::free_port());
    let error = client(&[unused]).run(Endpoint::Query, &Batch::one(Step::query("SELECT 1", ())), |_| {}).await;
    let error = error.unwrap_err().to_string();
    assert!(error.contains("no host can be reached") && error.contains("refused"), "{error}");
}

#[tokio::test]
async fn a_connection_over_tls_needs_a_trusted_certificate() {
    let dir = temp_dir();
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let cert = write(dir.path(), "cert.pem", made.cert.pem());
    let key = write(dir.path(), "key.pem", made.signing_key.serialize_pem());
    let [cert, key] = [cert, key].map(|path| path.to_string_lossy().into_owned());
    let server = Node::new(&dir.path().join("data")).flags(["-http-cert", &cert, "-http-key", &key]).spawn_listening();
    let host: Host = format!("https://localhost:{}", server.port()).parse().unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let transport = HyperTransport::new(tls.with_root_certificates(roots).with_no_client_auth());
    write_and_read(&Client::new(transport, host.clone(), [])).await;
    let stranger = Client::new(HyperTransport::with_system_roots().unwrap(), host, []);
    let error = stranger.run(Endpoint::Query, &Batch::one(Step::query("SELECT 1", ())), |_| {}).await.unwrap_err();
    assert!(error.to_string().contains("certificate"), "{error}");
}
