//! Faults that other systems have had, as tests of this one. The name of each test begins with the project and the
//! number of the issue that describes the fault.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod cluster_support;

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use cluster_support::links::Links;
use cluster_support::*;
use rusqlite::Connection;
use sqlhttp_core::{Error, ReadLevel};
use sqlhttp_raft::{Event, Formation, Node, NodeOptions, Observer, Verification, VerifyError, VerifyOptions};
use tokio::task::JoinHandle;

const DEEP: VerifyOptions = VerifyOptions::new().deep(true);

/// The heartbeat timeout of tests in which no leader is lost. On a busy machine, a shorter one leads to elections.
const LONG_TIMEOUT: Duration = Duration::from_secs(2);

/// Starts nodes whose links can be held, with an empty table.
async fn linked_cluster(size: usize) -> (Links, Vec<Running>) {
    start_linked(size, |options| options).await
}

/// Three nodes with a long heartbeat timeout.
async fn calm_cluster() -> (Links, Vec<Running>) {
    start_linked(3, with_long_timeout).await
}

fn with_long_timeout(options: NodeOptions) -> NodeOptions {
    options.heartbeat_timeout(LONG_TIMEOUT)
}

async fn start_linked(size: usize, set: impl Fn(NodeOptions) -> NodeOptions) -> (Links, Vec<Running>) {
    let links = Links::default();
    let nodes = cluster_with(size, |number, options| set(linked(&links, number, options))).await;
    write(&nodes[0].node, "CREATE TABLE t(a)").await;
    all_applied(&nodes).await;
    (links, nodes)
}

fn linked(links: &Links, number: usize, options: NodeOptions) -> NodeOptions {
    links.add(number, &options.raft_address);
    options.security(Some(links.of(number)))
}

async fn all_applied(nodes: &[Running]) {
    let applied = |running: &Running| running.node.status().applied_index;
    eventually("all nodes have applied the log", || nodes.iter().all(|running| applied(running) == applied(&nodes[0])))
        .await;
}

/// The number of the node that all others name as leader, and that serves requests.
async fn leader(nodes: &[Running]) -> usize {
    let find = || nodes.iter().position(|running| running.node.is_ready_leader());
    let named = |running: &Running| running.node.leader().map(|leader| leader.name);
    let is_named = |leader: usize| nodes.iter().all(|running| named(running) == Some(format!("n{}", leader + 1)));
    eventually("one leader", || find().is_some_and(is_named)).await;
    find().unwrap()
}

/// Begins a linearizable read. While there is no leader, it is repeated, because elections happen on a busy machine.
fn spawn_read(running: &Running) -> JoinHandle<i64> {
    let node = running.node.clone();
    tokio::spawn(async move {
        let begun = Instant::now();
        loop {
            match count(&node, ReadLevel::Linearizable).await {
                Err(Error::NoLeader) if begun.elapsed() < Duration::from_secs(30) => {}
                read => return read.unwrap(),
            }
        }
    })
}

/// Waits until the nodes have the same number of rows, each value once, and the same content.
async fn assert_equal(nodes: &[Running], rows: i64) {
    let leader = &nodes[leader(nodes).await].node;
    all_applied(nodes).await;
    for running in nodes {
        assert_eq!(spawn_read(running).await.unwrap(), rows);
    }
    let verified = verified(leader).await;
    assert!(verified.equal && verified.nodes.len() == nodes.len(), "{verified:?}");
    for running in nodes {
        let distinct = local(&running.directory.path().join("db.sqlite"), "SELECT count(DISTINCT a) FROM t");
        assert_eq!(distinct, rows, "each value is present once");
    }
}

