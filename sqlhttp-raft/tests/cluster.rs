//! Clusters of several nodes in one process, connected by real sockets.

#![allow(clippy::unwrap_used, clippy::panic)]

mod cluster_support;

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use cluster_support::*;
use sqlhttp_core::{Deadline, Error, ReadLevel, StepOutcome};
use sqlhttp_raft::{BootstrapState, ClusterError, Formation, Joined, Node, NodeOptions};

#[tokio::test]
async fn every_node_writes_and_reads_at_every_level() {
    let nodes = cluster(3).await;
    write(&nodes[1].node, "CREATE TABLE t(a INTEGER PRIMARY KEY, b TEXT DEFAULT (hex(randomblob(8))))").await;
    for (number, running) in nodes.iter().enumerate() {
        write(&running.node, "INSERT INTO t(b) VALUES ('x')").await;
        for reader in &nodes {
            for level in [ReadLevel::Weak, ReadLevel::Auto, ReadLevel::Linearizable, ReadLevel::Strong] {
                assert_eq!(count(&reader.node, level).await.unwrap(), number as i64 + 1, "{level:?}");
            }
        }
    }
    let names: Vec<_> = nodes.iter().map(|running| running.node.leader().unwrap().name).collect();
    assert_eq!(names, ["n1", "n1", "n1"]);
    let info = nodes[2].node.peer_info(&nodes[1].address, Duration::from_secs(5)).await.unwrap();
    assert_eq!((info.api_url.as_str(), info.version.as_str()), ("http://n2", "v9"));
    close(nodes).await;
}

#[tokio::test]
async fn a_follower_reports_the_failure_of_a_statement() {
    let nodes = cluster(2).await;
    let outcome = execute(&nodes[1].node, "INSERT INTO missing VALUES (1)").await.unwrap();
    let StepOutcome::Failed(failure) = &outcome.steps[0] else { panic!("{outcome:?}") };
    assert_eq!(failure.to_string(), "no such table: missing");
    close(nodes).await;
}

#[tokio::test]
async fn writes_go_on_after_the_leader_has_gone() {
    let mut nodes = cluster(3).await;
    write(&nodes[0].node, "CREATE TABLE t(a)").await;
    let leader = nodes.remove(0);
    // The other nodes are not notified: the node is closed without a transfer of the leadership.
    leader.node.close().await.unwrap();
    write(&nodes[0].node, "INSERT INTO t VALUES (1)").await;
    write(&nodes[1].node, "INSERT INTO t VALUES (2)").await;
    for running in &nodes {
        assert_eq!(count(&running.node, ReadLevel::Linearizable).await.unwrap(), 2);
        assert_ne!(running.node.leader().unwrap().name, "n1");
    }
    close(nodes).await;
}

