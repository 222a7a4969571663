//! Clusters whose nodes compare their content.

#![allow(clippy::unwrap_used, clippy::panic)]

mod cluster_support;

use std::net::TcpListener;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use cluster_support::*;
use rusqlite::Connection;
use sqlhttp_core::{Error, ReadLevel, RowKey};
use sqlhttp_raft::{
    Difference, Event, Formation, Node, NodeOptions, Observer, Verification, VerifyError, VerifyOptions,
};

const PLAIN: VerifyOptions = VerifyOptions::new();
const DEEP: VerifyOptions = VerifyOptions::new().deep(true);
const REPAIR: VerifyOptions = VerifyOptions::new().repair(true);

fn difference(node: &str, table: &str, row: Option<RowKey>) -> Difference {
    Difference { node: node.to_owned(), table: table.to_owned(), row }
}

/// Starts three nodes with a table of `rows` rows, and waits until all of them have applied them.
async fn filled_cluster(size: usize, rows: usize) -> Vec<Running> {
    let nodes = cluster(size).await;
    write(&nodes[0].node, "CREATE TABLE t(a, b)").await;
    write(&nodes[0].node, "CREATE INDEX i ON t(b)").await;
    let insert = format!(
        "INSERT INTO t WITH n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows}) \
         SELECT i, 'value ' || i FROM n"
    );
    write(&nodes[0].node, &insert).await;
    all_applied(&nodes).await;
    nodes
}

async fn all_applied(nodes: &[Running]) {
    let applied = |running: &Running| running.node.status().applied_index;
    eventually("all nodes have applied the log", || nodes.iter().all(|running| applied(running) == applied(&nodes[0])))
        .await;
}

/// Stops a node, changes its database file, and starts it again.
async fn tamper(nodes: &mut Vec<Running>, number: usize, change: impl FnOnce(&Connection)) {
    restart_after(nodes, number, |directory| {
        let connection = Connection::open(directory.join("db.sqlite")).unwrap();
        change(&connection);
        connection.close().unwrap();
    })
    .await;
}

/// Stops a node, and starts it again at another address. Waits until all nodes have applied the same entries.
async fn restart_after(nodes: &mut Vec<Running>, number: usize, change: impl FnOnce(&Path)) {
    restart(nodes, number, change, |options| options).await;
}

/// Starts a node again with other options.
async fn restart_with(nodes: &mut Vec<Running>, number: usize, set: impl FnOnce(NodeOptions) -> NodeOptions) {
    restart(nodes, number, |_| {}, set).await;
}

async fn restart(
    nodes: &mut Vec<Running>,
    number: usize,
    change: impl FnOnce(&Path),
    set: impl FnOnce(NodeOptions) -> NodeOptions,
) {
    let Running { node, directory, .. } = nodes.remove(number);
    node.close().await.unwrap();
    drop(node);
    change(directory.path());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let options = options(directory.path(), &format!("n{}", number + 1), Formation::Await, listener);
    let node = Node::start(set(options)).await.unwrap();
    join(&node, &nodes[0].address).await;
    nodes.insert(number, Running { node, directory, address });
    all_applied(nodes).await;
}

async fn verify(node: &Node, options: VerifyOptions) -> Verification {
    let begun = Instant::now();
    loop {
        assert!(begun.elapsed() < Duration::from_secs(60), "another verification does not end");
        match node.verify(options, None).await {
            // A node is still ending the session of the last verification.
            Err(VerifyError::Running) => tokio::task::yield_now().await,
            verification => return verification.unwrap(),
        }
    }
}

fn digests(verification: &Verification) -> Vec<u128> {
    verification.nodes.values().map(|node| node.digest.unwrap()).collect()
}

#[tokio::test]
async fn nodes_that_apply_the_same_log_are_equal_while_writes_continue() {
    let nodes = filled_cluster(3, 1000).await;
    let ended = Arc::new(AtomicBool::new(false));
    let writer = tokio::spawn({
        let (node, ended) = (nodes[1].node.clone(), ended.clone());
        async move {
            let mut count = 0;
            while !ended.load(Ordering::Relaxed) {
                write(&node, "INSERT INTO t VALUES (random(), datetime('now', 'localtime'))").await;
                count += 1;
            }
            count
        }
    });
    let mut last = 0;
    for running in &nodes {
        let verification = verify(&running.node, DEEP).await;
        assert!(verification.equal && verification.has_quorum, "{verification:?}");
        assert_eq!(verification.nodes.keys().collect::<Vec<_>>(), ["n1", "n2", "n3"]);
        assert!(digests(&verification).iter().all(|digest| *digest == digests(&verification)[0]));
        assert!(verification.index > last);
        last = verification.index;
    }
    ended.store(true, Ordering::Relaxed);
    assert!(writer.await.unwrap() > 0);
    close(nodes).await;
}