/// The result of a verification to which all nodes have responded. On a busy machine, one may not respond in time.
async fn verified(node: &Node) -> Verification {
    let begun = Instant::now();
    loop {
        match node.verify(DEEP, None).await {
            Ok(verified) if verified.nodes.values().all(|node| node.error.is_none()) => return verified,
            Ok(_) | Err(VerifyError::Running) if begun.elapsed() < Duration::from_secs(30) => {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            other => panic!("{other:?}"),
        }
    }
}

/// The number that a query of a database file returns.
fn local(file: &Path, sql: &str) -> i64 {
    Connection::open(file).unwrap().query_row(sql, [], |row| row.get(0)).unwrap()
}

/// Writes rows with the values from `first` on.
async fn write_rows(node: &Node, first: i64, count: i64) {
    for value in first..first + count {
        write(node, &format!("INSERT INTO t VALUES ({value})")).await;
    }
}

/// Adds a table of several megabytes, so that a snapshot is sent in several parts.
async fn fill(node: &Node) {
    let blobs = "CREATE TABLE filling AS WITH n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 6000) \
                 SELECT randomblob(1000) AS b FROM n";
    write(node, blobs).await;
}

/// Starts a node of [`calm_cluster`] again in its directory, at its address, with its links.
async fn start_again(links: &Links, number: usize, stopped: Stopped, observer: Arc<dyn Observer>) -> Running {
    let Stopped { directory, address } = stopped;
    // The connections of the node that was stopped may not have ended yet.
    let mut listener = None;
    let mut bind = || {
        listener = TcpListener::bind(&address).ok();
        listener.is_some()
    };
    eventually("the address is free", &mut bind).await;
    let listener = listener.unwrap();
    let options = options(directory.path(), &format!("n{}", number + 1), Formation::Await, listener);
    let options = with_long_timeout(linked(links, number, options.observer(observer)));
    Running { node: Node::start(options).await.unwrap(), directory, address }
}

/// A node that does not run.
struct Stopped {
    directory: tempfile::TempDir,
    address: String,
}

async fn stop(running: Running) -> Stopped {
    let Running { node, directory, address } = running;
    node.close().await.unwrap();
    Stopped { directory, address }
}

/// Counts the attempts to install a snapshot or to load a file that failed for a temporary reason.
#[derive(Default)]
struct Delays(AtomicU64);

impl Observer for Delays {
    fn event(&self, event: &Event<'_>) {
        if matches!(event, Event::SnapshotDelayed { .. } | Event::LoadDelayed { .. }) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
}

fn no_observer() -> Arc<dyn Observer> {
    Arc::new(Delays::default())
}

/// [etcd #20418](https://github.com/etcd-io/etcd/issues/20418): a follower whose request for a read index was answered
/// late used the answer, the index of an earlier round, for reads that had arrived after it.
///
/// The answer to a follower is held while the leader acknowledges a write. The follower cannot apply the write, so that
/// a read at the earlier index would miss it.
#[tokio::test]
async fn etcd_20418_a_read_at_a_follower_joins_no_earlier_round() {
    let (links, nodes) = linked_cluster(3).await;
    for round in 0..5 {
        let at = leader(&nodes).await;
        let follower = (at + 1) % 3;
        all_applied(&nodes).await;
        let other = Connection::open(nodes[follower].directory.path().join("db.sqlite")).unwrap();
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        links.hold(at, follower);
        let sent = links.passed(follower, at);
        let early = spawn_read(&nodes[follower]);
        eventually("the follower asks for a read index", || links.passed(follower, at) > sent).await;
        write_rows(&nodes[at].node, round, 1).await;
        let late = spawn_read(&nodes[follower]);
        links.release(at, follower);
        assert_eq!(late.await.unwrap(), round + 1);
        // This read and the write overlap.
        let early = early.await.unwrap();
        assert!((round..=round + 1).contains(&early), "{early} rows, not {round} or one more");
        other.execute_batch("ROLLBACK").unwrap();
    }
    assert_equal(&nodes, 5).await;
    close(nodes).await;
}

/// [etcd #20418](https://github.com/etcd-io/etcd/issues/20418): a leader was paused. When it went on, late responses of
/// followers confirmed its leadership for reads, although another leader had acknowledged writes meanwhile.
///
/// The responses of the followers to a round of the leader are held until another leader has acknowledged a write.
#[tokio::test]
async fn etcd_20418_late_confirmations_of_a_lost_leadership_serve_no_read() {
    let (links, nodes) = linked_cluster(3).await;
    for round in 0..5 {
        let old = leader(&nodes).await;
        all_applied(&nodes).await;
        let others = [(old + 1) % 3, (old + 2) % 3];
        others.iter().for_each(|other| links.hold(*other, old));
        let sent = others.map(|other| links.passed(old, other));
        let early = spawn_read(&nodes[old]);
        eventually("the leader asks both followers", || {
            others.iter().zip(sent).all(|(other, sent)| links.passed(old, *other) > sent)
        })
        .await;
        others.iter().for_each(|other| links.hold(old, *other));
        let next = || others.iter().copied().find(|other| nodes[*other].node.is_ready_leader());
        eventually("another node leads", || next().is_some()).await;
        write_rows(&nodes[next().unwrap()].node, round, 1).await;
        let late = spawn_read(&nodes[old]);
        links.release_all();
        assert_eq!(late.await.unwrap(), round + 1);
        let early = early.await.unwrap();
        assert!((round..=round + 1).contains(&early), "{early} rows, not {round} or one more");
    }
    assert_equal(&nodes, 5).await;
    close(nodes).await;
}

/// Stops the third node, writes rows, and purges the logs of the others, so that the node needs a snapshot.
async fn leave_behind(nodes: &mut Vec<Running>, rows: std::ops::Range<i64>) -> Stopped {
    let stopped = stop(nodes.pop().unwrap()).await;
    write_rows(&nodes[0].node, rows.start, rows.end - rows.start).await;
    purge_logs(nodes).await;
    stopped
}

/// Copies the files of a node that runs, as a crash would leave them. A file that is removed meanwhile is not copied.
fn crash_image(from: &Path) -> tempfile::TempDir {
    let image = tempfile::tempdir().unwrap();
    copy_files(from, image.path());
    image
}

fn copy_files(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_files(&entry.path(), &target);
        } else {
            match std::fs::copy(entry.path(), target) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => panic!("{error}"),
                _ => {}
            }
        }
    }
}

