//! `/status` of a node: collects the facts that [`sqlhttp_rqlite::status`] encodes.

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

/// Answers with the document, or the part of it under `key`.
pub(crate) async fn answer(request: &Request<'_>, params: &Params) -> HttpResponse {
    request.app.counters.num_status.add(1);
    common::respond(collect(request, params).await.encode(params.pretty, &params.key))
}

/// The facts that are read from the file system and the network interfaces, which may take long.
#[derive(Default)]
struct Surroundings {
    /// The size of the data directory, in bytes.
    directory_bytes: u64,
    interfaces: Vec<Interface>,
}

impl Surroundings {
    /// Reads the facts on a thread for blocking work.
    async fn look(member: &ClusterContext) -> Self {
        let directory = member.config.data_dir.clone();
        let look =
            move || Surroundings { directory_bytes: directory::size(&directory), interfaces: network::interfaces() };
        tokio::task::spawn_blocking(look).await.unwrap_or_default()
    }
}

async fn collect(request: &Request<'_>, params: &Params) -> NodeStatus {
    let member = request.cluster;
    let surroundings = Surroundings::look(member).await;
    let sqlite = common::sqlite(&request.exchange, params).await;
    NodeStatus {
        process: common::process(&request.exchange),
        http: http(request.app, member),
        cluster: Cluster {
            addr: member.config.raft_adv_addr.clone(),
            api_addr: member.config.http_adv_addr.clone(),
            https: member.config.http_tls.is_some(),
        },
        extensions_dir: member.config.data_dir.join("extensions").to_string_lossy().into_owned(),
        interfaces: surroundings.interfaces,
        last_backup_time: request.app.identity.last_backup().map(common::rfc3339),
        store: store::store(request.app, member, surroundings.directory_bytes, sqlite),
    }
}

fn http(app: &AppContext, member: &ClusterContext) -> Http {
    let config = &member.config;
    Http {
        auth: member.auth.is_some(),
        bind_addr: app.identity.bound().map_or_else(|| config.http_addr.clone(), |bound| bound.to_string()),
        allow_origin: config.http_allow_origin.clone(),
        queue: Queue {
            batch_len: config.write_queue.batch_len,
            capacity: config.write_queue.capacity,
            sequence_number: app.identity.last_executed(),
            timeout: config.write_queue.timeout,
        },
        tls: tls(member.tls.as_ref()),
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
