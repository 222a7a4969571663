//! The document of `/debug/vars`: the counters since the process started, in the layout of Go's `expvar`.

mod names;

use names::{GROUPS, Group, MEMORY};
use serde_json::{Map, Value, json};

/// The number of garbage collector pauses in Go's `runtime.MemStats`.
const GO_PAUSES: usize = 256;

/// The value of one counter of `/debug/vars`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Figure {
    /// The name of the counter's group.
    pub group: &'static str,
    /// The name of the counter within its group.
    pub name: &'static str,
    /// The current value of the counter.
    pub value: u64,
}

impl Figure {
    /// Returns whether `/debug/vars` contains this counter. If not, its value is never shown.
    pub fn is_known(&self) -> bool {
        GROUPS.iter().any(|group| group.name == self.group && group.counters.contains(&self.name))
    }
}

/// The facts that `/debug/vars` reports about a server process.
#[derive(Debug, Clone, Default)]
pub struct Vars {
    /// The values of the counters. A counter that is missing in this list is reported as zero.
    pub figures: Vec<Figure>,
    /// The command line of the process, including the name of the program.
    pub command_line: Vec<String>,
    /// The resident memory of the process, in bytes.
    pub resident_bytes: u64,
    /// The size of the process's address space, in bytes.
    pub address_space_bytes: u64,
}

impl Vars {
    /// Encodes the document as JSON. Each group of counters is one line; the groups are sorted by name. If `key` is not
    /// empty, only the group of that name is encoded.
    pub fn encode(&self, key: &str) -> Vec<u8> {
        let mut groups: Vec<(&str, String)> =
            GROUPS.iter().map(|group| (group.name, counters(group, &self.figures))).collect();
        groups.push(("cmdline", json!(self.command_line).to_string()));
        groups.push(("memstats", self.memory()));
        groups.sort_unstable();
        let wanted = groups.iter().filter(|(name, _)| key.is_empty() || *name == key);
        let lines: Vec<String> = wanted.map(|(name, value)| format!("\"{name}\": {value}")).collect();
        format!("{{\n{}\n}}\n", lines.join(",\n")).into_bytes()
    }

    /// Describes the memory under the names of Go's `runtime.MemStats`. The document contains all of these names,
    /// because tools read them. The values of things that do not exist here, such as a garbage collector, are zero.
    fn memory(&self) -> String {
        let figures = [
            ("Alloc", self.resident_bytes),
            ("HeapAlloc", self.resident_bytes),
            ("HeapInuse", self.resident_bytes),
            ("HeapSys", self.resident_bytes),
            ("Sys", self.address_space_bytes),
            ("TotalAlloc", self.resident_bytes),
        ];
        let mut memory: Map<String, Value> = MEMORY.iter().map(|name| ((*name).to_owned(), json!(0))).collect();
        memory.extend(figures.map(|(name, bytes)| (name.to_owned(), json!(bytes))));
        memory.extend(["EnableGC", "DebugGC"].map(|name| (name.to_owned(), json!(false))));
        memory.extend(["PauseEnd", "PauseNs"].map(|name| (name.to_owned(), json!(vec![0; GO_PAUSES]))));
        memory.insert("BySize".to_owned(), json!([]));
        Value::Object(memory).to_string()
    }
}

/// Formats the counters of a group as JSON: `{"name": 1, "other": 0}`.
fn counters(group: &Group, figures: &[Figure]) -> String {
    let value = |counter: &str| {
        let found = figures.iter().find(|figure| figure.group == group.name && figure.name == counter);
        found.map_or(0, |figure| figure.value)
    };
    let all: Vec<String> = group.counters.iter().map(|name| format!("\"{name}\": {}", value(name))).collect();
    format!("{{{}}}", all.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figure(group: &'static str, name: &'static str, value: u64) -> Figure {
        Figure { group, name, value }
    }

    #[test]
    fn one_group_to_a_line() {
        let vars = Vars { command_line: vec!["x".to_owned()], ..Vars::default() };
        assert_eq!(vars.encode("cmdline"), b"{\n\"cmdline\": [\"x\"]\n}\n");
        assert_eq!(vars.encode("c"), b"{\n\n}\n");
        assert_eq!(vars.encode("").iter().filter(|byte| **byte == b'\n').count(), GROUPS.len() + 4);
    }

    #[test]
    fn counters_without_a_figure_are_zero() {
        let group = Group { name: "queue", counters: &["num_flush", "objects_rx"] };
        let figures = [figure("store", "objects_rx", 1), figure("queue", "objects_rx", 2)];
        assert_eq!(counters(&group, &figures), "{\"num_flush\": 0, \"objects_rx\": 2}");
    }

    #[test]
    fn misspelt_names_are_not_known() {
        assert!(figure("queue", "num_flush", 0).is_known());
        assert!(!figure("store", "num_flush", 0).is_known());
        assert!(!figure("queue", "num_flushs", 0).is_known());
    }

    #[test]
    fn names_are_sorted() {
        assert!(GROUPS.is_sorted_by_key(|group| group.name));
        assert!(GROUPS.iter().all(|group| group.counters.is_sorted()));
    }

    #[test]
    fn memory_has_all_names_of_go() {
        let vars = Vars { resident_bytes: 7, ..Vars::default() };
        let memory: Value = serde_json::from_str(&vars.memory()).unwrap();
        assert_eq!((&memory["Alloc"], &memory["HeapObjects"]), (&json!(7), &json!(0)));
        assert_eq!(memory.as_object().unwrap().len(), 32);
    }
}