/// Starts a node on a crash image, without links to others. Its content must be that of its position: `before` rows,
/// or `after` rows from the index of the snapshot on. Returns the position.
async fn assert_hides_nothing(image: &Path, before: i64, (index, after): (u64, i64)) -> u64 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let node = Node::start(options(image, "n3", Formation::Await, listener)).await.unwrap();
    let applied = node.status().applied_index;
    let expected = if applied >= index { after } else { before };
    assert_eq!(count(&node, ReadLevel::None).await.unwrap(), expected, "at {applied}");
    node.close().await.unwrap();
    applied
}

/// Writes the record that a node is going to install a snapshot, which ends with this term and index.
fn record_installation(directory: &Path, file: &str, (term, index): (u64, u64)) {
    let record = format!(r#"{{"file":"{file}","term":{term},"index":{index}}}"#);
    std::fs::write(directory.join("raft/install.json"), record).unwrap();
}

/// The name of the file with the snapshot that a node has received.
fn download(directory: &Path) -> String {
    let mut names = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name());
    let name = names.find(|name| name.to_string_lossy().starts_with("db.sqlite-download-"));
    name.expect("a snapshot").into_string().unwrap()
}

/// [rqlite #2747](https://github.com/rqlite/rqlite/issues/2747): a node took its position from a snapshot that it had
/// received but not restored. It then counted the rows before that position as applied, and they were missing for good.
///
/// A lock of another process keeps the node from installing a snapshot. Crashes in this state are simulated by copies
/// of the directory.
#[tokio::test]
async fn rqlite_2747_a_snapshot_that_is_not_installed_hides_no_rows() {
    let (links, mut nodes) = calm_cluster().await;
    write_rows(&nodes[0].node, 0, 20).await;
    all_applied(&nodes).await;
    let stopped = leave_behind(&mut nodes, 20..70).await;
    let snapshot = nodes[0].node.status().applied_index;
    let (late, lock, delays) = locked_before_a_snapshot(&links, stopped).await;
    let before = late.node.status().applied_index;

    let mut images = Vec::new();
    for attempt in 1..=5 {
        eventually("an attempt to install has failed", || delays.0.load(Ordering::SeqCst) >= attempt).await;
        assert_eq!(late.node.status().applied_index, before);
        assert_eq!(count(&late.node, ReadLevel::None).await.unwrap(), 20);
        images.push(crash_image(late.directory.path()));
    }
    // Crashes after the record of the installation was written: it names the snapshot, or a file that does not exist.
    let term = late.node.status().term;
    record_installation(images[0].path(), "db.sqlite-download-0", (term, snapshot));
    record_installation(images[1].path(), &download(images[1].path()), (term, snapshot));

    let stopped = stop(late).await;
    drop(lock);
    let mut applied = Vec::new();
    for image in &images {
        applied.push(assert_hides_nothing(image.path(), 20, (snapshot, 70)).await);
    }
    assert_eq!(applied[1], snapshot, "the start has completed the installation");
    let directory = images.pop().unwrap();
    let late = start_again(&links, 2, Stopped { directory, ..stopped }, no_observer()).await;
    nodes.push(late);
    write_rows(&nodes[1].node, 70, 1).await;
    assert_equal(&nodes, 71).await;
    close(nodes).await;
}

