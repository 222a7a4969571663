//! Scripts of the writer: the transactions and savepoints that it makes of the batches that arrive.
//!
//! * `open [foreign_keys=BOOL] [attach=BOOL] [queue=N] [group=N] [rows=N] [bytes=N]`: Opens a database on a simulated
//!   disk. `queue`: the batches that may wait; `group`: the batches that share a transaction at most; `rows`: the rows
//!   that a result may have; `bytes`: the bytes of results that are held in memory, in blocks of 100 bytes.
//! * `setup SQL`: Runs a script of the owner's. Prints nothing.
//! * `> SQL`, `NAME: > SQL`: Runs a batch. Its steps are separated by `;;`. Prints the statements that begin on the
//!   writer's connection, and the outcome. While the writer is held, the batch waits, and `NAME` is the caller.
//! * `hold`: Holds the writer before it takes the next batches.
//! * `gone NAME`: The caller goes away: the future of its batch is dropped.
//! * `release`: Lets the writer go on, waits for all callers, and prints the statements and the outcomes.
//! * `lock`, `unlock`: Another connection begins a transaction that writes; ends it.
//! * `fault none|full|io`: The disk works again; is full; fails.
//! * `status`: Prints the number of committed groups and written batches, and why no writes are taken.
//! * `close`: Closes the database.
//!
//! Tags of a batch: `[each]`, each step is a transaction; `[continue]`, the batch goes on after a step that fails;
//! `[count]`, rows are not wanted; `[query]`, the batch must not write.
//!
//! Output: `writer: SQL` is a statement that begins on the writer's connection, `writer: (a new connection)` a
//! connection that replaces the one before. `NAME: …` is an outcome; a number in parentheses is SQLite's extended
//! result code.

use std::collections::BTreeSet;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use goldenscript::Runner;
use rusqlite::Connection;
use sqlhttp_core::{Backend as _, Database, Deadline, Error, FaultyDisk, Options, Outcome, ReadLevel};

use super::{FLUSH, HOLD, Output, Trace, batch, disk_and_file, outcome_lines, set_fault};
use crate::script_support::block_on;

/// See the description of the module.
#[derive(goldenscript::Command)]
pub(crate) enum Command {
    Open {
        #[arg(key, optional)]
        foreign_keys: bool,
        #[arg(key, optional)]
        attach: bool,
        #[arg(key)]
        queue: Option<usize>,
        #[arg(key)]
        group: Option<usize>,
        #[arg(key)]
        rows: Option<u64>,
        #[arg(key)]
        bytes: Option<u64>,
    },
    Setup(String),
    Hold,
    Gone(String),
    Release,
    Lock,
    Unlock,
    Fault(String),
    Status,
    Close,
    #[command(other)]
    Sql(goldenscript::Command),
}

type Pending = Pin<Box<dyn Future<Output = Result<Outcome, Error>> + Send>>;

/// A caller: its outcome is there, or it waits.
enum Caller {
    Done(Result<Outcome, Error>),
    Waits(Pending),
}

pub(crate) struct WriterRunner {
    disk: FaultyDisk,
    file: String,
    trace: Arc<Trace>,
    database: Option<Database>,
    /// The writer is held by this script of the owner's.
    held: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    callers: Vec<(String, Caller)>,
    other: Option<Connection>,
}

impl WriterRunner {
    pub(crate) fn new() -> WriterRunner {
        let (disk, file) = disk_and_file();
        let trace = Trace::of(&file);
        WriterRunner { disk, file, trace, database: None, held: None, callers: Vec::new(), other: None }
    }

    fn open(&mut self, options: Options) -> Output {
        let options = options
            .vfs(Some(self.disk.name().to_owned()))
            .busy_timeout(Duration::ZERO)
            // A group ends only when nothing waits.
            .group_time_max(Duration::from_secs(600));
        self.database = Some(Database::open(&*self.file, options)?);
        self.trace.take();
        Ok(String::new())
    }

    fn database(&self) -> Result<Database, Box<dyn std::error::Error>> {
        self.database.clone().ok_or_else(|| "the database is not open".into())
    }

    /// Runs a script of the owner's.
    fn script(&self, sql: &str) -> Output {
        block_on(self.database()?.run_script(sql))??;
        Ok(String::new())
    }

