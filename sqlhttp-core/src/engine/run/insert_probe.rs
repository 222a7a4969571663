//! Which statements insert a row, and its rowid.

use crate::engine::session::{Prepared, Session};

/// A rowid that SQLite chooses last of all.
const NO_ROWID: i64 = i64::MIN;

/// Finds out whether a statement inserts a row that has a rowid. An upsert that updates, and an insert into a view or a
/// table WITHOUT ROWID, leave `last_insert_rowid()` as it was; so it is set to a value that no insert gives, unless the
/// statement itself wants to know it.
pub(super) enum InsertProbe {
    /// It inserts nothing.
    NoInsert,
    /// The value before, in whose stead [`NO_ROWID`] stands now.
    Replaced(i64),
    /// The statement asks for the value, so it must stay.
    Unchanged,
}

impl InsertProbe {
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