/// Starts the third node, which needs a snapshot, and keeps it from installing that snapshot with a lock of another
/// process.
async fn locked_before_a_snapshot(links: &Links, stopped: Stopped) -> (Running, Connection, Arc<Delays>) {
    let (file, delays) = (stopped.directory.path().join("db.sqlite"), Arc::new(Delays::default()));
    for other in 0..2 {
        links.hold_both(other, 2);
    }
    let late = start_again(links, 2, stopped, delays.clone()).await;
    let lock = Connection::open(&file).unwrap();
    lock.execute_batch("BEGIN; SELECT count(*) FROM t").unwrap();
    links.release_all();
    (late, lock, delays)
}

/// [rqlite #2759](https://github.com/rqlite/rqlite/issues/2759): after a snapshot could not be restored, a node applied
/// entries of its log to content that contained them already. Rows were present twice.
///
/// The installation of a snapshot fails because of a lock of another process. The node is stopped in this state, and
/// started again while writes continue: once with its files, once with those of a crash.
#[tokio::test]
async fn rqlite_2759_an_installation_that_fails_applies_no_write_twice() {
    for crash in [false, true] {
        let (links, mut nodes) = calm_cluster().await;
        write_rows(&nodes[0].node, 0, 10).await;
        all_applied(&nodes).await;
        let stopped = leave_behind(&mut nodes, 10..30).await;
        let (late, lock, delays) = locked_before_a_snapshot(&links, stopped).await;
        eventually("an attempt to install has failed", || delays.0.load(Ordering::SeqCst) > 0).await;
        write_rows(&nodes[0].node, 30, 10).await;
        let image = crash_image(late.directory.path());
        let Stopped { directory, address } = stop(late).await;
        drop(lock);
        let directory = if crash { image } else { directory };
        nodes.push(start_again(&links, 2, Stopped { directory, address }, no_observer()).await);
        write_rows(&nodes[1].node, 40, 10).await;
        assert_equal(&nodes, 50).await;
        close(nodes).await;
    }
}

/// A database file with the table `t` and these values.
fn database_file(directory: &Path, name: &str, values: std::ops::Range<i64>) -> PathBuf {
    let file = directory.join(name);
    let connection = Connection::open(&file).unwrap();
    connection.execute_batch("CREATE TABLE t(a)").unwrap();
    for value in values {
        connection.execute("INSERT INTO t VALUES (?)", [value]).unwrap();
    }
    connection.close().unwrap();
    file
}

