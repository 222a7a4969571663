//! Splits addresses into host and port, as Go does.

use std::net::IpAddr;

/// Splits `host:port`, `[host]:port` or `:port` into host and port, like Go's `net.SplitHostPort`. Returns `None`
/// where that function returns an error. Whether the host and the port are valid is not checked.
pub fn split_host_port(address: &str) -> Option<(&str, &str)> {
    let (host, port) = match address.strip_prefix('[') {
        Some(bracketed) => {
            let (host, rest) = bracketed.split_once(']')?;
            (host, rest.strip_prefix(':')?)
        }
        None => address.split_once(':')?,
    };
    let stray = |text: &str| text.contains(['[', ']']);
    (!stray(host) && !stray(port) && !port.contains(':')).then_some((host, port))
}

/// Returns whether `host` is the unspecified address, `0.0.0.0` or `::`, to which no other machine can connect. (An
/// empty host means the same address, but rqlited accepts an empty host.)
pub(crate) fn is_unspecified(host: &str) -> bool {
    host.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_unspecified())
}

/// Returns whether `port` is a number; a port may also be the name of a service.
pub(crate) fn is_port_number(port: &str) -> bool {
    port.parse::<u16>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_split_as_go_splits_them() {
        let good = [
            ("localhost:4001", ("localhost", "4001")),
            ("[::1]:4001", ("::1", "4001")),
            ("[fe80::1%eth0]:http", ("fe80::1%eth0", "http")),
            (":4001", ("", "4001")),
            ("host:", ("host", "")),
            ("[]:1", ("", "1")),
        ];
        for (text, parts) in good {
            assert_eq!(split_host_port(text), Some(parts), "{text}");
        }
        for text in
            ["", "host", "::1", "a:b:1", "[::1]", "[::1]1", "[::1:1", "::1]:1", "h[o]st:1", "[[::1]]:1", "h:[1]"]
        {
            assert_eq!(split_host_port(text), None, "{text}");
        }
    }

    #[test]
    fn unspecified_hosts() {
        for host in ["0.0.0.0", "::", "0:0:0:0:0:0:0:0", "::ffff:0.0.0.0"] {
            assert!(is_unspecified(host), "{host}");
        }
        for host in ["", "localhost", "127.0.0.1", "::1", "0"] {
            assert!(!is_unspecified(host), "{host}");
        }
    }
}
