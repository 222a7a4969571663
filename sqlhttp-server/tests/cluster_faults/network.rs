//! A bridge, and a network namespace with an address for each node. Only the traffic between nodes is ever cut: clients
//! reach each node at any time.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;

use super::sandbox::succeed;

/// The address of the bridge: that of the clients and of the proxy.
pub const BRIDGE: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
const HTTP_PORT: u16 = 4001;
const RAFT_PORT: u16 = 4002;

/// The IP address of a node.
pub fn ip(node: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 77, 0, 11 + u8::try_from(node).expect("few nodes"))
}

/// The address of a node's HTTP API.
pub fn http(node: usize) -> SocketAddr {
    SocketAddr::from((ip(node), HTTP_PORT))
}

/// The address where a node listens for other nodes.
pub fn raft(node: usize) -> SocketAddr {
    SocketAddr::from((ip(node), RAFT_PORT))
}

/// The name of a node, and of its network namespace.
pub fn name(node: usize) -> String {
    format!("n{}", node + 1)
}

/// Runs a command line inside the namespace of a node.
pub fn inside(node: usize, words: &[&str]) -> Command {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", &name(node)]).args(words);
    command
}

/// The network of the nodes. It lasts as long as the sandbox.
#[derive(Debug)]
pub struct Network {
    nodes: usize,
}

impl Network {
    /// Creates the bridge, and this number of namespaces.
    pub fn create(nodes: usize) -> Network {
        let line = |text: &str| succeed(Command::new("ip").args(text.split(' ')));
        line("link add faults type bridge");
        line(&format!("address add {BRIDGE}/24 dev faults"));
        line("link set faults up");
        for node in 0..nodes {
            let name = name(node);
            line(&format!("netns add {name}"));
            line(&format!("link add veth{name} type veth peer name eth0 netns {name}"));
            line(&format!("link set veth{name} master faults up"));
            line(&format!("-n {name} address add {}/24 dev eth0", ip(node)));
            line(&format!("-n {name} link set eth0 up"));
            line(&format!("-n {name} link set lo up"));
        }
        Network { nodes }
    }

    /// Drops all packets from one node to another.
    pub fn cut(&self, from: usize, to: usize) {
        let source = ip(from).to_string();
        succeed(&mut inside(to, &["iptables", "-w", "-A", "INPUT", "-s", &source, "-j", "DROP"]));
    }

    /// Drops all packets between two nodes.
    pub fn cut_both(&self, a: usize, b: usize) {
        self.cut(a, b);
        self.cut(b, a);
    }

    /// Drops a third of the packets that a node receives from others.
    pub fn lose_packets(&self, node: usize) {
        let statistic = ["-m", "statistic", "--mode", "random", "--probability", "0.33"];
        let bridge = BRIDGE.to_string();
        let rule = ["iptables", "-w", "-A", "INPUT", "!", "-s", &bridge];
        succeed(&mut inside(node, &[&rule[..], &statistic, &["-j", "DROP"]].concat()));
    }

    /// Delivers all packets again.
    pub fn heal(&self) {
        for node in 0..self.nodes {
            succeed(&mut inside(node, &["iptables", "-w", "-F"]));
        }
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // The next combination of the same sandbox has another number of nodes.
        for node in 0..self.nodes {
            // The kernel deletes a namespace, and the links in it, some time after its name.
            let _ = Command::new("ip").args(["link", "delete", &format!("veth{}", name(node))]).output();
            let _ = Command::new("ip").args(["netns", "delete", &name(node)]).output();
        }
        let _ = Command::new("ip").args(["link", "delete", "faults"]).output();
    }
}
