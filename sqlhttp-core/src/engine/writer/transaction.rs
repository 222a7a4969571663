//! Runs the transactions of closures.

use super::thread::Writer;
use crate::engine::error::engine_error;
use crate::engine::sqlite::full;
use crate::engine::transaction::{self, TransactionJob};
use crate::engine::watch::stop_error;
use crate::model::{Error, Failure};

impl Writer<'_> {
    /// Runs the transaction of a closure, which no other batch shares, and sends the caller its result.
    pub(in crate::engine) fn run_closure(&mut self, mut job: Box<TransactionJob>) {
        let ended = self.try_closure(&mut job);
        job.body.end(ended);
        self.try_renew_session();
    }

    fn try_closure(&mut self, job: &mut TransactionJob) -> Result<(), Error> {
        if let Some(why) = self.shared.poisoned() {
            return Err(Error::Poisoned(why));
        }
        self.renew_session_for_callers()?;
        if let Some(reason) = job.limits.exceeded_in_queue() {
            return Err(stop_error(reason));
        }
        full::forget();
        let rollback_lock = self.shared.lock_exclusive();
        let ended = self.commit_closure(job);
        if full::was_met() {
            self.free_space();
        }
        drop(rollback_lock);
        ended
    }

    /// Begins a transaction, calls the closure, and commits if it has succeeded.
    fn commit_closure(&mut self, job: &mut TransactionJob) -> Result<(), Error> {
        self.session.begin_immediate().map_err(|error| self.begin_error(error))?;
        let called = transaction::call(&mut self.session, &self.shared.config.options, job, None);
        if !matches!(called, Ok(true)) {
            self.abandon_transaction();
            return called.map(drop);
        }
        let committed = self.session.commit();
        let Err(error) = committed else {
            self.count(1, 1);
            return Ok(());
        };
        self.abandon_transaction();
        let busy = error.primary_code() == rusqlite::ffi::SQLITE_BUSY;
        if self.is_fatal(&error) || busy {
            return Err(engine_error("commit", error));
        }
        Err(Error::Failed { step: None, failure: Failure::Sql(error) })
    }
}