    fn run_batch(&mut self, name: &str, sql: &str, tags: &BTreeSet<String>) -> Output {
        let database = self.database()?;
        let (batch, query) = (batch(sql, tags), tags.contains("query"));
        let mut pending: Pending = Box::pin(async move {
            let answer = if query {
                database.read_batch(batch, ReadLevel::None, Deadline::NEVER).await?
            } else {
                database.request(batch, ReadLevel::None, Deadline::NEVER).await?
            };
            answer.whole().await
        });
        if self.held.is_some() {
            let caller = self.wait_for_place(pending)?;
            self.callers.push((name.to_owned(), caller));
            return Ok(String::new());
        }
        let outcome = block_on(pending.as_mut());
        Ok(self.statements()? + &outcome_lines(name, &outcome))
    }

    /// Waits until a batch has its place in the writer's queue, or has an outcome without one.
    fn wait_for_place(&self, mut pending: Pending) -> Result<Caller, Box<dyn std::error::Error>> {
        let database = self.database()?;
        let before = database.status().write_queue_len;
        loop {
            if let Poll::Ready(outcome) = pending.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                return Ok(Caller::Done(outcome));
            }
            if database.status().write_queue_len > before {
                return Ok(Caller::Waits(pending));
            }
            std::thread::yield_now();
        }
    }

    /// The statements of all that the writer has done so far.
    fn statements(&self) -> Output {
        // It fails if the database takes no more writes; then the writer has done everything, too.
        if let Some(database) = &self.database {
            let _ = block_on(database.run_script(FLUSH));
        }
        Ok(self.trace.take())
    }

    fn hold(&mut self) -> Output {
        let database = self.database()?;
        self.trace.hold();
        let mut held: Pin<Box<dyn Future<Output = ()> + Send>> =
            Box::pin(async move { drop(database.run_script(HOLD).await) });
        let _ = held.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        self.trace.wait_until_held();
        self.held = Some(held);
        Ok(String::new())
    }

    fn release(&mut self) -> Output {
        self.trace.release();
        if let Some(held) = self.held.take() {
            block_on(held);
        }
        let mut outcomes = String::new();
        for (name, caller) in std::mem::take(&mut self.callers) {
            let outcome = match caller {
                Caller::Done(outcome) => outcome,
                Caller::Waits(pending) => block_on(pending),
            };
            outcomes.push_str(&outcome_lines(&name, &outcome));
        }
        Ok(self.statements()? + &outcomes)
    }

    fn lock(&mut self) -> Output {
        let connection = Connection::open_with_flags_and_vfs(
            &self.file,
            rusqlite::OpenFlags::SQLITE_OPEN_READ_WRITE,
            self.disk.name(),
        )?;
        connection.execute_batch("BEGIN IMMEDIATE")?;
        self.other = Some(connection);
        Ok(String::new())
    }

    fn status(&self) -> Output {
        let status = self.database()?.status();
        let poisoned = status.poisoned.map_or(String::new(), |why| format!("; takes no writes: {why}"));
        Ok(format!("{} groups, {} batches{poisoned}", status.groups_committed, status.batches_written))
    }

    fn close(&mut self) -> Output {
        let database = self.database()?;
        self.database = None;
        block_on(database.close())?;
        Ok(self.trace.take())
    }
}

impl Runner for WriterRunner {
    type Command = Command;

    fn run(&mut self, command: &Command, context: &goldenscript::Context) -> Output {
        match command {
            Command::Open { foreign_keys, attach, queue, group, rows, bytes } => {
                let usual = Options::default();
                self.open(
                    Options::default()
                        .foreign_keys(*foreign_keys)
                        .allow_attach(*attach)
                        .write_queue_len_max(queue.unwrap_or(usual.write_queue_len_max))
                        .group_len_max(group.unwrap_or(usual.group_len_max))
                        .rows_max(*rows)
                        .held_bytes_max(bytes.unwrap_or(usual.held_bytes_max))
                        .block_bytes(bytes.map_or(usual.block_bytes, |_| 100)),
                )
            }
            Command::Setup(sql) => {
                self.script(sql)?;
                self.statements().map(|_| String::new())
            }
            Command::Hold => self.hold(),
            Command::Gone(name) => {
                self.callers.retain(|(caller, _)| caller != name);
                Ok(String::new())
            }
            Command::Release => self.release(),
            Command::Lock => self.lock(),
            Command::Unlock => {
                self.other = None;
                Ok(String::new())
            }
            Command::Fault(fault) => set_fault(&self.disk, fault),
            Command::Status => self.status(),
            Command::Close => self.close(),
            // The prefix is part of goldenscript's output.
            Command::Sql(command) if self.held.is_none() => self.run_batch("outcome", &command.name, &context.tags),
            Command::Sql(command) => {
                self.run_batch(context.prefix.as_deref().unwrap_or("outcome"), &command.name, &context.tags)
            }
        }
    }
}
