//! Errors in configuration files. Each has a message, a position in the file, and a remedy.

use std::collections::HashMap;

/// An error in the configuration of a database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ConfigError {
    /// The message of the error. If ws4sqlite reports the same error, this is ws4sqlite's message.
    pub(crate) message: String,
    /// The key whose value is wrong or missing, for example `auth.byCredentials[0].user`.
    pub(crate) key: String,
    /// The change that corrects the error.
    pub(crate) remedy: String,
}

/// For each key in a configuration file, the line of its value, counted from 1.
#[derive(Debug, Clone, Default)]
pub(crate) struct KeyLines(HashMap<String, u64>);

/// Where the configuration of a database comes from.
#[derive(Debug, Clone, Default)]
pub(crate) struct ConfigOrigin {
    /// The path of the configuration file; `None` if the database has none.
    pub(crate) file: Option<String>,
    /// The key below which the settings of the database are in the file: `databases[0]` in the `-config` file, empty
    /// in a companion file.
    pub(crate) prefix: String,
    pub(crate) lines: KeyLines,
}

impl ConfigError {
    pub(crate) fn new(key: impl Into<String>, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        ConfigError { message: message.into(), key: key.into(), remedy: remedy.into() }
    }
}

impl KeyLines {
    pub(crate) fn insert(&mut self, key: &str, line: u64) {
        self.0.insert(key.to_owned(), line);
    }

    /// Returns the line of a key; `None` if it cannot be determined. If the file does not contain the key, returns the
    /// line of the innermost mapping in which the key is missing.
    fn find(&self, key: &str) -> Option<u64> {
        let mut key = key;
        loop {
            if let Some(line) = self.0.get(key) {
                return Some(*line);
            }
            key = &key[..key.rfind(['.', '['])?];
        }
    }
}

impl ConfigOrigin {
    /// Formats an error as two lines: the message, and the position in the file with the remedy.
    pub(crate) fn explain(&self, error: &ConfigError) -> String {
        let ConfigError { message, key, remedy } = error;
        let Some(file) = &self.file else { return format!("{message}\n  {key}: {remedy}") };
        let key = if self.prefix.is_empty() { key.clone() } else { format!("{}.{key}", self.prefix) };
        let line = self.lines.find(&key).map_or(String::new(), |line| format!(", line {line}"));
        format!("{message}\n  in {file}{line}, {key}: {remedy}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_its_place() {
        let mut lines = KeyLines::default();
        lines.insert("a", 1);
        lines.insert("a.b[1]", 7);
        let explained = |key: &str, prefix: &str| {
            let origin =
                ConfigOrigin { file: Some("c.yaml".to_owned()), prefix: prefix.to_owned(), lines: lines.clone() };
            origin.explain(&ConfigError::new(key, "no good", "write 1"))
        };
        assert_eq!(explained("a", ""), "no good\n  in c.yaml, line 1, a: write 1");
        assert_eq!(explained("a.b[1].c", ""), "no good\n  in c.yaml, line 7, a.b[1].c: write 1");
        assert_eq!(explained("a.b[2].c", ""), "no good\n  in c.yaml, line 1, a.b[2].c: write 1");
        assert_eq!(explained("b[1]", "a"), "no good\n  in c.yaml, line 7, a.b[1]: write 1");
        assert_eq!(explained("x", ""), "no good\n  in c.yaml, x: write 1");
        assert_eq!(
            ConfigOrigin::default().explain(&ConfigError::new("x", "no good", "write 1")),
            "no good\n  x: write 1"
        );
    }
}
