//! `network`: the network interfaces of the host.

use serde_json::{Value, json};

/// The bits of an interface's flags (`netdevice(7)`) and Go's names of them, without `running`: that is
/// [`Interface::carrier`].
const FLAGS: [(u32, &str); 5] =
    [(0x1, "up"), (0x2, "broadcast"), (0x8, "loopback"), (0x10, "pointtopoint"), (0x1000, "multicast")];
const UP: u32 = 0x1;

/// A network interface.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Interface {
    /// The name.
    pub name: String,
    /// The addresses, each with the length of its network prefix: `127.0.0.1/8`.
    pub addresses: Vec<String>,
    /// The flags, as `netdevice(7)` numbers them.
    pub flags: u32,
    /// Whether the interface has a carrier.
    pub carrier: bool,
    /// The hardware address. Empty if the interface has none.
    pub hardware_address: String,
}

/// Describes interfaces as an object whose keys are their names.
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

/// Formats flags as Go does: `up|loopback|running`, or `0` for none.
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
