//! Derives the paths of a database and its companion file from `PATH[:YAML]` on the command line. The functions do not
//! access the file system. Paths are shortened as Go's `path/filepath` does it, because the output at start contains
//! them and must equal that of ws4sqlite.

use sqlhttp_core::JournalMode;

/// Splits `PATH:YAML` at the first colon. On Windows, the colon after a drive letter is part of the path.
pub(crate) fn split(typed: &str, windows: bool) -> (&str, Option<&str>) {
    let typed = typed.trim();
    let skipped = if windows { typed.char_indices().nth(2).map_or(typed.len(), |(at, _)| at) } else { 0 };
    match typed[skipped..].find(':') {
        Some(colon) => (&typed[..skipped + colon], Some(&typed[skipped + colon + 1..])),
        None => (typed, None),
    }
}

/// Returns the id of a file database: the last segment of its path, without the last extension. The error is a
/// message.
pub(crate) fn id_of(path: &str) -> Result<String, String> {
    if path.is_empty() {
        // This is the result of Go's `filepath.Base` for an empty path. An empty path is refused later, with a message
        // that contains this id.
        return Ok(".".to_owned());
    }
    let name = path.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
    if stem.is_empty() { Err("base filename cannot be empty".to_owned()) } else { Ok(stem.to_owned()) }
}

/// Returns the path of the companion file for a database without an explicit one: `<id>.yaml` in the directory of the
/// database.
pub(crate) fn companion_beside(path: &str, id: &str) -> String {
    let dir = path.rsplit_once('/').map_or("", |(dir, _)| if dir.is_empty() { "/" } else { dir });
    clean(&format!("{dir}/{id}.yaml"), dir.is_empty())
}

/// Returns the shortest equivalent path, like Go's `filepath.Clean`. Does not access the file system.
fn clean(path: &str, relative: bool) -> String {
    let rooted = path.starts_with('/') && !relative;
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            ".." if rooted => {}
            part => parts.push(part),
        }
    }
    format!("{}{}", if rooted { "/" } else { "" }, parts.join("/"))
}

/// Returns the connection string of a database in the form in which ws4sqlite prints it at start.
pub(crate) fn connection_string(path: &str, read_only: bool, journal_mode: JournalMode) -> String {
    let journal_mode = match journal_mode {
        JournalMode::Keep => None,
        JournalMode::Wal => Some("WAL"),
        JournalMode::Delete => Some("DELETE"),
        JournalMode::Truncate => Some("TRUNCATE"),
        JournalMode::Persist => Some("PERSIST"),
    };
    let query_only = read_only.then(|| "_pragma=query_only(true)".to_owned());
    let journal_mode = journal_mode.map(|mode| format!("_pragma=journal_mode({mode})"));
    let pragmas: Vec<String> = query_only.into_iter().chain(journal_mode).collect();
    if pragmas.is_empty() { path.to_owned() } else { format!("{path}?{}", pragmas.join("&")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_colon_separates() {
        assert_eq!(split(" a.db ", false), ("a.db", None));
        assert_eq!(split("a.db:c.yaml", false), ("a.db", Some("c.yaml")));
        assert_eq!(split("a.db:C:\\c.yaml", false), ("a.db", Some("C:\\c.yaml")));
        assert_eq!(split("数据.db:x.yaml", false), ("数据.db", Some("x.yaml")));
        assert_eq!(split(":memory:", false), ("", Some("memory:")));
        assert_eq!(split("", false), ("", None));
        assert_eq!(split("C:\\a.db:C:\\c.yaml", true), ("C:\\a.db", Some("C:\\c.yaml")));
        assert_eq!(split("C:\\a.db", true), ("C:\\a.db", None));
        assert_eq!(split("x", true), ("x", None));
    }

    #[test]
    fn ids_are_file_names_without_extension() {
        let cases = [
            ("a.db", "a"),
            ("a.sqlite3", "a"),
            ("a.tar.gz", "a.tar"),
            ("noext", "noext"),
            ("trail.", "trail"),
            ("dir.d/x.db", "x"),
            ("dir1/", "dir1"),
            ("/x", "x"),
            ("", "."),
        ];
        for (path, id) in cases {
            assert_eq!(id_of(path).as_deref(), Ok(id), "{path}");
        }
        assert_eq!(id_of(".db").unwrap_err(), "base filename cannot be empty");
        assert_eq!(id_of("d/.db").unwrap_err(), "base filename cannot be empty");
    }

    #[test]
    fn companions_lie_beside_their_database() {
        let cases = [
            ("selfhost.db", "selfhost.yaml"),
            ("./selfhost.db", "selfhost.yaml"),
            ("d/selfhost.db", "d/selfhost.yaml"),
            ("d//./e/../selfhost.db", "d/selfhost.yaml"),
            ("../selfhost.db", "../selfhost.yaml"),
            ("/selfhost.db", "/selfhost.yaml"),
            ("/a/selfhost.db", "/a/selfhost.yaml"),
        ];
        for (path, companion) in cases {
            assert_eq!(companion_beside(path, "selfhost"), companion, "{path}");
        }
    }

    #[test]
    fn connection_strings_name_the_pragmas() {
        use JournalMode::{Delete, Keep, Wal};
        assert_eq!(connection_string("a.db", false, Wal), "a.db?_pragma=journal_mode(WAL)");
        assert_eq!(connection_string("a.db", true, Wal), "a.db?_pragma=query_only(true)&_pragma=journal_mode(WAL)");
        assert_eq!(connection_string("a.db", true, Keep), "a.db?_pragma=query_only(true)");
        assert_eq!(connection_string("a.db", false, Keep), "a.db");
        assert_eq!(connection_string("a.db", false, Delete), "a.db?_pragma=journal_mode(DELETE)");
    }
}
