//! Tests of `raft/skip.json` on clusters of several nodes: all nodes skip an entry of the Raft log, or none.

#![allow(clippy::unwrap_used, clippy::panic)]

mod cluster_support;

use std::net::TcpListener;
use std::path::Path;
use std::sync::{Arc, Mutex};

use cluster_support::{Running, close, cluster, count, eventually, join, options, start, write};
use sqlhttp_core::ReadLevel;
use sqlhttp_raft::{Event, Formation, Joined, Node, Observer, VerifyOptions};

/// Remembers the events about the entry to skip, and why the node has stopped.
#[derive(Default)]
struct Seen {
    waits: Mutex<Vec<String>>,
    skipped: Mutex<Vec<u64>>,
    stopped: Mutex<Option<String>>,
}

impl Observer for Seen {
    fn event(&self, event: &Event<'_>) {
        match event {
            Event::SkipWaits { reason, .. } => self.waits.lock().unwrap().push((*reason).to_owned()),
            Event::EntrySkipped { index, .. } => self.skipped.lock().unwrap().push(*index),
            Event::Stopped { error } => *self.stopped.lock().unwrap() = Some((*error).to_owned()),
            _ => {}
        }
    }
}

impl Seen {
    fn waits_for(&self, text: &str) -> bool {
        self.waits.lock().unwrap().last().is_some_and(|reason| reason.contains(text))
    }
}

/// Starts a node that was closed, at its former address.
async fn revive(stopped: Stopped) -> (Running, Arc<Seen>) {
    let Stopped { name, directory, address } = stopped;
    let (seen, mut listener) = (Arc::new(Seen::default()), None);
    // The threads of the closed node may still be ending.
    eventually("the address is free", || {
        listener = TcpListener::bind(&address).ok();
        listener.is_some()
    })
    .await;
    let options = options(directory.path(), &name, Formation::Await, listener.unwrap());
    let options = options.observer(seen.clone());
    let node = Node::start(options).await.unwrap();
    (Running { node, directory, address }, seen)
}

async fn revive_all(stopped: Vec<Stopped>) -> (Vec<Running>, Vec<Arc<Seen>>) {
    let (mut nodes, mut seen) = (Vec::new(), Vec::new());
    for node in stopped {
        let (running, events) = revive(node).await;
        nodes.push(running);
        seen.push(events);
    }
    (nodes, seen)
}

struct Stopped {
    name: String,
    directory: tempfile::TempDir,
    address: String,
}