#[tokio::test]
async fn a_changed_value_is_found_and_repaired() {
    let mut nodes = filled_cluster(3, 1000).await;
    tamper(&mut nodes, 2, |file| {
        file.execute_batch("UPDATE t SET a = 0 WHERE rowid = 7; DELETE FROM t WHERE rowid = 900").unwrap();
        file.execute_batch("INSERT INTO t(rowid, a) VALUES (5000, 'more')").unwrap();
    })
    .await;
    let verification = verify(&nodes[1].node, PLAIN).await;
    assert!(!verification.equal && verification.has_quorum);
    let rows = [7, 900, 5000].map(|rowid| difference("n3", "t", Some(RowKey::Rowid(rowid))));
    assert_eq!(verification.differences, rows);

    let refused = count(&nodes[2].node, ReadLevel::None).await;
    let Err(Error::Unavailable(why)) = refused else { panic!("{refused:?}") };
    assert_eq!(nodes[2].node.status().differs.as_deref(), Some(&*why));
    for level in [ReadLevel::Weak, ReadLevel::Linearizable, ReadLevel::Strong] {
        assert_eq!(count(&nodes[2].node, level).await.unwrap(), 1000, "{level:?}");
    }
    assert_eq!((nodes[0].node.status().differs, nodes[1].node.status().differs), (None, None));

    // The node knows that it differs after a restart, too.
    restart_after(&mut nodes, 2, |_| {}).await;
    assert!(count(&nodes[2].node, ReadLevel::None).await.is_err());
    write(&nodes[2].node, "INSERT INTO t VALUES (1001, 'x')").await;

    let verification = verify(&nodes[2].node, REPAIR).await;
    assert!(verification.equal, "{verification:?}");
    assert_eq!(verification.repaired, ["n3"]);
    assert_eq!(nodes[2].node.status().differs, None);
    write(&nodes[2].node, "INSERT INTO t VALUES (1002, 'x')").await;
    eventually("n3 has applied the write", || {
        nodes[2].node.status().applied_index >= nodes[0].node.status().applied_index
    })
    .await;
    assert_eq!(count(&nodes[2].node, ReadLevel::None).await.unwrap(), 1002);
    assert!(verify(&nodes[0].node, DEEP).await.equal);
    // The content and the log of the node fit together after a restart.
    restart_after(&mut nodes, 2, |_| {}).await;
    assert!(verify(&nodes[0].node, DEEP).await.equal);
    close(nodes).await;
}

/// The leader copies its content before the last writes, so the follower applies them again from its own log.
#[tokio::test]
async fn a_node_is_repaired_while_writes_continue() {
    let mut nodes = filled_cluster(3, 20_000).await;
    tamper(&mut nodes, 2, |file| file.execute_batch("DELETE FROM t WHERE rowid % 2 = 0").unwrap()).await;
    let ended = Arc::new(AtomicBool::new(false));
    let writer = tokio::spawn({
        let (node, ended) = (nodes[1].node.clone(), ended.clone());
        async move {
            let mut count = 0;
            while !ended.load(Ordering::Relaxed) {
                write(&node, "INSERT INTO t VALUES (random(), randomblob(2000))").await;
                count += 1;
            }
            count
        }
    });
    let verification = verify(&nodes[1].node, REPAIR).await;
    assert!(verification.equal && verification.repaired == ["n3"], "{verification:?}");
    ended.store(true, Ordering::Relaxed);
    let rows = 20_000 + writer.await.unwrap();
    for level in [ReadLevel::Linearizable, ReadLevel::None] {
        assert_eq!(count(&nodes[2].node, level).await.unwrap(), rows);
    }
    restart_after(&mut nodes, 2, |_| {}).await;
    assert!(verify(&nodes[0].node, DEEP).await.equal);
    close(nodes).await;
}

/// Overwrites the middle of a database file.
fn destroy(directory: &Path) {
    let file = std::fs::OpenOptions::new().write(true).open(directory.join("db.sqlite")).unwrap();
    let bytes = file.metadata().unwrap().len();
    file.write_all_at(&vec![0xff; 200_000], bytes / 2).unwrap();
}