/// Locks the database of a node against its writer, as a full disk would stop it, until the returned value is dropped.
async fn stall(running: &Running) -> rusqlite::Connection {
    let other = rusqlite::Connection::open(running.directory.path().join("db.sqlite")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    write_some(running).await;
    eventually("the node waits", || running.node.waits_for().is_some()).await;
    other
}

/// Begins a write and does not wait for its outcome.
async fn write_some(running: &Running) {
    let node = running.node.clone();
    tokio::spawn(async move { execute(&node, "INSERT INTO t VALUES (0)").await });
}

#[tokio::test]
async fn a_leader_that_cannot_write_hands_over() {
    let nodes = cluster(3).await;
    write(&nodes[0].node, "CREATE TABLE t(a)").await;
    let lock = stall(&nodes[0]).await;
    eventually("another node leads", || nodes[1].node.leader().is_some_and(|leader| leader.name != "n1")).await;
    write(&nodes[1].node, "INSERT INTO t VALUES (1)").await;
    drop(lock);
    eventually("n1 applies again", || nodes[0].node.status().applied_index == nodes[1].node.status().applied_index)
        .await;
    assert_eq!(count(&nodes[0].node, ReadLevel::Linearizable).await.unwrap(), 2);
    close(nodes).await;
}

#[tokio::test]
async fn a_read_is_not_stale_on_a_node_that_cannot_apply() {
    let nodes = cluster(3).await;
    write(&nodes[0].node, "CREATE TABLE t(a)").await;
    let lock = stall(&nodes[2]).await;
    for (number, level) in [ReadLevel::Weak, ReadLevel::Auto, ReadLevel::Linearizable].into_iter().enumerate() {
        write(&nodes[0].node, "INSERT INTO t VALUES (1)").await;
        assert_eq!(count(&nodes[2].node, level).await.unwrap(), number as i64 + 2, "{level:?}");
    }
    drop(lock);
    close(nodes).await;
}

#[tokio::test]
async fn a_node_that_cannot_write_does_not_become_leader() {
    let mut nodes = cluster(1).await;
    // n2 waits longer than n3 before it starts an election.
    for (name, timeout) in [("n2", 1000), ("n3", 500)] {
        let slow = |options: NodeOptions| options.heartbeat_timeout(Duration::from_millis(timeout));
        let joining = start_with(name, Formation::Await, slow).await;
        join(&joining.node, &nodes[0].address).await;
        nodes.push(joining);
    }
    eventually("all nodes vote", || nodes.iter().all(|running| running.node.status().voter)).await;
    write(&nodes[0].node, "CREATE TABLE t(a)").await;
    let lock = stall(&nodes[2]).await;
    let leader = nodes.remove(0);
    leader.node.close().await.unwrap();
    let next = || nodes[0].node.leader().filter(|leader| leader.name != "n1");
    eventually("another node leads", || next().is_some()).await;
    assert_eq!(next().unwrap().name, "n2");
    drop(lock);
    write(&nodes[1].node, "INSERT INTO t VALUES (1)").await;
    close(nodes).await;
}

#[tokio::test]
async fn without_a_quorum_nothing_is_served_but_local_reads() {
    let mut nodes = cluster(3).await;
    write(&nodes[0].node, "CREATE TABLE t(a)").await;
    eventually("n3 has applied the table", || {
        nodes[2].node.status().applied_index == nodes[0].node.status().applied_index
    })
    .await;
    let last = nodes.pop().unwrap();
    close(nodes).await;
    assert!(matches!(execute(&last.node, "INSERT INTO t VALUES (1)").await, Err(Error::NoLeader)));
    for level in [ReadLevel::Weak, ReadLevel::Linearizable, ReadLevel::Strong] {
        assert!(matches!(count(&last.node, level).await, Err(Error::NoLeader)), "{level:?}");
    }
    assert_eq!(count(&last.node, ReadLevel::None).await.unwrap(), 0);
    assert!(last.node.leader().is_none());
    close(vec![last]).await;
}

#[tokio::test]
async fn a_leader_without_a_quorum_stops_serving_weak_reads() {
    let mut nodes = cluster(3).await;
    write(&nodes[0].node, "CREATE TABLE t(a)").await;
    assert_eq!(count(&nodes[0].node, ReadLevel::Weak).await.unwrap(), 0);
    let others = nodes.split_off(1);
    close(others).await;
    eventually("the leader has lost its lease", || !nodes[0].node.is_ready_leader()).await;
    assert!(matches!(count(&nodes[0].node, ReadLevel::Weak).await, Err(Error::NoLeader)));
    assert!(nodes[0].node.leader().is_none());
    close(nodes).await;
}

#[tokio::test]
async fn a_follower_that_lags_behind_waits_for_the_acknowledged_writes() {
    let nodes = cluster(3).await;
    write(&nodes[0].node, "CREATE TABLE t(a)").await;
    let follower = &nodes[2];
    follower.node.apply_acknowledged(Deadline::NEVER).await.unwrap();
    // While another connection holds the lock for writing, the follower cannot apply a write.
    let other = rusqlite::Connection::open(follower.directory.path().join("db.sqlite")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    write(&nodes[0].node, "INSERT INTO t VALUES (1)").await;
    for level in [ReadLevel::Linearizable, ReadLevel::Strong] {
        assert_eq!(count(&follower.node, level).await.unwrap(), 1, "the leader runs the read: {level:?}");
    }
    let deadline = Deadline::after(Instant::now(), Duration::from_secs(1));
    assert!(matches!(follower.node.apply_acknowledged(deadline).await, Err(Error::Timeout)));
    other.execute_batch("ROLLBACK").unwrap();
    drop(other);
    follower.node.apply_acknowledged(Deadline::NEVER).await.unwrap();
    assert_eq!(count(&follower.node, ReadLevel::None).await.unwrap(), 1);
    close(nodes).await;
}

#[tokio::test]
async fn leadership_is_transferred_and_members_are_removed() {
    let nodes = cluster(3).await;
    write(&nodes[0].node, "CREATE TABLE t(a)").await;
    nodes[1].node.transfer_leadership(Some("n3"), None).await.unwrap();
    eventually("all nodes follow n3", || {
        nodes.iter().all(|running| running.node.leader().is_some_and(|leader| leader.name == "n3"))
    })
    .await;
    let refused = nodes[0].node.transfer_leadership(Some("n9"), None).await;
    assert_eq!(refused, Err(ClusterError::Refused("node not found in cluster".to_owned())));
    nodes[0].node.remove_member("n2", None).await.unwrap();
    // Removing a node that is no member is no error.
    nodes[0].node.remove_member("n2", None).await.unwrap();
    let names: Vec<_> = nodes[2].node.status().members.into_iter().map(|member| member.name).collect();
    assert_eq!(names, ["n1", "n3"]);
    write(&nodes[0].node, "INSERT INTO t VALUES (1)").await;
    close(nodes).await;
}

#[tokio::test]
async fn a_restarted_node_catches_up_and_rejoins_with_another_address() {
    let mut nodes = cluster(3).await;
    write(&nodes[0].node, "CREATE TABLE t(a)").await;
    let Running { node, directory, .. } = nodes.pop().unwrap();
    node.close().await.unwrap();
    drop(node);
    for number in 0..20 {
        write(&nodes[1].node, &format!("INSERT INTO t VALUES ({number})")).await;
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let restarted = options(directory.path(), "n3", Formation::Await, listener);
    let node = Node::start(restarted).await.unwrap();
    assert_eq!(join(&node, &nodes[1].address).await, Joined::Added);
    assert_eq!(join(&node, &nodes[0].address).await, Joined::Unchanged);
    assert_eq!(count(&node, ReadLevel::Linearizable).await.unwrap(), 20);
    let known = nodes[0].node.status().members.into_iter().find(|member| member.name == "n3").unwrap();
    assert_eq!((known.raft_address, known.voter), (address, true));
    node.close().await.unwrap();
    close(nodes).await;
}

#[tokio::test]
async fn a_node_with_an_empty_disk_replaces_its_former_self() {
    let mut nodes = cluster(3).await;
    write(&nodes[0].node, "CREATE TABLE t(a)").await;
    nodes.pop().unwrap().node.close().await.unwrap();
    let fresh = start("n3", Formation::Await).await;
    assert_eq!(join(&fresh.node, &nodes[0].address).await, Joined::Added);
    eventually("the new n3 votes", || fresh.node.status().voter).await;
    let members = nodes[0].node.status().members;
    assert_eq!(members.iter().filter(|member| member.name == "n3").count(), 1);
    assert_eq!(members.len(), 3);
    nodes.push(fresh);
    close(nodes).await;
}

#[tokio::test]
async fn a_read_replica_never_votes_and_reads_locally() {
    let mut nodes = cluster(1).await;
    write(&nodes[0].node, "CREATE TABLE t(a)").await;
    let replica = start_with("r1", Formation::Await, |options| options.non_voter(true)).await;
    join(&replica.node, &nodes[0].address).await;
    eventually("the replica has the table", || replica.node.status().applied_index > 0).await;
    write(&replica.node, "INSERT INTO t VALUES (1)").await;
    assert_eq!(count(&replica.node, ReadLevel::Weak).await.unwrap(), 1);
    assert_eq!(count(&replica.node, ReadLevel::Auto).await.unwrap(), 1);
    assert!(!replica.node.status().voter);
    nodes.pop().unwrap().node.close().await.unwrap();
    // The level auto of a replica needs no leader.
    assert_eq!(count(&replica.node, ReadLevel::Auto).await.unwrap(), 1);
    close(vec![replica]).await;
}

#[tokio::test]
async fn nodes_that_know_only_their_addresses_form_one_cluster() {
    let mut nodes = Vec::new();
    for name in ["a", "b", "c"] {
        nodes.push(start(name, Formation::Await).await);
    }
    let targets: Vec<String> = nodes.iter().map(|running| running.address.clone()).collect();
    let begun = Instant::now();
    loop {
        let mut states = Vec::new();
        for running in &nodes {
            states.push(running.node.bootstrap(&targets, 3).await.unwrap());
        }
        if states.iter().all(|state| *state == BootstrapState::Formed) {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "{states:?}");
    }
    write(&nodes[2].node, "CREATE TABLE t(a)").await;
    assert_eq!(count(&nodes[0].node, ReadLevel::Linearizable).await.unwrap(), 0);
    assert_eq!(nodes[1].node.status().members.iter().filter(|member| member.voter).count(), 3);
    close(nodes).await;
}

#[tokio::test]
async fn a_node_of_another_cluster_is_refused() {
    let (one, other) = (start("n1", Formation::Create).await, start("n2", Formation::Create).await);
    eventually("both lead", || one.node.is_ready_leader() && other.node.is_ready_leader()).await;
    let refused = other.node.join(std::slice::from_ref(&one.address), None).await;
    let Err(ClusterError::Unreachable(why)) = refused else { panic!("{refused:?}") };
    assert!(why.contains("another cluster") || why.contains("same Raft id"), "{why}");
    let own = one.node.join(std::slice::from_ref(&one.address), None).await;
    let Err(ClusterError::Unreachable(why)) = own else { panic!("{own:?}") };
    assert!(why.contains("of this node"), "{why}");
    close(vec![one, other]).await;
}

#[tokio::test]
async fn garbage_on_the_port_for_nodes_is_closed() {
    use std::io::{Read as _, Write as _};

    let nodes = cluster(1).await;
    for garbage in [&b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..], &[0xff; 64], b"sqlhttpN\xff\xff\xff\xffaaaaaaaaaaaaaaaa"]
    {
        let address = nodes[0].address.clone();
        let garbage = garbage.to_vec();
        let closed = tokio::task::spawn_blocking(move || {
            let mut stream = std::net::TcpStream::connect(address).unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            stream.write_all(&garbage).unwrap();
            let mut rest = Vec::new();
            match stream.read_to_end(&mut rest) {
                Ok(_) => true,
                Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
            }
        });
        assert!(closed.await.unwrap());
    }
    write(&nodes[0].node, "CREATE TABLE t(a)").await;
    close(nodes).await;
}

/// Opens a connection as a node that belongs to no cluster, and sends a frame of this length after the hello.
fn connect_as_stranger(address: &str, len: usize) -> std::net::TcpStream {
    use std::io::Write as _;

    let frame = |kind: u8, id: u32, body: &[u8]| {
        let checked = [&[kind][..], &id.to_le_bytes(), body].concat();
        let (len, crc) = (u32::try_from(body.len()).unwrap(), crc32fast::hash(&checked));
        [&len.to_le_bytes()[..], &[kind], &id.to_le_bytes(), &crc.to_le_bytes(), body].concat()
    };
    // The version, the purpose "control", no cluster, the ids of the node and of its directory, no wanted node.
    let hello = postcard::to_stdvec(&(1u16, 0u32, 0u128, 77u64, 99u128, None::<u64>)).unwrap();
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream.write_all(&[b"sqlhttpN", &frame(1, 0, &hello)[..]].concat()).unwrap();
    // The write fails if the connection is closed meanwhile.
    let _ = stream.write_all(&frame(15, 1, &vec![0; len]));
    stream
}

/// Reads from a connection until it is closed. Returns the number of bytes.
fn read_to_end(mut stream: std::net::TcpStream) -> usize {
    use std::io::Read as _;

    let mut bytes = Vec::new();
    match stream.read_to_end(&mut bytes) {
        Err(error) if error.kind() != std::io::ErrorKind::ConnectionReset => panic!("{error}"),
        _ => bytes.len(),
    }
}

#[tokio::test]
async fn a_long_message_of_a_stranger_closes_the_connection() {
    let nodes = cluster(1).await;
    let address = nodes[0].address.clone();
    let closed = tokio::task::spawn_blocking(move || read_to_end(connect_as_stranger(&address, 65 << 10)));
    // The node has responded to the hello, but not to the message.
    assert!(closed.await.unwrap() < 100);
    close(nodes).await;
}

#[tokio::test]
async fn strangers_do_not_keep_a_node_from_joining() {
    let nodes = cluster(1).await;
    let address = nodes[0].address.clone();
    let strangers = tokio::task::spawn_blocking(move || {
        let silent = (0..150).map(|_| std::net::TcpStream::connect(&address).unwrap());
        let greeted = (0..150).map(|_| connect_as_stranger(&address, 0));
        silent.chain(greeted).collect::<Vec<_>>()
    });
    let strangers = strangers.await.unwrap();
    let joining = start("n2", Formation::Await).await;
    assert_eq!(join(&joining.node, &nodes[0].address).await, Joined::Added);
    eventually("the node votes", || joining.node.status().voter).await;
    drop(strangers);
    close(nodes.into_iter().chain([joining]).collect()).await;
}

#[tokio::test]
async fn a_node_that_needs_purged_entries_receives_a_snapshot() {
    let nodes = cluster(2).await;
    write(&nodes[0].node, "CREATE TABLE t(a, b)").await;
    for number in 0..10 {
        let insert = format!(
            "INSERT INTO t WITH n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100) \
             SELECT {number}, hex(randomblob(500)) FROM n"
        );
        write(&nodes[0].node, &insert).await;
    }
    purge_logs(&nodes).await;
    let late = start("n3", Formation::Await).await;
    join(&late.node, &nodes[1].address).await;
    eventually("n3 votes", || late.node.status().voter).await;
    assert_eq!(late.node.status().totals.snapshots_installed, 1);
    for number in 0..10 {
        write(&late.node, &format!("INSERT INTO t VALUES ({number}, 'x')")).await;
    }
    assert_eq!(count(&late.node, ReadLevel::Linearizable).await.unwrap(), 1010);
    // The snapshot is the content of the node after a restart, too, and the log continues after it.
    let Running { node, directory, .. } = late;
    node.close().await.unwrap();
    drop(node);
    write(&nodes[0].node, "INSERT INTO t VALUES (0, 'y')").await;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let node = Node::start(options(directory.path(), "n3", Formation::Await, listener)).await.unwrap();
    join(&node, &nodes[0].address).await;
    assert_eq!(count(&node, ReadLevel::Linearizable).await.unwrap(), 1011);
    assert_eq!(node.status().totals.snapshots_installed, 0);
    node.close().await.unwrap();
    close(nodes).await;
}

/// Counts the connections to an address until the returned function is called.
fn count_connections(address: &str) -> impl FnOnce() -> usize {
    let listener = TcpListener::bind(address).unwrap();
    listener.set_nonblocking(true).unwrap();
    let ended = Arc::new(AtomicBool::new(false));
    let counted = std::thread::spawn({
        let ended = ended.clone();
        move || {
            let mut count = 0;
            while !ended.load(Ordering::Relaxed) {
                match listener.accept() {
                    Ok(_) => count += 1,
                    Err(_) => std::thread::sleep(Duration::from_millis(1)),
                }
            }
            count
        }
    });
    move || {
        ended.store(true, Ordering::Relaxed);
        counted.join().unwrap()
    }
}

#[tokio::test]
async fn a_leader_pauses_between_attempts_to_reach_a_node_that_does_not_run() {
    let mut nodes = cluster(3).await;
    write(&nodes[0].node, "CREATE TABLE t(a)").await;
    let Running { node, address, .. } = nodes.pop().unwrap();
    node.close().await.unwrap();
    drop(node);
    let (connections, begun) = (count_connections(&address), Instant::now());
    while begun.elapsed() < Duration::from_secs(2) {
        write(&nodes[0].node, "INSERT INTO t VALUES (1)").await;
    }
    // The leader connects for each heartbeat (50 ms) and for each attempt to send entries (100 ms). The limit is about
    // three times that number.
    let most = usize::try_from(begun.elapsed().as_millis() / 10).unwrap();
    let count = connections();
    assert!(count < most, "{count} connections");
    close(nodes).await;
}

#[tokio::test]
async fn a_follower_that_was_away_for_long_receives_a_snapshot() {
    let mut nodes = cluster(3).await;
    write(&nodes[0].node, "CREATE TABLE t(a, b)").await;
    let Running { node, directory, .. } = nodes.pop().unwrap();
    node.close().await.unwrap();
    drop(node);
    for number in 0..50 {
        write(&nodes[0].node, &format!("INSERT INTO t VALUES ({number}, 'x')")).await;
    }
    purge_logs(&nodes).await;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let node = Node::start(options(directory.path(), "n3", Formation::Await, listener)).await.unwrap();
    join(&node, &nodes[0].address).await;
    assert_eq!(count(&node, ReadLevel::Linearizable).await.unwrap(), 50);
    // The leader may have run the read, because the node lagged behind.
    eventually("n3 has installed the snapshot", || node.status().totals.snapshots_installed == 1).await;
    write(&nodes[0].node, "INSERT INTO t VALUES (99, 'x')").await;
    assert_eq!(count(&node, ReadLevel::Strong).await.unwrap(), 51);
    node.close().await.unwrap();
    close(nodes).await;
}

#[tokio::test]
async fn a_cluster_without_a_quorum_is_recovered_by_peers_json() {
    let mut nodes = cluster(3).await;
    write(&nodes[0].node, "CREATE TABLE t(a)").await;
    write(&nodes[0].node, "INSERT INTO t VALUES (1)").await;
    eventually("n2 has applied everything", || {
        nodes[1].node.status().applied_index == nodes[0].node.status().applied_index
    })
    .await;
    close(vec![nodes.pop().unwrap()]).await;
    let remaining: Vec<_> = nodes.drain(..).map(|running| (running.node, running.directory)).collect();
    let mut directories = Vec::new();
    for (node, directory) in remaining {
        node.close().await.unwrap();
        directories.push(directory);
    }
    let listeners: Vec<_> = (0..2).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let addresses: Vec<_> = listeners.iter().map(|listener| listener.local_addr().unwrap().to_string()).collect();
    let peers = format!(r#"[{{"id":"n1","address":"{}"}},{{"id":"n2","address":"{}"}}]"#, addresses[0], addresses[1]);
    let mut recovered = Vec::new();
    for ((directory, listener), name) in directories.into_iter().zip(listeners).zip(["n1", "n2"]) {
        std::fs::write(directory.path().join("raft/peers.json"), &peers).unwrap();
        let node = Node::start(options(directory.path(), name, Formation::Create, listener)).await.unwrap();
        assert!(directory.path().join("raft/peers.info").exists());
        assert!(!directory.path().join("raft/install.json").exists());
        recovered.push((node, directory));
    }
    write(&recovered[1].0, "INSERT INTO t VALUES (2)").await;
    assert_eq!(count(&recovered[0].0, ReadLevel::Linearizable).await.unwrap(), 2);
    let names: Vec<_> = recovered[0].0.status().members.into_iter().map(|member| member.name).collect();
    assert_eq!(names, ["n1", "n2"]);
    for (node, _) in recovered {
        node.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_database_file_is_loaded_through_any_node() {
    let nodes = cluster(3).await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("loaded.db");
    let connection = rusqlite::Connection::open(&file).unwrap();
    connection.execute_batch("CREATE TABLE t(a); INSERT INTO t VALUES (1), (2), (3)").unwrap();
    connection.close().unwrap();
    nodes[1].node.load(file.clone()).await.unwrap();
    assert!(!file.exists());
    for running in &nodes {
        assert_eq!(count(&running.node, ReadLevel::Linearizable).await.unwrap(), 3);
    }
    std::fs::write(&file, "not a database").unwrap();
    assert!(nodes[2].node.load(file).await.is_err());
    close(nodes).await;
}

#[tokio::test]
async fn a_node_with_other_settings_cannot_join() {
    let nodes = cluster(1).await;
    let with_keys = |options: NodeOptions| {
        let database = options.database.clone().foreign_keys(true);
        options.database(database)
    };
    let in_rome = |options: NodeOptions| {
        let time_zone = "Europe/Rome".parse().unwrap();
        let database = options.database.clone().time_zone(time_zone);
        options.database(database)
    };
    for (joining, flag) in [
        (start_with("n2", Formation::Await, with_keys).await, "-fk"),
        (start_with("n3", Formation::Await, in_rome).await, "-time-zone"),
    ] {
        let refused = joining.node.join(&[nodes[0].address.clone()], None).await;
        let Err(ClusterError::Refused(why)) = refused else { panic!("{refused:?}") };
        assert!(why.contains(flag), "{why}");
        close(vec![joining]).await;
    }
    close(nodes).await;
}
