//! The endpoint `/status` of a node: collects the values that [`sqlhttp_rqlite::status`] encodes.
//!
//! * `directory`: the size of the data directory.
//! * `network`: the network interfaces of the machine.
//! * `store`: the part about the database and Raft.

mod directory;
mod network;
mod store;
#[cfg(test)]
pub(crate) mod tests_support;

use sqlhttp_rqlite::Params;
use sqlhttp_rqlite::status::{Cluster, Http, Interface, NodeStatus, Peers, Queue, Tls};

use super::request::Request;
use crate::api::context::AppContext;
use crate::api::rqlite::status as common;
use crate::cluster::context::ClusterContext;
use crate::http::reply::HttpResponse;
use crate::process::tls::TlsDescription;

/// Handles `/status`: returns the whole document, or only the part under `key`.
pub(crate) async fn answer(request: &Request<'_>, params: &Params) -> HttpResponse {
    request.context.counters.num_status.add(1);
    common::respond(collect(request, params).await.encode(params.pretty, &params.key))
}

/// The part of `/status` that is read from the file system and the network interfaces, which may take long.
#[derive(Default)]
struct HostFacts {
    /// The size of the data directory, in bytes.
    directory_bytes: u64,
    interfaces: Vec<Interface>,
}

impl HostFacts {
    /// Reads the size of the data directory and the network interfaces, on the blocking pool.
    async fn read(cluster: &ClusterContext) -> Self {
        let directory = cluster.config.data_dir.clone();
        let read =
            move || HostFacts { directory_bytes: directory::size(&directory), interfaces: network::interfaces() };
        tokio::task::spawn_blocking(read).await.unwrap_or_default()
    }
}

async fn collect(request: &Request<'_>, params: &Params) -> NodeStatus {
    let cluster = request.cluster;
    let host = HostFacts::read(cluster).await;
    let store = match cluster.node() {
        Some(node) => {
            let sqlite = common::sqlite(&request.exchange, params).await;
            Some(store::store(request.context, cluster, node, host.directory_bytes, sqlite))
        }
        None => None,
    };
    NodeStatus {
        process: common::process(&request.exchange),
        http: http(request.context, cluster),
        cluster: Cluster {
            addr: cluster.config.raft_adv_addr.clone(),
            api_addr: cluster.config.http_adv_addr.clone(),
            https: cluster.config.http_tls.is_some(),
        },
        node_tls: cluster.config.node_tls.is_some(),
        extensions_dir: cluster.config.data_dir.join("extensions").to_string_lossy().into_owned(),
        interfaces: host.interfaces,
        last_backup_time: request.context.identity.last_backup().map(common::rfc3339),
        discovery: cluster.discovery.as_ref().map(|discovery| discovery.status()),
        store,
    }
}

fn http(context: &AppContext, cluster: &ClusterContext) -> Http {
    let config = &cluster.config;
    Http {
        auth: cluster.auth.is_some(),
        bind_addr: context.identity.bound().map_or_else(|| config.http_addr.clone(), |bound| bound.to_string()),
        allow_origin: config.http_allow_origin.clone(),
        queue: Queue {
            batch_len: config.write_queue.batch_len,
            capacity: config.write_queue.capacity,
            sequence_number: context.identity.last_executed(),
            timeout: config.write_queue.timeout,
        },
        tls: tls(cluster.tls.as_ref()),
        peers: Some(Peers { local_node_addr: config.raft_adv_addr.clone(), timeout: config.cluster_connect_timeout }),
    }
}

fn tls(tls: Option<&TlsDescription>) -> Tls {
    let Some(tls) = tls else { return Tls::Disabled };
    Tls::Described {
        ca_file: tls.ca_file.clone(),
        cert_file: tls.cert_file.clone(),
        client_auth: tls.client_auth,
        key_file: tls.key_file.clone(),
        next_protos: tls.next_protos.clone(),
    }
}
