//! Looks up the SRV records of a service (`-disco-mode dns-srv`, RFC 2782).

use std::net::SocketAddr;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolverConfig};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::RData;

use super::Found;

/// Looks up the SRV records with this name, such as `_rqlite._tcp.example.com`, and then the IP addresses of their
/// targets. `name_server` is the name server that is asked; `None` for those of the system. Priorities and weights have
/// no effect, because all nodes are wanted.
pub(super) async fn lookup(record_name: &str, name_server: Option<SocketAddr>) -> Found {
    let mut found = Found::default();
    if let Err(error) = add_targets(record_name, name_server, &mut found).await {
        found.fail(record_name, &error);
    }
    found
}

async fn add_targets(record_name: &str, name_server: Option<SocketAddr>, found: &mut Found) -> Result<(), NetError> {
    let resolver = resolver(name_server)?;
    let records = resolver.srv_lookup(record_name).await?;
    for record in records.answers() {
        let RData::SRV(srv) = &record.data else { continue };
        match resolver.lookup_ip(srv.target.clone()).await {
            Ok(ips) => found.addresses.extend(ips.iter().map(|ip| SocketAddr::new(ip, srv.port))),
            // The record of a node that no longer exists does not hide the others.
            Err(error) => found.fail(&srv.target, &error),
        }
    }
    Ok(())
}

/// Creates a resolver. Each lookup has its own, so that it uses the current settings of the system, and no cached
/// response: a node that has just been started must be found at once.
fn resolver(name_server: Option<SocketAddr>) -> Result<TokioResolver, NetError> {
    let mut builder = match name_server {
        None => TokioResolver::builder_tokio()?,
        Some(server) => {
            let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
                connection.port = server.port();
                connection
            });
            let server = NameServerConfig::new(server.ip(), true, connections.into());
            let config = ResolverConfig::from_parts(None, Vec::new(), vec![server]);
            TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
        }
    };
    let options = builder.options_mut();
    options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
    options.cache_size = 0;
    builder.build()
}
