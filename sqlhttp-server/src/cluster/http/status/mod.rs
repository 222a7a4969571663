//! `/status` of a node: everything that rqlite's tools read, and for the rest of what the original tells (of Go, of
//! bbolt) values of the same shape.

mod directory;
mod network;
mod raft;
mod store;
#[cfg(test)]
pub(crate) mod tests_support;

use serde_json::{Map, Value, json};
use sqlhttp_rqlite::{Params, format_duration};

use super::Request;
use crate::api::context::State;
use crate::api::rqlite::status as common;
use crate::cluster::config::ClusterConfig;
use crate::cluster::member::Member;
use crate::http::reply::HttpResponse;
use crate::process::tls::TlsDescription;

/// How long the original waits for the first byte that tells what a connection between nodes is for.
const MUX_TIMEOUT: &str = "30s";

/// The first bytes of connections between nodes that the original knows.
const MUX_HANDLERS: &str = "\u{2}\u{1}";

/// Tells all, or what stands under `key`.
pub(crate) async fn answer(request: &Request<'_>, params: &Params) -> HttpResponse {
    request.state.vars.num_status.add(1);
    common::respond(&all(request, params).await, params)
}

/// What the file system and the network tell, which may take a while.
struct Surroundings {
    /// What the data directory takes, in bytes.
    directory_bytes: u64,
    interfaces: Value,
}

impl Surroundings {
    async fn look(member: &Member) -> Self {
        let directory = member.config.data_dir.clone();
        let look =
            move || Surroundings { directory_bytes: directory::size(&directory), interfaces: network::interfaces() };
        let nothing = |_| Surroundings { directory_bytes: 0, interfaces: json!({}) };
        tokio::task::spawn_blocking(look).await.unwrap_or_else(nothing)
    }
}

async fn all(request: &Request<'_>, params: &Params) -> Value {
    let member = request.member;
    let surroundings = Surroundings::look(member).await;
    let sqlite3 = common::sqlite3(&request.exchange, params).await;
    let mut all = json!({
        "build": common::build(),
        "cluster": cluster(member),
        "extensions": { "dir": member.config.data_dir.join("extensions").to_string_lossy(), "names": [] },
        "http": http(request.state, member),
        "mux": mux(&member.config),
        "network": { "interfaces": surroundings.interfaces },
        "node": common::node(&request.exchange),
        "os": common::os(),
        "runtime": common::runtime(),
        "store": store::store(request.state, member, surroundings.directory_bytes, sqlite3),
    });
    if let Some(moment) = request.state.node.last_backup() {
        all["last_backup_time"] = json!(common::rfc3339(moment));
    }
    all
}

/// How other nodes reach this one.
fn cluster(member: &Member) -> Value {
    json!({
        "addr": member.config.raft_adv_addr,
        "api_addr": member.config.http_adv_addr,
        "https": member.config.http_tls.is_some().to_string(),
    })
}

fn mux(config: &ClusterConfig) -> Value {
    json!({
        "addr": config.raft_adv_addr,
        "handlers": MUX_HANDLERS,
        "timeout": MUX_TIMEOUT,
        "tls": "disabled",
    })
}

fn http(state: &State, member: &Member) -> Value {
    let config = &member.config;
    let mut http = json!({
        "auth": if member.auth.is_some() { "enabled" } else { "disabled" },
        "bind_addr": state.node.bound().map_or_else(|| config.http_addr.clone(), |bound| bound.to_string()),
        "cluster": {
            "local_node_addr": config.raft_adv_addr,
            "timeout": format_duration(config.cluster_connect_timeout),
        },
        "queue": { "_default": {
            "batch_size": config.write_queue.batch_len,
            "max_size": config.write_queue.capacity,
            "sequence_number": state.node.last_executed(),
            "timeout": format_duration(config.write_queue.timeout),
        }},
        "tls": tls(member.tls.as_ref()),
    });
    if let Some(origin) = &config.http_allow_origin {
        http["allow_origin"] = json!(origin);
    }
    http
}

fn tls(tls: Option<&TlsDescription>) -> Value {
    let Some(tls) = tls else { return json!({ "enabled": "false" }) };
    json!({
        "ca_file": tls.ca_file,
        "cert_file": tls.cert_file,
        "client_auth": tls.client_auth,
        "enabled": tls.enabled,
        "key_file": tls.key_file,
        "next_protos": tls.next_protos,
    })
}

/// An object of zeros under these names.
fn zeros(names: &[&str]) -> Value {
    names.iter().map(|name| ((*name).to_owned(), json!(0))).collect::<Map<_, _>>().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_tls_only_that_is_told() {
        assert_eq!(tls(None), json!({ "enabled": "false" }));
    }

    #[test]
    fn with_tls_its_files_are_told() {
        let described = TlsDescription {
            ca_file: String::new(),
            cert_file: "cert.pem".to_owned(),
            client_auth: "NoClientCert",
            enabled: "true",
            key_file: "key.pem".to_owned(),
            next_protos: vec!["h2", "http/1.1"],
        };
        let expected = json!({
            "ca_file": "",
            "cert_file": "cert.pem",
            "client_auth": "NoClientCert",
            "enabled": "true",
            "key_file": "key.pem",
            "next_protos": ["h2", "http/1.1"],
        });
        assert_eq!(tls(Some(&described)), expected);
    }
}
