//! How a session prepares statements, and what it knows of them.

use std::ffi::CStr;
use std::sync::Arc;

use super::connection::Session;
use super::prepared::Prepared;
use crate::engine::blueprint::Role;
use crate::engine::facts::{Author, Facts};
use crate::engine::replicated::progress;
use crate::engine::schema_view;
use crate::engine::sqlite::program;
use crate::engine::sqlite::statement::{Prepared as Found, Statement};
use crate::engine::text::is_white;
use crate::engine::work_limits::FREE_WEIGHT;
use crate::model::{Failure, ValueRef};

/// Statements longer than this are not kept, bytes.
const CACHED_SQL_LEN_MAX: usize = 64 << 10;
/// A statement that takes no more memory contains little work, bytes.
const LIGHT_STATEMENT_BYTES_MAX: i32 = 3 << 10;
/// The longest text of an INSERT of literals whose bytecode is not listed, bytes.
const SHORT_INSERT_BYTES_MAX: usize = 4 << 10;
/// The weight of such an INSERT, which leaves it values of a megabyte: much more than its text.
const SHORT_INSERT_WEIGHT: u32 = 64 * FREE_WEIGHT;
/// The weight of a statement that changes rows and cannot be listed. Its values have a megabyte at most.
const UNLISTED_WEIGHT: u32 = 64 * FREE_WEIGHT;

/// How the weight of a statement is determined.
enum Listing {
    /// Its functions alone count.
    None,
    Fixed(u32),
    Bytecode,
}

/// What stands at the beginning of a text.
pub(crate) struct Next {
    /// The statement; `None` if there is only white space or a comment.
    pub(crate) prepared: Option<Box<Prepared>>,
    /// How many bytes it takes.
    pub(crate) consumed: usize,
}

impl Session {
    /// Prepares the first statement of a text.
    pub(crate) fn prepare(&mut self, sql: &CStr, author: Author) -> Result<Next, Failure> {
        let (found, lists_nothing) = match self.find_without_engine_table(sql, author) {
            Some(found) => (found, true),
            None => (self.find(sql, author)?, false),
        };
        let Some(statement) = found.statement else {
            // Nothing before the end is no statement and yet takes no text, but a loop over a text must end.
            let consumed = if found.consumed == 0 { sql.count_bytes() } else { found.consumed };
            return Ok(Next { prepared: None, consumed });
        };
        let mut facts = self.recorder.facts(&statement);
        facts.lists_schema &= !lists_nothing;
        if author == Author::Client {
            self.check_policy(&facts, &sql.to_bytes()[..found.consumed])?;
        }
        // Many PRAGMAs act while they are prepared, so it does not matter whether this one will run.
        self.dirty |= facts.is_for_itself() && author == Author::Client;
        let alone = is_white(&sql[found.consumed..]);
        let len = sql.count_bytes();
        let keep = alone && author == Author::Client && !facts.is_for_itself() && len <= CACHED_SQL_LEN_MAX;
        let parameters = (1..=statement.parameter_count()).map(|index| statement.parameter_name(index)).collect();
        let inserts_literals =
            facts.inserts_only && statement.parameter_count() == 0 && found.consumed <= SHORT_INSERT_BYTES_MAX;
        let key = if keep { sql.to_str().ok().map(Arc::from) } else { None };
        let consumed = if alone { len } else { found.consumed };
        let prepared =
            Prepared { statement, facts, parameters, columns: None, weight: None, inserts_literals, key, dumped: None };
        Ok(Next { prepared: Some(Box::new(prepared)), consumed })
    }

    /// The facts of the kept statement with exactly this text.
    pub(crate) fn kept(&self, sql: &str) -> Option<&Facts> {
        self.cache.facts(sql)
    }

    /// Takes a statement of a client's out of the cache. Its text is all of this one.
    pub(crate) fn take_kept(&mut self, sql: &str) -> Option<Box<Prepared>> {
        let kept = self.cache.take(sql)?;
        // SQLite may prepare it again, and the policy for clients must hold then.
        self.recorder.begin(Author::Client);
        Some(kept)
    }

    /// Gives a statement back after use.
    pub(crate) fn put_back(&mut self, mut prepared: Box<Prepared>) {
        prepared.statement.reset();
        if self.replicates() && prepared.facts.changes_schema {
            return;
        }
        if let Some(key) = prepared.key.clone() {
            self.cache.keep(key, prepared);
        }
    }

    fn find(&self, sql: &CStr, author: Author) -> Result<Found, Failure> {
        let found = self.find_in_known_schema(sql, author);
        let may_depend_on_new_schema = match &found {
            Err(Failure::Sql(error)) => error.code == rusqlite::ffi::SQLITE_ERROR,
            Err(_) => false,
            // REINDEX and ANALYZE have nothing to do in an empty schema.
            Ok(found) => {
                found.statement.as_ref().is_some_and(|statement| statement.readonly() && !self.recorder.saw_actions())
            }
        };
        if may_depend_on_new_schema && self.renew_schema() {
            return self.find_in_known_schema(sql, author);
        }
        found
    }

    fn find_in_known_schema(&self, sql: &CStr, author: Author) -> Result<Found, Failure> {
        self.recorder.begin(author);
        Statement::prepare(&self.connection, sql, true).map_err(|error| {
            self.recorder.refused().map_or_else(|| Failure::Sql(self.with_limit(error)), Failure::NotAllowed)
        })
    }

