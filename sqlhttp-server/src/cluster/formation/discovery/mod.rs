//! Finds the other nodes with DNS.
//!
//! * `-disco-mode dns`: a host name resolves to the IP addresses of all nodes, whose Raft addresses have the same port.
//! * `-disco-mode dns-srv`: the SRV records of a service contain the host names and the Raft ports of all nodes.

mod settings;
mod srv;

use std::fmt::Display;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use settings::Settings;
use sqlhttp_rqlite::status::{Discovery, DiscoveryQuery};

use crate::api::rqlite::status::rfc3339;
use crate::cluster::config::{DiscoveryConfig, DiscoveryMode};

/// The environment variable with addresses (`host:port`, separated by commas) that are used instead of a lookup.
const HOSTS: &str = "RQLITE_DISCO_DNS_HOSTS";

/// Looks up the addresses of the other nodes in DNS.
#[derive(Debug)]
pub(crate) struct DnsDiscovery {
    query: DiscoveryQuery,
    /// The name server that is asked for SRV records; `None` for those of the system.
    name_server: Option<SocketAddr>,
    last: Mutex<LastLookup>,
}

/// The result of a lookup. It may contain both addresses and errors, because SRV records have several targets.
#[derive(Debug, Default)]
struct Found {
    addresses: Vec<SocketAddr>,
    errors: Vec<String>,
}

impl Found {
    /// Adds the error of the name `name`.
    fn fail(&mut self, name: impl Display, error: &dyn Display) {
        self.errors.push(format!("failed to resolve {name}: {error}"));
    }
}

/// The results of the last lookups.
#[derive(Debug, Default)]
struct LastLookup {
    /// The time of the last successful lookup, and the addresses that it has found.
    found: Option<(SystemTime, Vec<String>)>,
    /// The first error of the last lookup; `None` if it was successful.
    error: Option<String>,
}

impl DnsDiscovery {
    /// Creates a lookup with the settings of `-disco-config`. `raft_port` is the port of the other nodes in the mode
    /// `dns` if the settings contain none.
    pub(crate) fn new(config: &DiscoveryConfig, raft_port: u16) -> Result<DnsDiscovery, String> {
        let settings = Settings::load(config.settings.as_deref())?;
        let name = settings.name();
        let query = match config.mode {
            DiscoveryMode::Dns => DiscoveryQuery::Host { name, port: settings.port().unwrap_or(raft_port) },
            DiscoveryMode::DnsSrv => DiscoveryQuery::Service { name, service: settings.service() },
        };
        Ok(DnsDiscovery { query, name_server: settings.name_server()?, last: Mutex::default() })
    }

    /// Looks up the addresses of the other nodes. Returns no address if the lookup fails.
    pub(crate) async fn addresses(&self) -> Vec<String> {
        if let Ok(hosts) = std::env::var(HOSTS)
            && !hosts.is_empty()
        {
            return hosts.split(',').map(|host| host.trim().to_owned()).collect();
        }
        let Found { addresses, errors } = match &self.query {
            DiscoveryQuery::Host { name, port } => lookup_host(name, *port).await,
            DiscoveryQuery::Service { name, service } => {
                srv::lookup(&format!("_{service}._tcp.{name}"), self.name_server).await
            }
        };
        let mut addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
        addresses.sort();
        addresses.dedup();
        errors.iter().for_each(|error| match self.query {
            DiscoveryQuery::Host { .. } => tracing::warn!(target: "disco-dns", "{error}"),
            DiscoveryQuery::Service { .. } => tracing::warn!(target: "disco-dnssrv", "{error}"),
        });
        self.record(&addresses, errors.into_iter().next());
        addresses
    }

    /// Records the result of a lookup.
    fn record(&self, addresses: &[String], error: Option<String>) {
        let mut last = self.last();
        last.error = error;
        if addresses.is_empty() {
            return;
        }
        if last.found.as_ref().is_none_or(|(_, known)| *known != addresses) {
            let shown = addresses.join(" ");
            match self.query {
                DiscoveryQuery::Host { .. } => tracing::info!(target: "disco-dns", "resolved addresses: [{shown}]"),
                DiscoveryQuery::Service { .. } => {
                    tracing::info!(target: "disco-dnssrv", "resolved addresses: [{shown}]");
                }
            }
        }
        last.found = Some((SystemTime::now(), addresses.to_owned()));
    }

    /// Returns the state of the lookup for `/status`.
    pub(crate) fn status(&self) -> Discovery {
        let last = self.last();
        Discovery {
            query: self.query.clone(),
            last_contact: last.found.as_ref().map(|(at, _)| rfc3339(*at)),
            last_addresses: last.found.as_ref().map(|(_, addresses)| addresses.clone()).unwrap_or_default(),
            last_error: last.error.clone(),
        }
    }

    fn last(&self) -> MutexGuard<'_, LastLookup> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Looks up the IP addresses of a host in the way of the system, which includes `/etc/hosts`.
async fn lookup_host(name: &str, port: u16) -> Found {
    let mut found = Found::default();
    match tokio::net::lookup_host((name, port)).await {
        Ok(addresses) => found.addresses.extend(addresses),
        Err(error) => found.fail(name, &error),
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn discovery(mode: DiscoveryMode, settings: Option<&str>) -> Result<DnsDiscovery, String> {
        DnsDiscovery::new(&DiscoveryConfig { mode, settings: settings.map(str::to_owned) }, 4002)
    }

    #[test]
    fn settings_are_json_or_a_file() {
        let of = |settings| discovery(DiscoveryMode::Dns, settings).map(|discovery| discovery.query);
        let host = |name: &str, port| Ok(DiscoveryQuery::Host { name: name.to_owned(), port });
        assert_eq!(of(None), host("rqlite", 4002));
        assert_eq!(of(Some(r#"{"name":"db.local","port":5}"#)), host("db.local", 5));
        assert_eq!(of(Some(r#"{"name":"","port":0,"other":1}"#)), host("rqlite", 4002));
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("disco.json");
        std::fs::write(&file, r#"{"name":"in.file"}"#).unwrap();
        assert_eq!(of(file.to_str()), host("in.file", 4002));
        assert!(of(Some("{")).unwrap_err().starts_with("failed to parse disco config: "));
    }

    #[test]
    fn settings_of_a_service() {
        let of = |settings| discovery(DiscoveryMode::DnsSrv, settings);
        let service =
            |name: &str, service: &str| DiscoveryQuery::Service { name: name.to_owned(), service: service.to_owned() };
        assert_eq!(of(None).unwrap().query, service("rqlite", "rqlite"));
        let settings = r#"{"name":"db.local","service":"raft","name_server":"10.0.0.2"}"#;
        let found = of(Some(settings)).unwrap();
        assert_eq!((found.query, found.name_server), (service("db.local", "raft"), "10.0.0.2:53".parse().ok()));
        assert!(of(Some(r#"{"name_server":"ns"}"#)).unwrap_err().contains("name_server"));
    }

    #[tokio::test]
    async fn addresses_are_looked_up() {
        let found = discovery(DiscoveryMode::Dns, Some(r#"{"name":"127.0.0.1","port":9}"#)).unwrap();
        assert_eq!(found.addresses().await, ["127.0.0.1:9"]);
        let status = found.status();
        assert_eq!((status.last_addresses, status.last_error), (vec!["127.0.0.1:9".to_owned()], None));
        let missing = discovery(DiscoveryMode::Dns, Some(r#"{"name":"no such host"}"#)).unwrap();
        assert!(missing.addresses().await.is_empty());
        assert!(missing.status().last_error.is_some());
    }
}