impl Stopped {
    fn skip(&self, index: u64, digest: &str) {
        let text = format!(r#"{{"index": {index}, "digest": "{digest}"}}"#);
        std::fs::write(self.directory.path().join("raft/skip.json"), text).unwrap();
    }

    /// Removes the database, so that the node applies the whole Raft log again.
    fn forget_content(&self) {
        for name in ["db.sqlite", "db.sqlite-wal", "db.sqlite-shm"] {
            let _ = std::fs::remove_file(self.directory.path().join(name));
        }
    }
}

async fn stop(running: Running, name: &str) -> Stopped {
    let Running { node, directory, address } = running;
    let name = name.to_owned();
    // A node that has stopped by itself returns its error.
    let _ = node.close().await;
    Stopped { name, directory, address }
}

/// Writes three rows on a cluster of three nodes. Returns the stopped nodes, and the index of the second row.
async fn stopped_cluster() -> (Vec<Stopped>, u64) {
    let nodes = cluster(3).await;
    write(&nodes[0].node, "CREATE TABLE t(a)").await;
    write(&nodes[0].node, "INSERT INTO t VALUES (1)").await;
    write(&nodes[0].node, "INSERT INTO t VALUES (2)").await;
    let index = nodes[0].node.status().applied_index;
    write(&nodes[0].node, "INSERT INTO t VALUES (3)").await;
    let last = nodes[0].node.status().applied_index;
    eventually("all apply", || nodes.iter().all(|running| running.node.status().applied_index >= last)).await;
    let mut stopped = Vec::new();
    for (running, name) in nodes.into_iter().zip(["n1", "n2", "n3"]) {
        stopped.push(stop(running, name).await);
    }
    (stopped, index)
}

/// The digest of the entry at `index`, from the error that a node reports when the file contains another one.
async fn digest_of(stopped: &Stopped, index: u64) -> String {
    let copy = copy_of(stopped.directory.path());
    let alone = r#"[{"id": "n1", "address": "127.0.0.1:1"}]"#;
    std::fs::write(copy.path().join("raft/peers.json"), alone).unwrap();
    let copied = Stopped { name: "n1".to_owned(), directory: copy, address: "127.0.0.1:1".to_owned() };
    copied.forget_content();
    copied.skip(index, "00000000");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let started = Node::start(options(copied.directory.path(), "n1", Formation::Await, listener)).await;
    let error = started.err().unwrap().to_string();
    error.split("but its digest is ").nth(1).unwrap_or_else(|| panic!("{error}"))[..8].to_owned()
}

fn copy_of(directory: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    let copied = std::process::Command::new("cp").arg("-a").arg(directory.join(".")).arg(copy.path()).status();
    assert!(copied.unwrap().success());
    copy
}

#[tokio::test]
async fn all_nodes_skip_an_entry_when_all_of_them_name_it() {
    let (mut stopped, index) = stopped_cluster().await;
    let digest = digest_of(&stopped[0], index).await;
    stopped.iter().for_each(Stopped::forget_content);
    stopped.iter().for_each(|node| node.skip(index, &digest));
    let third = stopped.pop().unwrap();
    let (mut nodes, mut seen) = revive_all(stopped).await;
    // Both wait at the entry, because the third node could apply it.
    eventually("both wait for n3", || seen.iter().all(|seen| seen.waits_for("n3"))).await;
    assert!(nodes.iter().all(|running| running.node.status().applied_index < index));
    assert!(seen.iter().all(|seen| seen.skipped.lock().unwrap().is_empty()));

    let (running, events) = revive(third).await;
    nodes.push(running);
    seen.push(events);
    eventually("a leader is ready", || nodes.iter().any(|running| running.node.is_ready_leader())).await;
    write(&nodes[0].node, "INSERT INTO t VALUES (4)").await;
    for running in &nodes {
        assert_eq!(count(&running.node, ReadLevel::Linearizable).await.unwrap(), 3);
    }
    let verification = nodes[0].node.verify(VerifyOptions::default(), None).await.unwrap();
    assert!(verification.equal, "{verification:?}");
    assert!(seen.iter().all(|seen| *seen.skipped.lock().unwrap() == [index]));

    // The decision needs neither the files of the operator nor the other nodes.
    let second = stop(nodes.remove(1), "n2").await;
    std::fs::remove_file(second.directory.path().join("raft/skip.json")).unwrap();
    second.forget_content();
    let (running, events) = revive(second).await;
    eventually("the entry is skipped again", || *events.skipped.lock().unwrap() == [index]).await;
    nodes.push(running);

    // A node that joins receives the log with the entry, and the decision.
    let joining = start("n4", Formation::Await).await;
    let leader = nodes.iter().position(|running| running.node.is_ready_leader()).unwrap_or(0);
    assert_eq!(join(&joining.node, &nodes[leader].address).await, Joined::Added);
    assert_eq!(count(&joining.node, ReadLevel::Strong).await.unwrap(), 3);
    eventually("n4 has applied the log", || joining.node.status().applied_index > index).await;
    nodes.push(joining);
    let verification = nodes[0].node.verify(VerifyOptions::default(), None).await.unwrap();
    assert!(verification.equal && verification.nodes["n4"].digest.is_some(), "{verification:?}");
    close(nodes).await;
}

#[tokio::test]
async fn no_node_skips_an_entry_that_another_one_has_applied() {
    let (mut stopped, index) = stopped_cluster().await;
    let first = stopped.remove(0);
    let digest = digest_of(&first, index).await;
    first.forget_content();
    first.skip(index, &digest);
    let mut nodes = Vec::new();
    for node in stopped {
        nodes.push(revive(node).await.0);
    }
    let (refusing, seen) = revive(first).await;
    eventually("n1 stops", || seen.stopped.lock().unwrap().is_some()).await;
    let error = seen.stopped.lock().unwrap().clone().unwrap();
    assert!(error.contains("has applied it: remove raft/skip.json and raft/skipped.json"), "{error}");
    assert!(seen.skipped.lock().unwrap().is_empty());

    let first = stop(refusing, "n1").await;
    for file in ["skip.json", "skipped.json"] {
        std::fs::remove_file(first.directory.path().join("raft").join(file)).unwrap();
    }
    let (running, _) = revive(first).await;
    assert_eq!(count(&running.node, ReadLevel::Linearizable).await.unwrap(), 3);
    nodes.push(running);
    close(nodes).await;
}

#[tokio::test]
async fn a_node_that_is_willing_remains_so_without_the_file() {
    let (mut stopped, index) = stopped_cluster().await;
    let digest = digest_of(&stopped[0], index).await;
    stopped.iter().for_each(Stopped::forget_content);
    stopped[0].skip(index, &digest);
    stopped[1].skip(index, &digest);
    let third = stopped.pop().unwrap();
    let (mut nodes, seen) = revive_all(stopped).await;
    eventually("both wait for n3", || seen.iter().all(|seen| seen.waits_for("n3"))).await;
    let second = stop(nodes.pop().unwrap(), "n2").await;
    std::fs::remove_file(second.directory.path().join("raft/skip.json")).unwrap();
    let (running, events) = revive(second).await;
    eventually("n2 still waits", || events.waits_for("n3")).await;
    assert!(running.node.status().applied_index < index);
    nodes.push(running);

    third.skip(index, &digest);
    nodes.push(revive(third).await.0);
    eventually("n2 skips the entry", || *events.skipped.lock().unwrap() == [index]).await;
    assert_eq!(count(&nodes[2].node, ReadLevel::Linearizable).await.unwrap(), 2);
    close(nodes).await;
}

#[tokio::test]
async fn a_recovered_node_decides_alone() {
    let (mut stopped, index) = stopped_cluster().await;
    let first = stopped.remove(0);
    let digest = digest_of(&first, index).await;
    first.forget_content();
    first.skip(index, &digest);
    let peers = first.directory.path().join("raft/peers.json");
    let member = |name: &str| format!(r#"{{"id": "{name}", "address": "{}"}}"#, first.address);
    std::fs::write(&peers, format!("[{}, {}]", member("n1"), member("n2"))).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let refused = Node::start(options(first.directory.path(), "n1", Formation::Await, listener)).await;
    let error = refused.err().unwrap().to_string();
    assert!(error.contains("name only this node, and let the others join with empty directories"), "{error}");

    std::fs::write(&peers, format!("[{}]", member("n1"))).unwrap();
    let (running, seen) = revive(first).await;
    eventually("n1 leads", || running.node.is_ready_leader()).await;
    assert_eq!(*seen.skipped.lock().unwrap(), [index]);
    assert_eq!(count(&running.node, ReadLevel::Linearizable).await.unwrap(), 2);
    running.node.close().await.unwrap();
}
