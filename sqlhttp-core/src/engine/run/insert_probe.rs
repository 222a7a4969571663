//! Detects whether a statement inserts a row, and its rowid.

use crate::engine::session::{Prepared, Session};

/// A rowid that SQLite chooses only if no other one is free.
const NO_ROWID: i64 = i64::MIN;

/// Detects whether a statement inserts a row that has a rowid. An upsert that updates, and an insert into a view or a
/// WITHOUT ROWID table, do not change `last_insert_rowid()`. So it is set to a value that no insert produces, unless
/// the statement itself reads it.
pub(super) enum InsertProbe {
    /// The statement inserts nothing.
    NoInsert,
    /// The previous value. It is now [`NO_ROWID`].
    Replaced(i64),
    /// The statement reads the value, so it was not replaced.
    Unchanged,
}

impl InsertProbe {
    /// Prepares for a run of the statement.
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

    /// Returns the rowid that the statement inserted, if it did.
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
