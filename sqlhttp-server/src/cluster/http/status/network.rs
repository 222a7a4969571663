//! The machine's network interfaces, as far as the system tells of them.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};

/// Where Linux tells of interfaces.
const INTERFACES: &str = "/sys/class/net";

/// How many interfaces are told of: machines with many containers have one for each.
const INTERFACES_MAX: usize = 256;

/// What the bits of an interface's flags mean (`netdevice(7)`), but for `running`, which the file does not tell.
const FLAGS: [(u32, &str); 5] =
    [(0x1, "up"), (0x2, "broadcast"), (0x8, "loopback"), (0x10, "pointtopoint"), (0x1000, "multicast")];
const UP: u32 = 0x1;
const LOOPBACK: u32 = 0x8;

/// Name → flags, hardware address, addresses. Blocks while the system is asked.
pub(crate) fn interfaces() -> Value {
    let mut addresses: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for name in names() {
        addresses.insert(name, Vec::new());
    }
    for interface in if_addrs::get_if_addrs().unwrap_or_default() {
        let (ip, prefix) = match &interface.addr {
            if_addrs::IfAddr::V4(address) => (interface.ip(), address.prefixlen),
            if_addrs::IfAddr::V6(address) => (interface.ip(), address.prefixlen),
        };
        if addresses.len() < INTERFACES_MAX || addresses.contains_key(&interface.name) {
            addresses.entry(interface.name).or_default().push(json!({ "address": format!("{ip}/{prefix}") }));
        }
    }
    addresses.into_iter().map(|(name, addresses)| (name.clone(), interface(&name, addresses))).collect()
}

fn names() -> impl Iterator<Item = String> {
    let entries = std::fs::read_dir(INTERFACES).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).take(INTERFACES_MAX)
}

fn interface(name: &str, addresses: Vec<Value>) -> Value {
    let read = |what: &str| {
        let told = std::fs::read_to_string(Path::new(INTERFACES).join(name).join(what)).unwrap_or_default();
        told.trim().to_owned()
    };
    let bits = u32::from_str_radix(read("flags").trim_start_matches("0x"), 16).unwrap_or(0);
    let hardware_address = if bits & LOOPBACK == 0 { read("address") } else { String::new() };
    json!({
        "addresses": addresses,
        "flags": flags(bits, read("carrier") == "1"),
        "hardware_address": hardware_address,
    })
}

/// `up|loopback|running`; `0` for none.
fn flags(bits: u32, carrier: bool) -> String {
    let mut names: Vec<&str> = FLAGS.iter().filter(|(bit, _)| bits & bit != 0).map(|(_, name)| *name).collect();
    if carrier && bits & UP != 0 {
        names.push("running");
    }
    if names.is_empty() { "0".to_owned() } else { names.join("|") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_have_names() {
        assert_eq!(flags(0x9, true), "up|loopback|running");
        assert_eq!(flags(0x1003, true), "up|broadcast|multicast|running");
        assert_eq!(flags(0x1002, true), "broadcast|multicast");
        assert_eq!(flags(0, false), "0");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_loopback_interface_has_its_address() {
        let all = interfaces();
        let Some(lo) = all.get("lo") else { return };
        assert!(lo["addresses"].as_array().unwrap().contains(&json!({ "address": "127.0.0.1/8" })), "{lo}");
        assert_eq!(lo["hardware_address"], "");
    }
}