#[tokio::test]
async fn a_node_whose_content_cannot_be_read_is_repaired() {
    let mut nodes = filled_cluster(3, 50_000).await;
    restart_after(&mut nodes, 2, destroy).await;
    let verification = verify(&nodes[0].node, PLAIN).await;
    assert!(verification.nodes["n3"].error.as_ref().unwrap().contains("malformed"), "{verification:?}");
    assert!(nodes[2].node.status().differs.unwrap().contains("was damaged"));
    let verification = verify(&nodes[0].node, REPAIR).await;
    assert!(verification.equal && verification.repaired == ["n3"], "{verification:?}");
    assert_eq!(count(&nodes[2].node, ReadLevel::None).await.unwrap(), 50_000);
    close(nodes).await;
}

#[tokio::test]
async fn a_leader_that_differs_hands_over_and_is_repaired() {
    let mut nodes = filled_cluster(3, 10).await;
    tamper(&mut nodes, 0, |file| file.execute_batch("DELETE FROM t WHERE rowid = 3").unwrap()).await;
    let name = "n1".to_owned();
    nodes[1].node.transfer_leadership(Some(&name), None).await.ok();
    eventually("n1 leads", || nodes[0].node.is_ready_leader()).await;
    let verification = verify(&nodes[1].node, PLAIN).await;
    assert_eq!(verification.differences, [difference("n1", "t", Some(RowKey::Rowid(3)))]);
    eventually("another node leads", || nodes[1..].iter().any(|running| running.node.is_ready_leader())).await;
    let verification = verify(&nodes[1].node, REPAIR).await;
    assert!(verification.equal, "{verification:?}");
    assert_eq!(verification.repaired, ["n1"]);
    assert_eq!(count(&nodes[0].node, ReadLevel::None).await.unwrap(), 10);
    close(nodes).await;
}

#[tokio::test]
async fn without_a_majority_no_node_is_marked() {
    let mut nodes = filled_cluster(2, 10).await;
    tamper(&mut nodes, 1, |file| file.execute_batch("CREATE TABLE other(a); PRAGMA user_version=3").unwrap()).await;
    let verification = verify(&nodes[0].node, REPAIR).await;
    assert!(!verification.equal);
    let expected = [
        difference("n2", "other", None),
        difference("n2", "sqlite_schema", Some(RowKey::Primary("'table', 'other'".to_owned()))),
        difference("n2", "sqlite_settings", Some(RowKey::Primary("'user_version'".to_owned()))),
    ];
    assert_eq!(verification.differences, expected);
    assert!(verification.repaired.is_empty());
    assert!(nodes.iter().all(|running| running.node.status().differs.is_none()));
    close(nodes).await;
}

