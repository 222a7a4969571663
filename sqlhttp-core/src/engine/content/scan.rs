//! Reads the rows of a table, and hashes them.

use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row};
use twox_hash::{XxHash3_64, XxHash3_128};

use super::sources::{self, KeyColumns, Source};
use super::{Bucket, ContentDigest, RowDigest, RowKey, TableDigest};

/// The maximum number of characters of a value in a [`RowKey::Primary`].
const LITERAL_CHARS_MAX: usize = 100;

/// Computes the digest of the whole content.
pub(super) fn digest(connection: &Connection) -> rusqlite::Result<ContentDigest> {
    let mut tables = Vec::new();
    for source in sources::all(connection)? {
        let mut table = TableDigest { name: source.name.clone(), rows: 0, sum: 0 };
        for_each_row(connection, &source, |row, bytes| {
            encode(row, bytes)?;
            table.rows += 1;
            table.sum = table.sum.wrapping_add(XxHash3_128::oneshot(bytes));
            Ok(())
        })?;
        tables.push(table);
    }
    Ok(ContentDigest { digest: digest_of(&tables), tables })
}

fn digest_of(tables: &[TableDigest]) -> u128 {
    let mut bytes = Vec::new();
    for TableDigest { name, rows, sum } in tables {
        put_bytes(&mut bytes, name.as_bytes());
        bytes.extend_from_slice(&rows.to_le_bytes());
        bytes.extend_from_slice(&sum.to_le_bytes());
    }
    XxHash3_128::oneshot(&bytes)
}

/// Distributes the rows of a table over `count` buckets by the hash of their key. Returns the sum of the hashes of the
/// rows of each bucket; an empty list if there is no such table.
pub(super) fn buckets(connection: &Connection, table: &str, count: u32) -> rusqlite::Result<Vec<u128>> {
    let Some(source) = sources::named(connection, table)? else { return Ok(Vec::new()) };
    let mut sums = vec![0u128; count.max(1) as usize];
    for_each_row(connection, &source, |row, bytes| {
        let number = bucket_of(row, &source.key, count, bytes)?;
        encode(row, bytes)?;
        if let Some(sum) = sums.get_mut(number as usize) {
            *sum = sum.wrapping_add(XxHash3_128::oneshot(bytes));
        }
        Ok(())
    })?;
    Ok(sums)
}

/// Returns the rows of a bucket in the order of their keys, at most `rows_max`.
pub(super) fn rows(
    connection: &Connection,
    table: &str,
    bucket: Bucket,
    rows_max: usize,
) -> rusqlite::Result<Vec<RowDigest>> {
    let Some(source) = sources::named(connection, table)? else { return Ok(Vec::new()) };
    let mut rows = Vec::new();
    for_each_row(connection, &source, |row, bytes| {
        if rows.len() < rows_max && bucket_of(row, &source.key, bucket.count, bytes)? == bucket.number {
            encode(row, bytes)?;
            rows.push(RowDigest { key: key_of(row, &source.key)?, hash: XxHash3_128::oneshot(bytes) });
        }
        Ok(())
    })?;
    rows.sort_by(|a, b| a.key.cmp(&b.key));
    Ok(rows)
}

/// Calls `with_row` with each row of a table, and with an empty buffer.
fn for_each_row(
    connection: &Connection,
    source: &Source,
    mut with_row: impl FnMut(&Row<'_>, &mut Vec<u8>) -> rusqlite::Result<()>,
) -> rusqlite::Result<()> {
    let mut statement = connection.prepare(&source.select)?;
    let mut rows = statement.query([])?;
    let mut bytes = Vec::new();
    while let Some(row) = rows.next()? {
        bytes.clear();
        with_row(row, &mut bytes)?;
    }
    Ok(())
}

fn bucket_of(row: &Row<'_>, key: &KeyColumns, count: u32, bytes: &mut Vec<u8>) -> rusqlite::Result<u32> {
    bytes.clear();
    match key {
        KeyColumns::Rowid => put(bytes, row.get_ref(0)?),
        KeyColumns::Primary(columns) => {
            for column in columns {
                put(bytes, row.get_ref(*column)?);
            }
        }
    }
    let bucket = XxHash3_64::oneshot(bytes) % u64::from(count.max(1));
    bytes.clear();
    Ok(u32::try_from(bucket).unwrap_or_default())
}

fn key_of(row: &Row<'_>, key: &KeyColumns) -> rusqlite::Result<RowKey> {
    match key {
        KeyColumns::Rowid => Ok(RowKey::Rowid(row.get(0)?)),
        KeyColumns::Primary(columns) => {
            let values: rusqlite::Result<Vec<String>> =
                columns.iter().map(|column| row.get_ref(*column).map(literal)).collect();
            Ok(RowKey::Primary(values?.join(", ")))
        }
    }
}

/// Encodes all columns of a row.
fn encode(row: &Row<'_>, bytes: &mut Vec<u8>) -> rusqlite::Result<()> {
    for column in 0..row.as_ref().column_count() {
        put(bytes, row.get_ref(column)?);
    }
    Ok(())
}

/// Encodes a value with its type, so that `1`, `1.0` and `'1'` differ, and so do `0.0` and `-0.0`.
fn put(bytes: &mut Vec<u8>, value: ValueRef<'_>) {
    match value {
        ValueRef::Null => bytes.push(0),
        ValueRef::Integer(integer) => {
            bytes.push(1);
            bytes.extend_from_slice(&integer.to_le_bytes());
        }
        ValueRef::Real(real) => {
            bytes.push(2);
            bytes.extend_from_slice(&real.to_bits().to_le_bytes());
        }
        ValueRef::Text(text) => {
            bytes.push(3);
            put_bytes(bytes, text);
        }
        ValueRef::Blob(blob) => {
            bytes.push(4);
            put_bytes(bytes, blob);
        }
    }
}

fn put_bytes(bytes: &mut Vec<u8>, content: &[u8]) {
    bytes.extend_from_slice(&(content.len() as u64).to_le_bytes());
    bytes.extend_from_slice(content);
}

/// Returns a value as an SQL literal. A long value is cut off.
fn literal(value: ValueRef<'_>) -> String {
    match value {
        ValueRef::Null => "NULL".to_owned(),
        ValueRef::Integer(integer) => integer.to_string(),
        ValueRef::Real(real) => format!("{real:?}"),
        ValueRef::Text(text) => format!("'{}'", cut(&String::from_utf8_lossy(text)).replace('\'', "''")),
        ValueRef::Blob(blob) => {
            let digits: String = blob.iter().take(LITERAL_CHARS_MAX / 2).map(|byte| format!("{byte:02X}")).collect();
            format!("x'{digits}'")
        }
    }
}

fn cut(text: &str) -> String {
    let mut cut: String = text.chars().take(LITERAL_CHARS_MAX).collect();
    if cut.len() < text.len() {
        cut.push('…');
    }
    cut
}