/// [rqlite #2759](https://github.com/rqlite/rqlite/issues/2759), for a load of a database file: on one node, another
/// process keeps the loaded file from replacing the database at first. Writes before and after the load take effect
/// once, also on a node that is restarted between them, and a load that is refused has no effect.
#[tokio::test]
async fn rqlite_2759_a_load_that_fails_applies_no_write_twice() {
    let (links, mut nodes) = calm_cluster().await;
    let files = tempfile::tempdir().unwrap();
    write_rows(&nodes[0].node, 0, 10).await;
    all_applied(&nodes).await;
    let lock = Connection::open(nodes[2].directory.path().join("db.sqlite")).unwrap();
    lock.execute_batch("BEGIN; SELECT count(*) FROM t").unwrap();
    nodes[0].node.load(database_file(files.path(), "loaded.db", 100..120)).await.unwrap();
    write_rows(&nodes[1].node, 120, 10).await;
    let broken = files.path().join("broken.db");
    std::fs::write(&broken, "not a database").unwrap();
    assert!(nodes[1].node.load(broken).await.is_err());
    write_rows(&nodes[1].node, 130, 10).await;
    let image = crash_image(nodes[2].directory.path());
    let stopped = stop(nodes.pop().unwrap()).await;
    drop(lock);
    write_rows(&nodes[1].node, 140, 10).await;
    let late = start_again(&links, 2, Stopped { directory: image, ..stopped }, no_observer()).await;
    nodes.push(late);
    assert_equal(&nodes, 50).await;
    close(nodes).await;
}

/// A cluster whose third node has received a part of a snapshot and waits for the rest.
struct Interrupted {
    links: Links,
    nodes: Vec<Running>,
    /// The number of the node that sends the snapshot.
    sender: usize,
    /// The applied index of the other nodes before the transfer.
    index: u64,
}

async fn interrupted_transfer() -> Interrupted {
    let (links, mut nodes) = calm_cluster().await;
    fill(&nodes[0].node).await;
    let stopped = leave_behind(&mut nodes, 0..50).await;
    let index = nodes[0].node.status().applied_index;
    links.hold_after(0, 2, 2 << 20);
    links.hold_after(1, 2, 2 << 20);
    nodes.push(start_again(&links, 2, stopped, no_observer()).await);
    let sender = || (0..2).find(|sender| links.is_full(*sender, 2));
    eventually("a link holds the second part", || sender().is_some()).await;
    let sender = sender().unwrap();
    assert!(nodes[2].node.status().totals.snapshot_bytes_received > 0);
    links.release(1 - sender, 2);
    Interrupted { links, nodes, sender, index }
}

/// Asserts that the third node has installed one snapshot, and has no parts of others.
fn assert_one_installed(late: &Running) {
    assert_eq!(late.node.status().totals.snapshots_installed, 1);
    let names = std::fs::read_dir(late.directory.path()).unwrap().map(|entry| entry.unwrap().file_name());
    let parts: Vec<_> = names.filter(|name| name.to_string_lossy().contains("download")).collect();
    assert!(parts.is_empty(), "{parts:?}");
}

/// [openraft #1706](https://github.com/databendlabs/openraft/issues/1706): a leader purged the entries after a snapshot
/// that it was sending. The follower then needed another snapshot, and so on without end.
#[tokio::test]
async fn openraft_1706_the_log_keeps_the_entries_after_a_snapshot_that_is_being_sent() {
    let Interrupted { links, nodes, sender, index } = interrupted_transfer().await;
    write_rows(&nodes[sender].node, 50, 100).await;
    for running in &nodes[..2] {
        running.node.snapshot(Some(0)).await.unwrap();
    }
    let first = nodes[sender].node.status().log.first_index;
    assert!(first <= index + 1, "the log begins at {first}, but the snapshot ends at about {index}");
    links.release(sender, 2);
    assert_equal(&nodes, 150).await;
    assert_one_installed(&nodes[2]);
    close(nodes).await;
}

/// [openraft #1706](https://github.com/databendlabs/openraft/issues/1706): the leader of a transfer is lost. The next
/// leader sends a snapshot of its own.
#[tokio::test]
async fn openraft_1706_the_next_leader_sends_its_own_snapshot() {
    let Interrupted { links, mut nodes, sender, .. } = interrupted_transfer().await;
    let stopped = stop(nodes.remove(sender)).await;
    links.release_all();
    eventually("another node leads", || nodes[0].node.is_ready_leader()).await;
    write_rows(&nodes[0].node, 50, 10).await;
    eventually("the snapshot is installed", || nodes[1].node.status().totals.snapshots_installed > 0).await;
    nodes.insert(sender, start_again(&links, sender, stopped, no_observer()).await);
    assert_equal(&nodes, 60).await;
    assert_one_installed(&nodes[2]);
    close(nodes).await;
}