    /// Reads the schema again if another connection has changed it. SQLite itself does so before it reports most errors, but
    /// not when ALTER TABLE does not find a column, nor when REINDEX finds no index. Returns whether the schema is up to date; the writer's always is.
    fn renew_schema(&self) -> bool {
        if self.role != Role::Reader {
            return false;
        }
        self.recorder.begin(Author::Owner);
        // SQLite compares the version of the schema when a statement runs, not when it is prepared.
        self.connection.query_row("SELECT count(*) FROM (SELECT 1 FROM sqlite_schema LIMIT 1)", [], |_| Ok(())).is_ok()
    }

    /// The first statement of a text, if it reads the schema and can be prepared so that it does not see the engine's table.
    fn find_without_engine_table(&self, sql: &CStr, author: Author) -> Option<Found> {
        if !self.replicated || author != Author::Client {
            return None;
        }
        let rewritten = schema_view::rewrite(sql.to_bytes())?;
        // The client's error message refers to the text as the client has sent it.
        let found = self.find(&rewritten.sql, author).ok().filter(|found| found.statement.is_some())?;
        Some(Found { consumed: found.consumed.checked_sub(rewritten.added)?, ..found })
    }

    /// Whether a row lists the table in which the engine keeps its progress. Clients must not see it, because tools take
    /// every table they see for the user's.
    pub(crate) fn is_hidden<'v>(&self, mut values: impl Iterator<Item = ValueRef<'v>>) -> bool {
        self.replicated
            && values.any(|value| match value {
                ValueRef::Text(text) => text == progress::TABLE.as_bytes() || text == progress::CREATE.as_bytes(),
                _ => false,
            })
    }

    /// Refuses what the authorizer cannot see: a schema that refers to the engine's table, and a write whose effect would
    /// differ between nodes.
    fn check_policy(&self, facts: &Facts, sql: &[u8]) -> Result<(), Failure> {
        if facts.changes_schema && !facts.readonly && contains_ignoring_case(sql, progress::TABLE.as_bytes()) {
            return Err(Failure::NotAllowed(format!("a reference to {}", progress::TABLE)));
        }
        // ALTER TABLE reads such tables itself, to check the rows.
        if self.replicated && facts.reads_local && !facts.readonly && !facts.alters {
            let table = self.recorder.local().unwrap_or_default();
            return Err(Failure::NotAllowed(format!("{table} in a statement that writes")));
        }
        Ok(())
    }

    /// Whether a statement that SQLite has prepared again while it ran, because the schema had changed, still keeps to the
    /// policy.
    ///
    /// # Errors
    /// It does not. The caller undoes what it did.
    pub(crate) fn check_again(&self, facts: &Facts) -> Result<(), Failure> {
        let reads_local = self.recorder.local().is_some();
        self.check_policy(&Facts { reads_local, ..*facts }, b"")
    }

    /// How much work the statement may do without a look at the interrupt flag ([`program`]).
    ///
    /// # Errors
    /// SQLite has no memory to list the statement's bytecode, or was interrupted.
    pub(crate) fn weight_of(&self, prepared: &mut Prepared) -> Result<u32, Failure> {
        let version = prepared.statement.reprepare_count();
        // How SQLite evaluates LIKE and GLOB depends on the pattern that is bound, so the bytecode of such a statement can change.
        let may_change = self.replicates() && prepared.facts.work >= program::PATTERN;
        if let Some((known, weight)) = prepared.weight
            && known == version
            && !may_change
        {
            return Ok(weight);
        }
        let weight = match self.listing_of(prepared) {
            Listing::None => prepared.facts.work,
            Listing::Fixed(weight) => weight,
            Listing::Bytecode => {
                // SQLite may prepare it again to list it.
                self.recorder.begin(Author::Client);
                let listed = program::weight(&mut prepared.statement);
                listed.map_err(|code| self.failure(self.true_code(code)))?
            }
        };
        prepared.weight = Some((prepared.statement.reprepare_count(), weight));
        Ok(weight)
    }

    /// How the weight of a statement is determined. Where results are replicated, every node has to come to the same weight,
    /// so the memory that a statement takes, which differs between builds, does not count.
    fn listing_of(&self, prepared: &Prepared) -> Listing {
        let facts = &prepared.facts;
        if !facts.can_be_listed {
            Listing::None
        } else if facts.changes_rows && facts.asks_changes {
            // To list it would make `changes()` 0.
            Listing::Fixed(UNLISTED_WEIGHT)
        } else if self.replicates() && prepared.inserts_literals {
            Listing::Fixed(SHORT_INSERT_WEIGHT)
        } else if !self.replicates() && prepared.statement.memory_used() <= LIGHT_STATEMENT_BYTES_MAX {
            Listing::None
        } else {
            Listing::Bytecode
        }
    }

    /// To be called after a statement that changes the schema or the statistics of ANALYZE. Drops the kept statements, because
    /// their weights belong to the schema before.
    pub(crate) fn note_schema_change(&mut self) {
        if self.replicates() {
            self.cache.clear();
            self.schema_changed = true;
        }
    }
}

fn contains_ignoring_case(text: &[u8], wanted: &[u8]) -> bool {
    text.windows(wanted.len()).any(|window| window.eq_ignore_ascii_case(wanted))
}
