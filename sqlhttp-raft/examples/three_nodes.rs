//! Embeds a cluster of three nodes in one process: writes through a follower, reads on another node, stops the leader,
//! and writes through the nodes that remain. No write is lost.
//!
//! `cargo run -p sqlhttp-raft --example three_nodes`

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use sqlhttp_core::{CallOptions, Error, Executor as _, ReadLevel, Step};
use sqlhttp_raft::{ClusterError, Formation, Node, NodeOptions};
use tempfile::TempDir;

type BoxError = Box<dyn std::error::Error>;

/// The time within which each change of the cluster must have taken place.
const LIMIT: Duration = Duration::from_secs(30);
/// The interval at which the program looks whether it has.
const PAUSE: Duration = Duration::from_millis(10);

/// A node with its name and its address. The directory is removed at the end of the program.
struct Member {
    name: &'static str,
    address: String,
    node: Node,
    _directory: TempDir,
}

/// Starts a node on a free port and in an empty directory.
async fn start(name: &'static str, formation: Formation) -> Result<Member, BoxError> {
    let directory = tempfile::tempdir()?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?.to_string();
    let options = NodeOptions::new(directory.path(), name, address.as_str())
        .formation(formation)
        .listener(Some(Arc::new(listener)));
    Ok(Member { name, address, node: Node::start(options).await?, _directory: directory })
}

/// Waits until `look` returns a value.
async fn wait_for<T>(what: &str, look: impl Fn() -> Option<T>) -> Result<T, BoxError> {
    let found = async {
        loop {
            if let Some(value) = look() {
                return value;
            }
            tokio::time::sleep(PAUSE).await;
        }
    };
    tokio::time::timeout(LIMIT, found).await.map_err(|_| format!("{what}: not within {LIMIT:?}").into())
}

/// Adds a node to the cluster of the nodes at these addresses. On a busy machine, a late heartbeat can cause an
/// election, so the request is repeated while there is no leader.
async fn join(node: &Node, addresses: &[String]) -> Result<(), BoxError> {
    let joined = async {
        loop {
            match node.join(addresses, None).await {
                Err(ClusterError::NoLeader | ClusterError::Unreachable(_)) => tokio::time::sleep(PAUSE).await,
                joined => return joined,
            }
        }
    };
    tokio::time::timeout(LIMIT, joined).await??;
    Ok(())
}

/// Returns the index of the leader, if all of these nodes agree on it and it is one of them.
fn leader_of(cluster: &[Member]) -> Option<usize> {
    let leader = cluster.first()?.node.leader()?.name;
    let agreed = cluster.iter().all(|member| member.node.leader().is_some_and(|known| known.name == leader));
    cluster.iter().position(|member| agreed && member.name == leader)
}

/// Returns all events, as the node reads them at the level linearizable: the result contains every write that was
/// acknowledged before the call, by whichever node.
async fn events(node: &Node) -> Result<Vec<String>, Error> {
    let newest = CallOptions::new().level(ReadLevel::Linearizable);
    node.with(newest).query_all("SELECT name FROM events ORDER BY id", ()).await
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    // The first node creates the cluster, and the others join it. They vote when they have received the Raft log.
    let mut cluster = vec![start("n1", Formation::Create).await?];
    wait_for("n1 is leader", || leader_of(&cluster)).await?;
    for name in ["n2", "n3"] {
        let joining = start(name, Formation::Await).await?;
        let addresses: Vec<String> = cluster.iter().map(|member| member.address.clone()).collect();
        join(&joining.node, &addresses).await?;
        cluster.push(joining);
    }
    let all_vote = || cluster.iter().all(|member| member.node.status().voter).then_some(());
    wait_for("all nodes vote", all_vote).await?;
    let leader = wait_for("there is a leader", || leader_of(&cluster)).await?;
    let (follower, other) = (&cluster[(leader + 1) % 3], &cluster[(leader + 2) % 3]);
    println!("{} leads a cluster of {} nodes", cluster[leader].name, cluster.len());

    // A follower forwards writes to the leader. A call returns when a quorum has the write on disk.
    let insert = "INSERT INTO events(name) VALUES (?)";
    follower.node.execute("CREATE TABLE events(id INTEGER PRIMARY KEY, name TEXT NOT NULL)", ()).await?;
    let mut written = Vec::new();
    for number in 1..=3 {
        let name = format!("event {number}");
        follower.node.execute(insert, [name.as_str()]).await?;
        written.push(name);
    }
    // A batch is one transaction, on every node.
    let pair = ["event 4", "event 5"];
    follower.node.batch(pair.map(|name| Step::execute(insert, [name])).to_vec()).await?;
    written.extend(pair.map(str::to_owned));
    assert_eq!(events(&other.node).await?, written);
    println!("{} has written {} events, and {} reads all of them", follower.name, written.len(), other.name);

    // The leader is closed without a transfer of the leadership. The others notice only the missing heartbeats, as
    // after a crash. A planned stop begins with `Node::transfer_leadership`, which saves this time.
    let gone = cluster.remove(leader);
    gone.node.close().await?;
    println!("{} has stopped", gone.name);
    let leader = wait_for("another node is leader", || leader_of(&cluster)).await?;
    println!("{} leads in term {}", cluster[leader].name, cluster[leader].node.status().term);

    for member in &cluster {
        let name = format!("written on {}", member.name);
        member.node.execute(insert, [name.as_str()]).await?;
        written.push(name);
    }
    for member in &cluster {
        let read = events(&member.node).await?;
        assert_eq!(read, written, "a write is missing on {}", member.name);
        println!("{} reads {read:?}", member.name);
    }
    for member in &cluster {
        member.node.close().await?;
    }
    Ok(())
}
