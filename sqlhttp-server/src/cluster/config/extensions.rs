//! Checks the paths of SQLite extensions that the flag `-extensions-path` names.

/// Returns whether any of the comma-separated paths may contain an SQLite extension. `false` only if each path is a
/// directory without visible files.
pub(crate) fn holds_extensions(paths: &str) -> bool {
    let is_visible = |entry: std::fs::DirEntry| !entry.file_name().to_string_lossy().starts_with('.');
    let is_empty = |path: &str| std::fs::read_dir(path).is_ok_and(|entries| !entries.flatten().any(is_visible));
    !paths.is_empty() && !paths.split(',').all(is_empty)
}