/// [openraft #1706](https://github.com/databendlabs/openraft/issues/1706): the copy that a leader sends is gone, and
/// the connection breaks, so that the transfer cannot be continued. The leader makes another copy.
#[tokio::test]
async fn openraft_1706_a_copy_that_is_gone_is_made_again() {
    let Interrupted { links, nodes, sender, .. } = interrupted_transfer().await;
    let copies = std::fs::read_dir(nodes[sender].directory.path()).unwrap().map(|entry| entry.unwrap().path());
    let copies: Vec<PathBuf> = copies.filter(|path| path.to_string_lossy().contains("/snapshot-")).collect();
    assert_eq!(copies.len(), 1, "{copies:?}");
    std::fs::remove_file(&copies[0]).unwrap();
    links.break_connections(sender, 2);
    links.release(sender, 2);
    write_rows(&nodes[sender].node, 50, 10).await;
    assert_equal(&nodes, 60).await;
    assert_one_installed(&nodes[2]);
    close(nodes).await;
}

/// Waits until a node writes without the old leader. That one may follow the new leader, but serves no stale read.
async fn assert_replaced(nodes: &[Running], old: usize, writer: usize) {
    let named = |running: &Running| running.node.leader().map(|leader| leader.name);
    let old_name = format!("n{}", old + 1);
    eventually("another node leads", || named(&nodes[writer]).is_some_and(|name| name != old_name)).await;
    write_rows(&nodes[writer].node, 0, 10).await;
    assert_eq!(spawn_read(&nodes[writer]).await.unwrap(), 10);
    assert!(!nodes[old].node.is_ready_leader());
    let read = count(&nodes[old].node, ReadLevel::Weak).await;
    assert!(matches!(read, Err(_) | Ok(10)), "{read:?}");
}

/// The numbers of the leader and of the other nodes.
async fn leader_and_others(nodes: &[Running]) -> (usize, Vec<usize>) {
    let leader = leader(nodes).await;
    (leader, (0..nodes.len()).filter(|node| *node != leader).collect())
}

/// [openraft #2080](https://github.com/databendlabs/openraft/issues/2080): the messages of a leader arrive, but not the
/// responses. The followers elected no other leader, because they had contact with this one, which could not commit.
#[tokio::test]
async fn openraft_2080_a_leader_that_receives_nothing_is_replaced() {
    let (links, nodes) = linked_cluster(3).await;
    let (old, others) = leader_and_others(&nodes).await;
    others.iter().for_each(|other| links.hold(*other, old));
    assert_replaced(&nodes, old, others[0]).await;
    links.release_all();
    assert_equal(&nodes, 10).await;
    close(nodes).await;
}

/// The opposite of [openraft #2080](https://github.com/databendlabs/openraft/issues/2080): the messages of a leader do
/// not arrive.
#[tokio::test]
async fn openraft_2080_a_leader_that_sends_nothing_is_replaced() {
    let (links, nodes) = linked_cluster(3).await;
    let (old, others) = leader_and_others(&nodes).await;
    others.iter().for_each(|other| links.hold(old, *other));
    assert_replaced(&nodes, old, others[1]).await;
    links.release_all();
    assert_equal(&nodes, 10).await;
    close(nodes).await;
}

/// [openraft #2080](https://github.com/databendlabs/openraft/issues/2080), with five nodes: the leader has contact with
/// one node only, which is needed for a majority without the leader. Its contact with the leader must not keep it from
/// voting for another one.
#[tokio::test]
async fn openraft_2080_a_leader_with_one_follower_is_replaced_by_a_majority_with_that_follower() {
    let (links, nodes) = linked_cluster(5).await;
    let (old, others) = leader_and_others(&nodes).await;
    let (connected, isolated) = others.split_at(3);
    for other in &others[1..] {
        links.hold_both(old, *other);
    }
    for other in connected {
        links.hold_both(isolated[0], *other);
    }
    assert_replaced(&nodes, old, connected[1]).await;
    links.release_all();
    assert_equal(&nodes, 10).await;
    close(nodes).await;
}
