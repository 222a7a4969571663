//! Checks a database file (<https://sqlite.org/fileformat.html>).

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use rusqlite::{Connection, OpenFlags};
use sqlhttp_rqlite::is_database_file;

/// The length of the header of a database file, in bytes.
const HEADER_BYTES: usize = 100;

/// Whether a file is a database file, according to its first bytes.
///
/// # Errors
/// The file cannot be read.
pub(crate) fn is_database(path: &Path) -> std::io::Result<bool> {
    let mut begin = Vec::with_capacity(HEADER_BYTES);
    File::open(path)?.take(HEADER_BYTES as u64).read_to_end(&mut begin)?;
    Ok(is_database_file(&begin))
}

/// Checks that a file is a database file with as many pages as its header says.
///
/// # Errors
/// The message for a file that cannot be read, or that is no complete database file.
pub(crate) fn check_length(path: &Path) -> Result<(), String> {
    let read = || {
        let mut header = Vec::with_capacity(HEADER_BYTES);
        let file = File::open(path)?;
        let length = file.metadata()?.len();
        file.take(HEADER_BYTES as u64).read_to_end(&mut header)?;
        Ok::<_, std::io::Error>((header, length))
    };
    let (header, length) = read().map_err(|error| error.to_string())?;
    if header.len() < HEADER_BYTES || !is_database_file(&header) {
        return Err("what arrived is no SQLite database".to_owned());
    }
    let number = |at: usize| u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    let page_size = match u16::from_be_bytes([header[16], header[17]]) {
        1 => 65_536,
        size => u64::from(size),
    };
    // The number of pages is valid if the file has not been changed by an old version of SQLite.
    let counted = number(24) == number(92) && number(28) != 0;
    let expected = u64::from(number(28)) * page_size;
    match counted && expected != length {
        true => Err(format!("{length} of {expected} bytes have arrived")),
        false => Ok(()),
    }
}

/// Checks the whole content of a database file (<https://sqlite.org/pragma.html#pragma_integrity_check>).
///
/// # Errors
/// The message for a file that cannot be opened, or that is damaged.
pub(crate) fn check_content(path: &Path) -> Result<(), String> {
    let check = || {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(uri(path) + IMMUTABLE, flags)?;
        connection.query_row("PRAGMA integrity_check(1)", [], |row| row.get::<_, String>(0))
    };
    match check() {
        Ok(result) if result == "ok" => Ok(()),
        Ok(result) => Err(format!("the database is damaged: {result}")),
        Err(error) => Err(error.to_string()),
    }
}

/// The query string of the URI of a file that no process changes. SQLite creates no files beside it.
pub(crate) const IMMUTABLE: &str = "?immutable=1";

/// Returns the URI of a file (<https://sqlite.org/uri.html>).
pub(crate) fn uri(path: &Path) -> String {
    let mut uri = String::from("file:");
    for byte in path.as_os_str().as_encoded_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' | b':' => uri.push(char::from(*byte)),
            b'\\' if cfg!(windows) => uri.push('/'),
            byte => uri.push_str(&format!("%{byte:02x}")),
        }
    }
    uri
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damaged_files_are_recognized() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a b%#.db");
        let connection = Connection::open(&path).unwrap();
        connection.execute_batch("CREATE TABLE t(a); CREATE INDEX i ON t(a); INSERT INTO t VALUES(1)").unwrap();
        drop(connection);
        assert!(is_database(&path).unwrap());
        assert_eq!((check_length(&path), check_content(&path)), (Ok(()), Ok(())));
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, &whole[..whole.len() - 4096]).unwrap();
        assert_eq!(check_length(&path), Err("8192 of 12288 bytes have arrived".to_owned()));
        let mut damaged = whole.clone();
        damaged[4096..4200].fill(0xff);
        std::fs::write(&path, &damaged).unwrap();
        assert_eq!(check_length(&path), Ok(()));
        assert!(check_content(&path).is_err());
        std::fs::write(&path, "no database").unwrap();
        assert!(check_length(&path).is_err() && !is_database(&path).unwrap());
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
    }
}
