//! Finds the other nodes with DNS (`-disco-mode dns`): the Raft addresses of all nodes have the same port, and a host
//! name resolves to all of their IP addresses.

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use serde::Deserialize;
use sqlhttp_rqlite::status::Discovery;

use crate::api::rqlite::status::rfc3339;
use crate::cluster::config::DiscoveryConfig;

/// The environment variable with addresses (`host:port`, separated by commas) that are used instead of a lookup.
const HOSTS: &str = "RQLITE_DISCO_DNS_HOSTS";

/// The host name that is looked up by default.
const NAME: &str = "rqlite";

/// The settings of the lookup, from `-disco-config`.
#[derive(Debug, Default, Deserialize)]
struct Settings {
    name: Option<String>,
    port: Option<u16>,
}

/// Looks up the addresses of the other nodes in DNS.
#[derive(Debug)]
pub(crate) struct DnsDiscovery {
    name: String,
    port: u16,
    last: Mutex<LastLookup>,
}

/// The results of the last lookups.
#[derive(Debug, Default)]
struct LastLookup {
    /// The time of the last successful lookup, and the addresses that it has found.
    found: Option<(SystemTime, Vec<String>)>,
    /// The error of the last lookup; `None` if it was successful.
    error: Option<String>,
}

impl DnsDiscovery {
    /// Creates a lookup with the settings of `-disco-config`. `raft_port` is the port of the other nodes if the
    /// settings contain none.
    pub(crate) fn new(config: &DiscoveryConfig, raft_port: u16) -> Result<DnsDiscovery, String> {
        let settings = match &config.settings {
            None => Settings::default(),
            Some(settings) => {
                let text = read(settings).map_err(|error| format!("cannot read disco config: {error}"))?;
                let text = expand_variables(&text, |name| std::env::var(name).ok());
                serde_json::from_str(&text).map_err(|error| format!("failed to parse disco config: {error}"))?
            }
        };
        Ok(DnsDiscovery {
            name: settings.name.filter(|name| !name.is_empty()).unwrap_or_else(|| NAME.to_owned()),
            port: settings.port.filter(|port| *port != 0).unwrap_or(raft_port),
            last: Mutex::default(),
        })
    }

    /// Looks up the addresses of the other nodes. Returns no address if the lookup fails.
    pub(crate) async fn addresses(&self) -> Vec<String> {
        if let Ok(hosts) = std::env::var(HOSTS)
            && !hosts.is_empty()
        {
            return hosts.split(',').map(|host| host.trim().to_owned()).collect();
        }
        match tokio::net::lookup_host((self.name.as_str(), self.port)).await {
            Ok(addresses) => self.found(addresses.map(|address| address.to_string()).collect()),
            Err(error) => {
                tracing::warn!(target: "disco-dns", "failed to resolve {}: {error}", self.name);
                self.last().error = Some(error.to_string());
                Vec::new()
            }
        }
    }

    /// Records the result of a successful lookup.
    fn found(&self, addresses: Vec<String>) -> Vec<String> {
        let mut last = self.last();
        if last.found.as_ref().is_none_or(|(_, known)| *known != addresses) {
            tracing::info!(target: "disco-dns", "resolved addresses: [{}]", addresses.join(" "));
        }
        *last = LastLookup { found: Some((SystemTime::now(), addresses.clone())), error: None };
        addresses
    }

    /// Returns the state of the lookup for `/status`.
    pub(crate) fn status(&self) -> Discovery {
        let last = self.last();
        Discovery {
            name: self.name.clone(),
            port: self.port,
            last_contact: last.found.as_ref().map(|(at, _)| rfc3339(*at)),
            last_addresses: last.found.as_ref().map(|(_, addresses)| addresses.clone()).unwrap_or_default(),
            last_error: last.error.clone(),
        }
    }

    fn last(&self) -> MutexGuard<'_, LastLookup> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the content of the file at this path or, if there is no such file, the text itself.
fn read(settings: &str) -> std::io::Result<String> {
    if Path::new(settings).is_file() { std::fs::read_to_string(settings) } else { Ok(settings.to_owned()) }
}

/// Replaces `$NAME` and `${NAME}` with the values of these variables; a variable that is not set is replaced with
/// nothing. A `$` that no name follows remains.
fn expand_variables(text: &str, value: impl Fn(&str) -> Option<String>) -> String {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        expanded.push_str(before);
        let braced = after.strip_prefix('{').and_then(|inner| inner.split_once('}'));
        let (name, after) = braced.unwrap_or_else(|| {
            let end = after.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(after.len());
            after.split_at(end)
        });
        if name.is_empty() {
            expanded.push('$');
        } else {
            expanded.push_str(&value(name).unwrap_or_default());
        }
        rest = after;
    }
    expanded.push_str(rest);
    expanded
}

#[cfg(test)]
mod tests {
    use super::*;

    fn discovery(settings: Option<&str>) -> Result<DnsDiscovery, String> {
        DnsDiscovery::new(&DiscoveryConfig { settings: settings.map(str::to_owned) }, 4002)
    }

    #[test]
    fn settings_are_json_or_a_file() {
        let of = |settings| discovery(settings).map(|discovery| (discovery.name, discovery.port));
        assert_eq!(of(None), Ok(("rqlite".to_owned(), 4002)));
        assert_eq!(of(Some(r#"{"name":"db.local","port":5}"#)), Ok(("db.local".to_owned(), 5)));
        assert_eq!(of(Some(r#"{"name":"","other":1}"#)), Ok(("rqlite".to_owned(), 4002)));
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("disco.json");
        std::fs::write(&file, r#"{"name":"in.file"}"#).unwrap();
        assert_eq!(of(file.to_str()), Ok(("in.file".to_owned(), 4002)));
        assert!(of(Some("{")).unwrap_err().starts_with("failed to parse disco config: "));
    }

    #[test]
    fn variables_are_expanded() {
        let value = |name: &str| (name == "A_1").then(|| "x".to_owned());
        for (text, expanded) in [
            ("$A_1", "x"),
            ("a${A_1}b$A_1.c", "axbx.c"),
            ("${MISSING}|$MISSING|", "||"),
            ("100$ {$}", "100$ {$}"),
            ("${A_1", "${A_1"),
        ] {
            assert_eq!(expand_variables(text, value), expanded, "{text}");
        }
    }

    #[tokio::test]
    async fn addresses_are_looked_up() {
        let found = discovery(Some(r#"{"name":"127.0.0.1","port":9}"#)).unwrap();
        assert_eq!(found.addresses().await, ["127.0.0.1:9"]);
        let status = found.status();
        assert_eq!((status.last_addresses, status.last_error), (vec!["127.0.0.1:9".to_owned()], None));
        let missing = discovery(Some(r#"{"name":"no such host"}"#)).unwrap();
        assert!(missing.addresses().await.is_empty());
        assert!(missing.status().last_error.is_some());
    }
}
