//! Digests of the logical content of a database, with which the nodes of a cluster find out whether they have the same
//! content.
//!
//! Two databases with the same content can consist of different pages: the free pages, the checkpoints and the order of
//! the writes differ. So a digest covers the content that SQL can see: the schema, and the rowid and the values of each
//! row, with the type, the bits and the bytes in which they are stored. The indexes are not covered; an integrity check
//! compares them with the tables.
//!
//! The digest of a table is the sum of the hashes of its rows modulo 2^128, so it does not depend on their order. To
//! find the rows in which two nodes differ, the rows of a table are distributed over buckets by the hash of their key
//! ([`PinnedContent::buckets`]). Two nodes compare the digests of the buckets, and then the rows of a bucket that
//! differs ([`PinnedContent::rows`]).
//!
//! * [`scan`]: reads the rows of a table, and hashes them.
//! * [`sources`]: the tables, and the statements that read them.
//! * [`pinned`]: a read transaction that is kept open, so that all of this reads the same content.
//! * [`requests`]: the requests for the content directly after an entry of the log.

pub(super) mod pinned;
pub(super) mod requests;
mod scan;
mod sources;

/// The digest of the logical content of a database.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ContentDigest {
    /// The digest of the whole content: a hash of `tables`.
    pub digest: u128,
    /// The digests of the tables, in the order of their names. The schema is the table `sqlite_schema`, and the
    /// settings that the file stores (the text encoding, `user_version`, `application_id`) are the table
    /// `sqlite_settings`.
    pub tables: Vec<TableDigest>,
}

/// The digest of the rows of a table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TableDigest {
    /// The name of the table.
    pub name: String,
    /// The number of rows.
    pub rows: u64,
    /// The sum of the hashes of the rows, modulo 2^128.
    pub sum: u128,
}

/// The digest of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowDigest {
    /// The key of the row.
    pub key: RowKey,
    /// The hash of the key and of all values of the row.
    pub hash: u128,
}

/// The key of a row in its table.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum RowKey {
    /// The rowid.
    Rowid(i64),
    /// The primary key of a table without rowids, as SQL literals that are separated by commas.
    Primary(String),
}

/// The number of buckets, and that of one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bucket {
    /// The number of buckets over which the rows are distributed.
    pub count: u32,
    /// The number of the bucket, counted from 0.
    pub number: u32,
}
