//! The settings of a discovery, from `-disco-config`.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use serde::Deserialize;

/// The port of name servers.
const DNS_PORT: u16 = 53;

/// The settings of a discovery. Members that are not known are ignored, as in rqlite.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Settings {
    name: Option<String>,
    port: Option<u16>,
    service: Option<String>,
    name_server: Option<String>,
}

impl Settings {
    /// Reads the value of `-disco-config`: the path of a JSON file, or JSON. Replaces variables of the environment.
    pub(super) fn load(settings: Option<&str>) -> Result<Settings, String> {
        let Some(settings) = settings else { return Ok(Settings::default()) };
        let text = read(settings).map_err(|error| format!("cannot read disco config: {error}"))?;
        let text = expand_variables(&text, |name| std::env::var(name).ok());
        serde_json::from_str(&text).map_err(|error| format!("failed to parse disco config: {error}"))
    }

    /// The host name or the domain that is looked up.
    pub(super) fn name(&self) -> String {
        or_rqlite(self.name.as_deref())
    }

    /// The Raft port of the other nodes; `None` if the settings contain none.
    pub(super) fn port(&self) -> Option<u16> {
        self.port.filter(|port| *port != 0)
    }

    /// The name of the service whose SRV records are looked up.
    pub(super) fn service(&self) -> String {
        or_rqlite(self.service.as_deref())
    }

    /// The name server that is asked; `None` for those of the system. An address without a port gets [`DNS_PORT`].
    pub(super) fn name_server(&self) -> Result<Option<SocketAddr>, String> {
        let Some(text) = self.name_server.as_deref().filter(|text| !text.is_empty()) else { return Ok(None) };
        let address = text.parse().or_else(|_| text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, DNS_PORT)));
        let invalid =
            |_| format!("disco config: name_server must be an IP address, with or without a port, not {text}");
        address.map(Some).map_err(invalid)
    }
}

/// Returns the name, or rqlite's default if it is missing or empty.
fn or_rqlite(name: Option<&str>) -> String {
    name.filter(|name| !name.is_empty()).unwrap_or("rqlite").to_owned()
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

    #[test]
    fn a_name_server_is_an_address_with_or_without_a_port() {
        let of = |text: &str| Settings { name_server: Some(text.to_owned()), ..Settings::default() }.name_server();
        assert_eq!(of(""), Ok(None));
        assert_eq!(of("10.0.0.2").unwrap().unwrap().to_string(), "10.0.0.2:53");
        assert_eq!(of("10.0.0.2:5300").unwrap().unwrap().to_string(), "10.0.0.2:5300");
        assert_eq!(of("fd00::1").unwrap().unwrap().to_string(), "[fd00::1]:53");
        assert!(of("ns.example.com").unwrap_err().contains("not ns.example.com"));
    }
}
