//! Mistakes in configuration files: what is wrong, where, and what to write instead.

use std::collections::HashMap;

/// Why a configuration makes no sense.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ConfigError {
    /// The mistake, in the words of ws4sqlite where it has some.
    pub(crate) message: String,
    /// The key that is wrong or missing, as `auth.byCredentials[0].user`.
    pub(crate) key: String,
    /// The value, or the value that is expected.
    pub(crate) remedy: String,
}

/// The lines of a file at which keys have their values.
#[derive(Debug, Clone, Default)]
pub(crate) struct KeyLines(HashMap<String, u64>);

/// Where a configuration comes from.
#[derive(Debug, Clone, Default)]
pub(crate) struct ConfigOrigin {
    /// The file; `None` without one.
    pub(crate) file: Option<String>,
    /// The prefix of the keys in it: `databases[0]`, or nothing.
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

    /// The line of a key, or of what it would be in.
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
    /// The mistake in two lines: the message, which users of ws4sqlite know, and the place with the remedy.
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
