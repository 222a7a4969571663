//! Detects whether a statement inserts a row, and the row's rowid.

use crate::engine::session::{Prepared, Session};

/// The minimum rowid. SQLite chooses it for a new row only if no other rowid is free.
const NO_ROWID: i64 = i64::MIN;

/// Detects whether a statement inserts a row that has a rowid. An upsert that updates a row, and an insert into a view
/// or a WITHOUT ROWID table, do not change `last_insert_rowid()`. Therefore `last_insert_rowid()` is set to a value
/// that no insert produces before the statement runs, unless the statement itself reads it.
pub(super) enum InsertProbe {
    /// The statement inserts nothing.
    NoInsert,
    /// The previous value of `last_insert_rowid()`, which has been replaced with [`NO_ROWID`].
    Replaced(i64),
    /// The statement reads `last_insert_rowid()`, so the value was not replaced.
    Unchanged,
}

impl InsertProbe {
    /// Prepares the detection. Must be called before the statement runs.
    pub(super) fn begin(session: &Session, prepared: &Prepared) -> Self {
        if !prepared.info.inserts {
            return InsertProbe::NoInsert;
        }
        if prepared.info.reads_last_insert_rowid {
            return InsertProbe::Unchanged;
        }
        let before = session.last_insert_rowid();
        session.set_last_insert_rowid(NO_ROWID);
        InsertProbe::Replaced(before)
    }

    /// Returns the rowid that the statement inserted; `None` if it inserted none. Must be called after the statement
    /// has run.
    pub(super) fn end(self, session: &Session) -> Option<i64> {
        let now = session.last_insert_rowid();
        match self {
            InsertProbe::NoInsert => None,
            InsertProbe::Unchanged => Some(now),
            InsertProbe::Replaced(before) if now == NO_ROWID => {
                session.set_last_insert_rowid(before);
                None
            }
            InsertProbe::Replaced(_) => Some(now),
        }
    }
}
