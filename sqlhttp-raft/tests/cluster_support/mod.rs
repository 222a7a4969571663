//! Clusters of several nodes in one process, connected by real sockets.

#![allow(clippy::unwrap_used, clippy::panic, dead_code, unreachable_pub)]

pub mod links;

use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlhttp_core::{Backend, Batch, Deadline, Error, Outcome, ReadLevel, Step, StepOutcome, ValueRef};
use sqlhttp_raft::{ClusterError, Formation, Joined, Node, NodeOptions};

/// A node with its directory and its address.
pub struct Running {
    pub node: Node,
    pub directory: tempfile::TempDir,
    pub address: String,
}

pub fn options(directory: &Path, name: &str, formation: Formation, listener: TcpListener) -> NodeOptions {
    let address = listener.local_addr().unwrap().to_string();
    NodeOptions::new(directory, name, address)
        .formation(formation)
        .listener(Some(Arc::new(listener)))
        .api_url(format!("http://{name}"))
        .version("v9".to_owned())
        .heartbeat_timeout(Duration::from_millis(500))
}

pub async fn start(name: &str, formation: Formation) -> Running {
    start_with(name, formation, |options| options).await
}

pub async fn start_with(name: &str, formation: Formation, set: impl FnOnce(NodeOptions) -> NodeOptions) -> Running {
    let directory = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let options = set(options(directory.path(), name, formation, listener));
    Running { node: Node::start(options).await.unwrap(), directory, address }
}

/// Starts a leader and other nodes that join it, and waits until all of them vote.
pub async fn cluster(size: usize) -> Vec<Running> {
    cluster_with(size, |_, options| options).await
}

/// Like [`cluster`], with other options. `set` gets the number of the node, beginning with 0.
pub async fn cluster_with(size: usize, set: impl Fn(usize, NodeOptions) -> NodeOptions) -> Vec<Running> {
    let mut nodes = vec![start_with("n1", Formation::Create, |options| set(0, options)).await];
    eventually("n1 leads", || nodes[0].node.is_ready_leader()).await;
    for number in 1..size {
        let name = format!("n{}", number + 1);
        let joining = start_with(&name, Formation::Await, |options| set(number, options)).await;
        let joined = join(&joining.node, &nodes[0].address).await;
        assert_eq!(joined, Joined::Added);
        nodes.push(joining);
    }
    eventually("all nodes vote", || nodes.iter().all(|running| running.node.status().voter)).await;
    nodes
}

/// Joins the cluster of the node at `address`. Repeats the request while there is no leader, or while that node knows
/// only a leader that has ended: a busy machine can delay heartbeats until an election starts.
pub async fn join(node: &Node, address: &str) -> Joined {
    let begun = Instant::now();
    loop {
        match node.join(&[address.to_owned()], None).await {
            // A leader updates its own address.
            Err(ClusterError::Unreachable(_)) if node.is_leader() => return Joined::Unchanged,
            Err(ClusterError::NoLeader | ClusterError::Unreachable(_)) if begun.elapsed() < Duration::from_secs(30) => {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            joined => return joined.unwrap(),
        }
    }
}

pub async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < Duration::from_secs(30), "{what}: not within 30 seconds");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Takes a snapshot on each node, and purges the whole Raft log. A leader purges no entry while it sends entries to a
/// follower, so the function waits until the entries are gone.
pub async fn purge_logs(nodes: &[Running]) {
    for Running { node, .. } in nodes {
        let last = node.status().applied_index;
        node.snapshot(Some(0)).await.unwrap();
        // An empty log has the first index 0.
        eventually("the log is purged", || !(1..=last).contains(&node.status().log.first_index)).await;
    }
}

pub async fn execute(node: &Node, sql: &str) -> Result<Outcome, Error> {
    node.write_batch(Batch::one(Step::execute(sql, ())), Deadline::NEVER).await?.whole().await
}

pub async fn write(node: &Node, sql: &str) {
    let outcome = execute(node, sql).await.unwrap();
    assert!(!matches!(outcome.steps[0], StepOutcome::Failed(_)), "{sql}: {outcome:?}");
}

pub async fn count(node: &Node, level: ReadLevel) -> Result<i64, Error> {
    let read = Batch::one(Step::query("SELECT count(*) FROM t", ()));
    let outcome = node.read_batch(read, level, Deadline::NEVER).await?.whole().await?;
    let StepOutcome::Rows(rows) = &outcome.steps[0] else { panic!("{outcome:?}") };
    match rows.iter().next().unwrap().get(0) {
        Some(ValueRef::Integer(count)) => Ok(count),
        other => panic!("{other:?}"),
    }
}

pub async fn close(nodes: Vec<Running>) {
    for running in nodes {
        running.node.close().await.unwrap();
    }
}
