//! The network interfaces of the machine, for `/status`.

use std::collections::BTreeMap;
use std::path::Path;

use sqlhttp_rqlite::status::Interface;

/// The directory with an entry for each network interface on Linux.
const INTERFACES: &str = "/sys/class/net";

/// The maximum number of network interfaces that are reported. Machines with many containers have one for each
/// container.
const INTERFACES_MAX: usize = 256;

/// The bit of a loopback interface in the flags of an interface (`netdevice(7)`).
const LOOPBACK: u32 = 0x8;

/// Returns the network interfaces, sorted by name. Blocks the thread.
pub(crate) fn interfaces() -> Vec<Interface> {
    let mut addresses: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for name in names() {
        addresses.insert(name, Vec::new());
    }
    for interface in if_addrs::get_if_addrs().unwrap_or_default() {
        let (ip, prefix) = match &interface.addr {
            if_addrs::IfAddr::V4(address) => (interface.ip(), address.prefixlen),
            if_addrs::IfAddr::V6(address) => (interface.ip(), address.prefixlen),
        };
        if addresses.len() < INTERFACES_MAX || addresses.contains_key(&interface.name) {
            addresses.entry(interface.name).or_default().push(format!("{ip}/{prefix}"));
        }
    }
    addresses.into_iter().map(|(name, addresses)| interface(name, addresses)).collect()
}

fn names() -> impl Iterator<Item = String> {
    let entries = std::fs::read_dir(INTERFACES).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).take(INTERFACES_MAX)
}

fn interface(name: String, addresses: Vec<String>) -> Interface {
    let read = |what: &str| {
        let text = std::fs::read_to_string(Path::new(INTERFACES).join(&name).join(what)).unwrap_or_default();
        text.trim().to_owned()
    };
    let flags = u32::from_str_radix(read("flags").trim_start_matches("0x"), 16).unwrap_or(0);
    let carrier = read("carrier") == "1";
    let hardware_address = if flags & LOOPBACK == 0 { read("address") } else { String::new() };
    Interface { name, addresses, flags, carrier, hardware_address }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[test]
    fn a_loopback_interface_has_its_address() {
        let all = interfaces();
        let Some(lo) = all.iter().find(|interface| interface.name == "lo") else { return };
        assert!(lo.addresses.iter().any(|address| address == "127.0.0.1/8"), "{lo:?}");
        assert_eq!(lo.hardware_address, "");
    }
}
