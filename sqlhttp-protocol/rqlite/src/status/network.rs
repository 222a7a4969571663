//! The section `network` of `/status`: the network interfaces of the host.

use serde_json::{Value, json};

/// The bits of a network interface's flags (see `netdevice(7)`) and Go's names for them. The flag `running` is missing:
/// it is derived from [`Interface::carrier`].
const FLAGS: [(u32, &str); 5] =
    [(0x1, "up"), (0x2, "broadcast"), (0x8, "loopback"), (0x10, "pointtopoint"), (0x1000, "multicast")];
const UP: u32 = 0x1;

/// A network interface of the host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Interface {
    /// The name of the interface.
    pub name: String,
    /// The addresses of the interface, each with the length of its network prefix: `127.0.0.1/8`.
    pub addresses: Vec<String>,
    /// The flags of the interface, with the bits of `netdevice(7)`.
    pub flags: u32,
    /// Whether the interface has a carrier, that is, a link.
    pub carrier: bool,
    /// The hardware (MAC) address. Empty if the interface has none.
    pub hardware_address: String,
}

/// Describes network interfaces as a JSON object whose keys are the names of the interfaces.
pub(super) fn document(interfaces: &[Interface]) -> Value {
    interfaces.iter().map(|interface| (interface.name.clone(), interface.document())).collect()
}

impl Interface {
    fn document(&self) -> Value {
        let addresses: Vec<Value> = self.addresses.iter().map(|address| json!({ "address": address })).collect();
        json!({
            "addresses": addresses,
            "flags": flags(self.flags, self.carrier),
            "hardware_address": self.hardware_address,
        })
    }
}

/// Formats the flags of an interface as Go does: `up|loopback|running`, or `0` if no flag is set.
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
}
