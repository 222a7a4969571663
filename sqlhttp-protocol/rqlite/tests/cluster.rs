//! Replies about the members of a cluster and about readiness.

#![allow(clippy::unwrap_used)] // Helper functions of tests may panic, as tests do.

use std::time::Duration;

use sqlhttp_rqlite::{NodeInfo, Readiness, Reply, encode_node, encode_nodes, encode_readiness, encode_reaped};

fn body(reply: Reply) -> String {
    String::from_utf8(reply.body).unwrap()
}

#[test]
fn nodes() {
    let n1 = NodeInfo {
        id: "n1".into(),
        api_addr: Some("http://127.0.0.1:4001".into()),
        addr: "127.0.0.1:4002".into(),
        version: "v10.2.7".into(),
        voter: true,
        reachable: true,
        leader: true,
        time: Some(Duration::from_nanos(41_878)),
        error: None,
    };
    let n2 = NodeInfo {
        id: "n2".into(),
        addr: "127.0.0.1:4112".into(),
        voter: true,
        error: Some("connection refused".into()),
        ..NodeInfo::default()
    };
    let one = r#"{"id":"n1","api_addr":"http://127.0.0.1:4001","addr":"127.0.0.1:4002","version":"v10.2.7","voter":true,"reachable":true,"leader":true,"time":0.000041878,"time_s":"41.878µs"}"#;
    let two = r#"{"id":"n2","addr":"127.0.0.1:4112","version":"","voter":true,"reachable":false,"leader":false,"error":"connection refused"}"#;
    let nodes = [n2, n1];
    assert_eq!(body(encode_nodes(&nodes, false, false)), format!(r#"{{"n1":{one},"n2":{two}}}"#));
    assert_eq!(body(encode_nodes(&nodes, true, false)), format!(r#"{{"nodes":[{one},{two}]}}"#));
    assert_eq!(body(encode_node(&nodes[1], false)), one);
    assert_eq!(body(encode_nodes(&[], true, true)), "{\n    \"nodes\": []\n}");
    assert_eq!(body(encode_nodes(&[], false, false)), "{}");
}

#[test]
fn readiness() {
    for (readiness, sync, status, want) in [
        (Readiness::Alive, false, 200, "[+]node ok"),
        (Readiness::NoLeader, false, 503, "[+]node ok\n[+]leader does not exist"),
        (
            Readiness::Removed,
            false,
            503,
            "[+]node ok\n[+]leader does not exist\n[+]this node was removed from the cluster",
        ),
        (Readiness::LeaderUnreachable("EOF"), false, 503, "[+]node ok\n[+]leader not contactable: EOF"),
        (Readiness::StoreNotReady, false, 503, "[+]node ok\n[+]leader ok\n[+]store not ready"),
        (
            Readiness::NotSynced,
            true,
            503,
            "[+]node ok\n[+]leader ok\n[+]store ok\n[+]sync timeout waiting for commit index",
        ),
        (Readiness::Ready, false, 200, "[+]node ok\n[+]leader ok\n[+]store ok\n[+]db ok"),
        (Readiness::Ready, true, 200, "[+]node ok\n[+]leader ok\n[+]store ok\n[+]sync ok\n[+]db ok"),
    ] {
        let reply = encode_readiness(readiness, sync);
        assert_eq!((reply.status, body(reply)), (status, want.to_owned()));
    }
    assert_eq!(body(encode_reaped(2, 3)), "{\"snapshots_reaped\":2,\"wals_checkpointed\":3}\n");
}