/// Removes the entry of the row 5 from the index, but not the row.
fn damage_index(file: &Connection) {
    file.execute_batch("DELETE FROM t WHERE rowid = 5; PRAGMA writable_schema=ON").unwrap();
    let (root, sql): (i64, String) = file
        .query_row("SELECT rootpage, sql FROM sqlite_schema WHERE name = 'i'", [], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap();
    file.execute("DELETE FROM sqlite_schema WHERE name = 'i'", []).unwrap();
    file.execute_batch("PRAGMA writable_schema=RESET").unwrap();
    file.execute("INSERT INTO t(rowid, a, b) VALUES (5, 5, 'value 5')", []).unwrap();
    file.execute_batch("PRAGMA writable_schema=ON").unwrap();
    file.execute("INSERT INTO sqlite_schema VALUES ('index', 'i', 't', ?, ?)", (root, sql)).unwrap();
    file.execute_batch("PRAGMA writable_schema=RESET").unwrap();
}

#[tokio::test]
async fn a_row_that_is_missing_in_an_index_is_found_by_the_deep_check() {
    let mut nodes = filled_cluster(3, 10).await;
    tamper(&mut nodes, 1, damage_index).await;
    assert!(verify(&nodes[0].node, PLAIN).await.equal);
    let verification = verify(&nodes[0].node, DEEP).await;
    assert!(!verification.equal && verification.differences.is_empty(), "{verification:?}");
    let errors: Vec<_> =
        verification.nodes.iter().filter_map(|(name, node)| Some((name, node.error.clone()?))).collect();
    let [(name, error)] = &errors[..] else { panic!("{errors:?}") };
    assert_eq!(name.as_str(), "n2");
    assert!(error.contains("row 5 missing from index i"), "{error}");
    let verification = verify(&nodes[0].node, VerifyOptions::new().deep(true).repair(true)).await;
    assert!(verification.equal && verification.repaired == ["n2"], "{verification:?}");
    close(nodes).await;
}

#[tokio::test]
async fn nodes_that_do_not_respond_are_reported() {
    let mut nodes = filled_cluster(3, 10).await;
    nodes.pop().unwrap().node.close().await.unwrap();
    let verification = verify(&nodes[0].node, PLAIN).await;
    assert!(!verification.equal && verification.has_quorum && verification.differences.is_empty());
    assert!(verification.nodes["n3"].error.is_some() && verification.nodes["n3"].digest.is_none());
    assert_eq!(verification.nodes["n1"].digest, verification.nodes["n2"].digest);
    nodes.pop().unwrap().node.close().await.unwrap();
    let refused = nodes[0].node.verify(PLAIN, None).await;
    assert!(matches!(refused, Err(VerifyError::Log(Error::NoLeader | Error::Timeout))), "{refused:?}");
    close(nodes).await;
}

/// Remembers the entries for which a member has computed another outcome.
#[derive(Default)]
struct Outcomes(Mutex<Vec<(String, u64)>>);

impl Observer for Outcomes {
    fn event(&self, event: &Event<'_>) {
        if let Event::OutcomesDiffer { name, index } = event {
            self.0.lock().unwrap().push(((*name).to_owned(), *index));
        }
    }
}

#[tokio::test]
async fn another_outcome_of_an_entry_is_noticed_without_a_request() {
    let mut nodes = filled_cluster(3, 10).await;
    tamper(&mut nodes, 2, |file| file.execute_batch("DELETE FROM t WHERE rowid = 7").unwrap()).await;
    let outcomes = Arc::new(Outcomes::default());
    // The hashes of a node that was restarted begin with the next window of 1024 entries.
    while nodes[0].node.status().applied_index < 1030 {
        write(&nodes[0].node, "INSERT INTO t VALUES (0, 'x')").await;
    }
    let observer = outcomes.clone();
    restart_with(&mut nodes, 0, |options| options.observer(observer)).await;
    while nodes[0].node.status().applied_index < 2060 {
        write(&nodes[0].node, "INSERT INTO t VALUES (0, 'x')").await;
    }
    nodes[1].node.transfer_leadership(Some("n1"), None).await.ok();
    eventually("n1 leads", || nodes[0].node.is_ready_leader()).await;
    let outcome = execute(&nodes[0].node, "UPDATE t SET b = 'y' WHERE a < 8").await.unwrap();
    eventually("n3 is marked", || nodes[2].node.status().differs.is_some()).await;
    assert_eq!(*outcomes.0.lock().unwrap(), [("n3".to_owned(), outcome.log_index)]);
    assert_eq!(nodes[1].node.status().differs, None);
    close(nodes).await;
}

#[tokio::test]
async fn a_node_without_others_is_equal_to_itself() {
    let nodes = filled_cluster(1, 10).await;
    let verification = verify(&nodes[0].node, REPAIR).await;
    assert!(verification.equal && verification.has_quorum && verification.nodes.len() == 1);
    close(nodes).await;
}

#[tokio::test]
async fn a_node_that_differs_does_not_accept_the_leadership() {
    let mut nodes = filled_cluster(3, 10).await;
    tamper(&mut nodes, 2, |file| file.execute_batch("DELETE FROM t WHERE rowid = 7").unwrap()).await;
    assert!(!verify(&nodes[0].node, PLAIN).await.equal);
    eventually("n3 is marked", || nodes[2].node.status().differs.is_some()).await;
    eventually("n1 leads", || nodes[0].node.is_ready_leader()).await;
    // Another node may be elected, which the former leader reports as a success.
    let _ = nodes[0].node.transfer_leadership(Some("n3"), None).await;
    assert!(nodes[0].node.leader().is_none_or(|leader| leader.name != "n3"));
    eventually("another node leads", || nodes[..2].iter().any(|running| running.node.is_ready_leader())).await;
    assert!(!nodes[2].node.is_leader());
    close(nodes).await;
}

#[tokio::test]
async fn verifications_at_the_same_time_wait_for_each_other() {
    let nodes = filled_cluster(3, 10).await;
    let verify = |number: usize| nodes[number].node.verify(PLAIN, None);
    let (first, second, third, fourth) = tokio::join!(verify(0), verify(1), verify(2), verify(2));
    for verification in [first, second, third, fourth] {
        let verification = verification.unwrap();
        assert!(verification.equal, "{verification:?}");
    }
    close(nodes).await;
}
