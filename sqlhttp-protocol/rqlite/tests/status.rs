//! The documents of `/status` and `/debug/vars`, compared byte by byte with documents that a server has written.

#![allow(clippy::unwrap_used)] // Helper functions of tests may panic, as tests do.

use std::time::Duration;

use serde_json::Value as Json;
use sqlhttp_core::{Block, Changed, Column, Rows, StepOutcome, ValueRef};
use sqlhttp_rqlite::status::{
    AutoVacuum, Cluster, Discovery, DiscoveryQuery, Http, Interface, NEVER, NodeStatus, PRAGMAS, Peers, Process,
    Progress, Queue, Raft, RaftMember, RaftSettings, Settings, Sqlite, StandaloneStatus, Store, Tls,
};
use sqlhttp_rqlite::vars::{Figure, Vars};

const NODE: &str = include_str!("golden/status_node.json");
const STANDALONE: &str = include_str!("golden/status_standalone.json");
const VARS: &str = include_str!("golden/vars.json");

/// The outcome of a PRAGMA that returns one column.
fn rows(values: &[ValueRef<'_>]) -> StepOutcome {
    let mut block = Block::new(1);
    values.iter().for_each(|value| block.push_row([*value]));
    StepOutcome::Rows(Rows {
        columns: [Column { name: "value".into(), decl_type: None, table: None }].into_iter().collect(),
        blocks: vec![block],
        changed: Changed::default(),
    })
}

fn pragma(name: &str, pages: i64) -> StepOutcome {
    let value = match name {
        "busy_timeout" => 5000,
        "synchronous" => 2,
        "wal_autocheckpoint" => 1000,
        "cache_size" => -8192,
        "max_page_count" => 4_294_967_294,
        "page_count" => pages,
        "page_size" => 4096,
        "journal_mode" => return rows(&[ValueRef::Text(b"wal")]),
        "compile_options" => return rows(&[ValueRef::Text(b"ATOMIC_INTRINSICS=1"), ValueRef::Text(b"USE_URI")]),
        _ => 0,
    };
    rows(&[ValueRef::Integer(value)])
}

fn sqlite(path: &str, pages: i64) -> Sqlite {
    Sqlite {
        pragmas: PRAGMAS.iter().map(|name| pragma(name, pages)).collect(),
        writer_synchronous: 2,
        path: path.to_owned(),
        file_bytes: 4096,
        version: "3.54.1".to_owned(),
        ..Sqlite::default()
    }
}

fn process(executable: &str) -> Process {
    Process {
        server: "sqlhttp 0.1.0".to_owned(),
        executable: executable.to_owned(),
        hostname: "host".to_owned(),
        page_bytes: 4096,
        architecture: "x86_64",
        system: "linux",
        processors: 2,
        ..Process::default()
    }
}

fn standalone() -> StandaloneStatus {
    StandaloneStatus {
        process: Process {
            current_time: "2026-11-29T13:38:07.831158501Z".to_owned(),
            start_time: "2026-11-29T13:38:05.846883299Z".to_owned(),
            uptime: Duration::from_nanos(1_984_302_697),
            process_id: 22882,
            parent_id: 22881,
            threads: 6,
            ..process("/usr/bin/sqlhttp-standalone")
        },
        http: Http {
            bind_addr: "127.0.0.1:4003".to_owned(),
            queue: Queue { batch_len: 1, ..Queue::default() },
            ..Http::default()
        },
        addr: "127.0.0.1:4003".to_owned(),
        id: "s".to_owned(),
        dir: String::new(),
        ready: true,
        sqlite: Sqlite { last_modified: "2026-11-29T13:38:05.844661991Z".to_owned(), ..sqlite("s.db", 1) },
    }
}

fn node() -> NodeStatus {
    NodeStatus {
        process: Process {
            current_time: "2026-11-29T13:38:05.753494169Z".to_owned(),
            start_time: "2026-11-29T13:38:03.054712270Z".to_owned(),
            uptime: Duration::from_nanos(2_698_783_856),
            process_id: 21297,
            parent_id: 21267,
            threads: 10,
            ..process("/usr/bin/sqlhttp-cluster")
        },
        http: Http {
            bind_addr: "127.0.0.1:4001".to_owned(),
            allow_origin: Some("https://example.com".to_owned()),
            queue: Queue { batch_len: 128, capacity: 1024, sequence_number: 0, timeout: Duration::from_millis(50) },
            peers: Some(Peers { local_node_addr: "127.0.0.1:4002".to_owned(), timeout: Duration::from_secs(30) }),
            ..Http::default()
        },
        cluster: Cluster { addr: "127.0.0.1:4002".to_owned(), api_addr: "127.0.0.1:4001".to_owned(), https: false },
        extensions_dir: "/data/extensions".to_owned(),
        interfaces: interfaces(),
        last_backup_time: None,
        discovery: None,
        node_tls: false,
        store: Some(store()),
    }
}

fn interfaces() -> Vec<Interface> {
    let interface = |name: &str, flags, carrier, hardware_address: &str, addresses: &[&str]| Interface {
        name: name.to_owned(),
        addresses: addresses.iter().map(|address| (*address).to_owned()).collect(),
        flags,
        carrier,
        hardware_address: hardware_address.to_owned(),
    };
    vec![
        interface("eth0", 0x1003, true, "02:00:5e:00:53:01", &["192.0.2.2/24", "fd00::2/64"]),
        interface("ifb0", 0x82, false, "02:00:5e:00:53:02", &[]),
        interface("lo", 0x9, true, "", &["127.0.0.1/8", "::1/128"]),
    ]
}

fn store() -> Store {
    Store {
        settings: Settings {
            addr: "127.0.0.1:4002".to_owned(),
            dir: "/data".to_owned(),
            readers_max: 256,
            apply_timeout: Duration::from_secs(10),
            trailing_logs: 10240,
            ..Settings::default()
        },
        progress: Progress {
            write_index: 3,
            command_index: 3,
            ready: true,
            dir_bytes: 1_110_192,
            snapshot_name: String::new(),
        },
        raft: raft(),
        sqlite: Sqlite {
            writer_synchronous: 1,
            last_modified: "2026-11-29T13:38:05.719265770Z".to_owned(),
            wal_bytes: 24752,
            ..sqlite("/data/db.sqlite", 3)
        },
        auto_vacuum: Some(AutoVacuum { last: None, next: "2026-11-30T13:38:03.054712270Z".to_owned() }),
    }
}

fn member(id: &str, addr: &str, voter: bool, leader: bool) -> RaftMember {
    RaftMember { id: id.to_owned(), addr: addr.to_owned(), voter, leader }
}

fn raft() -> Raft {
    Raft {
        state: "Leader",
        leads: true,
        term: 1,
        commit_index: 3,
        applied_index: 3,
        last_log_index: 3,
        last_log_term: 1,
        log_bytes: 1_048_576,
        members: vec![member("n1", "127.0.0.1:4002", true, true)],
        settings: RaftSettings {
            node_id: "n1".to_owned(),
            commit_timeout: Duration::from_millis(50),
            election_timeout: Duration::from_secs(1),
            heartbeat_timeout: Duration::from_secs(1),
            leader_lease_timeout: Duration::from_millis(500),
            log_level: "WARN".to_owned(),
            snapshot_interval: Duration::from_secs(10),
            snapshot_entries: 8192,
            ..RaftSettings::default()
        },
        ..Raft::default()
    }
}

/// The part of a node's document under a key.
fn part(status: &NodeStatus, key: &str) -> Json {
    serde_json::from_slice(&status.encode(false, key)).unwrap()
}

#[test]
fn the_document_of_a_standalone_server() {
    assert_eq!(String::from_utf8(standalone().encode(true, "")).unwrap(), STANDALONE);
}

#[test]
fn the_document_of_a_node() {
    let status = node();
    assert_eq!(String::from_utf8(status.encode(true, "")).unwrap(), NODE);
    let compact: Json = serde_json::from_slice(&status.encode(false, "")).unwrap();
    assert_eq!(compact, serde_json::from_str::<Json>(NODE).unwrap());
}

#[test]
fn parts_of_the_document() {
    let status = standalone();
    assert_eq!(status.encode(true, "store.leader"), br#"{"addr":"127.0.0.1:4003","node_id":"s"}"#);
    assert_eq!(status.encode(false, "store.nope"), b"{}");
}

#[test]
fn pragmas_that_did_not_run_have_no_values() {
    let status = StandaloneStatus { sqlite: Sqlite::default(), ..standalone() };
    let all: Json = serde_json::from_slice(&status.encode(false, "store.sqlite3")).unwrap();
    assert_eq!((&all["db_size"], &all["mem_stats"]["page_count"]), (&Json::from(0), &Json::from(0)));
    assert_eq!((&all["pragmas"]["ro"]["synchronous"], &all["compile_options"]), (&"".into(), &Json::Array(Vec::new())));
}

#[test]
fn details_of_tls() {
    let tls = Tls::Described {
        ca_file: String::new(),
        cert_file: "cert.pem".to_owned(),
        client_auth: "NoClientCert",
        key_file: "key.pem".to_owned(),
        next_protos: vec!["h2", "http/1.1"],
    };
    let with = |tls| NodeStatus { http: Http { tls, ..Http::default() }, ..node() }.encode(false, "http.tls");
    let described = r#"{"ca_file":"","cert_file":"cert.pem","client_auth":"NoClientCert","enabled":"true","key_file":"key.pem","next_protos":["h2","http/1.1"]}"#;
    assert_eq!(String::from_utf8(with(tls)).unwrap(), described);
    assert_eq!(with(Tls::Enabled), br#"{"enabled":"true"}"#);
    assert_eq!(with(Tls::Disabled), br#"{"enabled":"false"}"#);
}

#[test]
fn a_node_that_only_reads() {
    let mut store = store();
    let raft = &mut store.raft;
    (raft.state, raft.leads, raft.applied_index) = ("Follower", false, 2);
    raft.members = vec![member("n0", "n0:4002", true, true), member("n1", "n1:4002", false, false)];
    raft.last_contact = Some(Duration::from_millis(15));
    store.progress.snapshot_name = "2-6-1700000000000".to_owned();
    let last_backup_time = Some("2026-11-29T13:38:05.000000000Z".to_owned());
    let status = NodeStatus { store: Some(store), last_backup_time, ..node() };
    let raft = part(&status, "store.raft");
    assert_eq!((&raft["voter"], &raft["num_peers"], &raft["fsm_pending"]), (&false.into(), &0.into(), &1.into()));
    assert_eq!((&raft["state"], &raft["last_contact"]), (&"Follower".into(), &"15ms".into()));
    let members = "[{Suffrage:Voter ID:n0 Address:n0:4002} {Suffrage:Nonvoter ID:n1 Address:n1:4002}]";
    assert_eq!(raft["latest_configuration"], members);
    assert_eq!(part(&status, "store.leader.node_id"), "n0");
    assert_eq!(part(&status, "store.snapshot_store.snapshots")[0], "2-6-1700000000000");
    assert_eq!(part(&status, "last_backup_time"), "2026-11-29T13:38:05.000000000Z");
}

#[test]
fn a_node_without_leader_that_has_applied_nothing() {
    let mut store = store();
    store.raft.members.clear();
    store.raft.leads = false;
    store.progress = Progress::default();
    store.auto_vacuum = Some(AutoVacuum { last: Some("b".to_owned()), next: "c".to_owned() });
    let store = part(&NodeStatus { store: Some(store), ..node() }, "store");
    assert_eq!(store["raft"]["last_contact"], "never");
    assert_eq!(store["leader"], serde_json::json!({ "addr": "", "node_id": "" }));
    assert_eq!((&store["fsm_term"], &store["fsm_update_time"]), (&0.into(), &NEVER.into()));
    assert_eq!((&store["ready"], &store["nodes"]), (&false.into(), &Json::Array(Vec::new())));
    assert_eq!(store["auto_vacuum"], serde_json::json!({ "last_vacuum": "b", "next_vacuum_after": "c" }));
}

#[test]
fn a_node_that_is_not_open() {
    let status = NodeStatus { store: None, ..node() };
    assert_eq!(status.encode(false, "store"), br#"{"open":false}"#);
}

#[test]
fn a_node_that_searches_for_others_between_encrypted_nodes() {
    let discovery = Discovery {
        query: DiscoveryQuery::Host { name: "db.local".to_owned(), port: 4002 },
        last_contact: Some("2026-11-29T13:38:05.000000000Z".to_owned()),
        last_addresses: vec!["10.0.0.1:4002".to_owned()],
        last_error: None,
    };
    let found = NodeStatus { discovery: Some(discovery.clone()), node_tls: true, ..node() };
    let disco = r#"{"last_addresses":["10.0.0.1:4002"],"last_contact":"2026-11-29T13:38:05.000000000Z","mode":"dns","name":"db.local","port":4002}"#;
    assert_eq!(String::from_utf8(found.encode(false, "disco")).unwrap(), disco);
    assert_eq!(part(&found, "mux.tls"), "enabled");
    let failed = Discovery { last_contact: None, last_error: Some("no such host".to_owned()), ..discovery };
    let of = |discovery| NodeStatus { discovery: Some(discovery), ..node() };
    let disco = r#"{"last_error":"no such host","mode":"dns","name":"db.local","port":4002}"#;
    assert_eq!(String::from_utf8(of(failed.clone()).encode(false, "disco")).unwrap(), disco);
    let query = DiscoveryQuery::Service { name: "db.local".to_owned(), service: "raft".to_owned() };
    let disco = r#"{"dns_name:":"_raft._tcp.db.local.","last_error":"no such host","mode":"dns-srv","name":"db.local","service":"raft"}"#;
    assert_eq!(String::from_utf8(of(Discovery { query, ..failed }).encode(false, "disco")).unwrap(), disco);
}

#[test]
fn the_document_of_counters() {
    let figures = vec![
        Figure { group: "db", name: "executions", value: 3 },
        Figure { group: "db", name: "queries", value: 2 },
        Figure { group: "http", name: "auth_ok", value: 4 },
        Figure { group: "http", name: "execute_stmts_rx", value: 2 },
        Figure { group: "http", name: "executions", value: 1 },
        Figure { group: "http", name: "num_status", value: 2 },
    ];
    let command_line = "sqlhttp-cluster -node-id n1 -http-addr 127.0.0.1:4001 -raft-addr 127.0.0.1:4002 -auto-vacuum-int 24h \
                        -http-allow-origin https://example.com /data";
    let vars = Vars {
        figures,
        command_line: command_line.split(' ').map(str::to_owned).collect(),
        resident_bytes: 53_477_376,
        address_space_bytes: 2_117_062_656,
    };
    assert_eq!(String::from_utf8(vars.encode("")).unwrap(), VARS);
}
