//! Scripts of a database that applies a log (`Database::apply`).
//!
//! * `open [foreign_keys=BOOL] [sole=BOOL]`: Opens the database on a simulated disk, and prints its progress. `sole`:
//!   no other node has to come to the same results.
//! * `entry [term=N] [foreign_keys=BOOL] [limit=STEPS]`: Adds an entry to the log of the script. Its index is the next
//!   one. The operations that follow belong to it; without any, it is blank. `limit`: the steps of SQLite's virtual
//!   machine that each batch may take. `foreign_keys`: the condition that the entry carries.
//! * `> SQL`: Adds a batch to the entry. Its steps are separated by `;;`.
//! * `barrier`, `membership TEXT`: Add a barrier, or a membership.
//! * `apply [FROM [TO]]`: Applies entries of these indexes in one call; by default those that have not been applied by
//!   the script. Prints the statements that begin on the writer's connection, the outcomes, and the progress.
//! * `sync`: Makes durable what has been applied, and prints up to where.
//! * `crash`: The power fails: what was not synced is lost.
//! * `close`: Closes the database.
//! * `fault none|io`: The disk works again; fails.
//! * `read SQL`: Prints the rows of a query.
//!
//! Tags of a batch: `[each]`, each step is a transaction; `[continue]`, the batch goes on after a step that fails;
//! `[exclusive]`, it shares its transaction with no other.
//!
//! Output: `writer: SQL` is a statement that begins on the writer's connection; `(write progress)` is the one that
//! writes the record of progress. `INDEX.NUMBER: …` is the outcome of an operation of an entry, counted from 0. The
//! progress is the last entry that is applied whole, and the operations and steps of the next one that are applied.

use std::sync::Arc;

use goldenscript::Runner;
use sqlhttp_core::{
    Backend as _, Conditions, Database, Deadline, FaultyDisk, LogEntry, LogWork, Loss, Options, Progress, ReadLevel,
    Writes,
};

use super::{FLUSH, Output, Trace, batch, block_on, disk_and_file, outcome_lines, set_fault};

/// See the description of the module.
#[derive(goldenscript::Command)]
pub(crate) enum Command {
    Open {
        #[arg(key, optional)]
        foreign_keys: bool,
        #[arg(key, optional)]
        sole: bool,
    },
    Entry {
        #[arg(key)]
        term: Option<u64>,
        #[arg(key)]
        foreign_keys: Option<bool>,
        #[arg(key, optional)]
        limit: u64,
    },
    Barrier,
    Membership(String),
    Apply {
        from: Option<u64>,
        to: Option<u64>,
    },
    Sync,
    Crash,
    Close,
    Fault(String),
    Read(String),
    #[command(other)]
    Sql(goldenscript::Command),
}

pub(crate) struct LogRunner {
    disk: FaultyDisk,
    file: String,
    trace: Arc<Trace>,
    database: Option<Database>,
    entries: Vec<LogEntry>,
    /// The limit of the steps of each batch of the last entry.
    limit: u64,
    /// The last entry that `apply` without arguments has given to the database.
    given: u64,
}

impl LogRunner {
    pub(crate) fn new() -> LogRunner {
        let (disk, file) = disk_and_file();
        let trace = Trace::of(&file);
        LogRunner { disk, file, trace, database: None, entries: Vec::new(), limit: 0, given: 0 }
    }

    fn open(&mut self, foreign_keys: bool, sole: bool) -> Output {
        let options =
            Options::default().vfs(Some(self.disk.name().to_owned())).writes(Writes::Log).foreign_keys(foreign_keys);
        let database = Database::open(&*self.file, options)?;
        database.set_sole(sole);
        self.trace.take();
        let progress = progress_text(&database.progress());
        self.database = Some(database);
        Ok(progress)
    }

    fn database(&self) -> Result<Database, Box<dyn std::error::Error>> {
        self.database.clone().ok_or_else(|| "the database is not open".into())
    }

    fn add_entry(&mut self, term: u64, foreign_keys: Option<bool>) {
        let conditions = foreign_keys.map(|foreign_keys| Conditions {
            unix_ms: 1_700_000_000_000,
            foreign_keys,
            value_bytes_max: 1 << 20,
            time_zone: None,
        });
        self.entries.push(LogEntry { term, index: self.entries.len() as u64 + 1, conditions, work: Vec::new() });
    }

    fn add(&mut self, operation: LogWork) -> Output {
        self.entries.last_mut().ok_or("there is no entry")?.work.push(operation);
        Ok(String::new())
    }

    fn apply(&mut self, from: Option<u64>, to: Option<u64>) -> Output {
        let database = self.database()?;
        let from = from.unwrap_or(self.given + 1);
        let to = to.unwrap_or(self.entries.len() as u64);
        let chosen: Vec<LogEntry> =
            self.entries.iter().filter(|entry| (from..=to).contains(&entry.index)).cloned().collect();
        self.given = self.given.max(to);
        let indexes: Vec<u64> = chosen.iter().map(|entry| entry.index).collect();
        let result = block_on(database.apply(chosen));
        let _ = block_on(database.run_script(FLUSH));
        let mut out = self.trace.take();
        match result {
            Ok(outcomes) => {
                for (index, outcomes) in indexes.into_iter().zip(outcomes) {
                    for (number, outcome) in outcomes.into_iter().enumerate() {
                        out.push_str(&outcome_lines(&format!("{index}.{number}"), &Ok(outcome)));
                    }
                }
            }
            Err(error) => out.push_str(&outcome_lines("apply", &Err(error))),
        }
        Ok(out + &progress_text(&database.progress()))
    }

    fn crash(&mut self) -> Output {
        let database = self.database()?;
        // While it is open, so that closing it makes nothing durable.
        self.disk.power_cut(Loss::Unsynced);
        self.database = None;
        drop(database);
        self.disk.heal();
        self.trace.take();
        Ok(String::new())
    }

    fn read(&self, sql: &str) -> Output {
        let database = self.database()?;
        let batch = batch(sql, &std::collections::BTreeSet::new());
        let rows =
            block_on(async { database.read_batch(batch, ReadLevel::None, Deadline::NEVER).await?.whole().await });
        Ok(outcome_lines("read", &rows))
    }
}

impl Runner for LogRunner {
    type Command = Command;

    fn run(&mut self, command: &Command, context: &goldenscript::Context) -> Output {
        match command {
            Command::Open { foreign_keys, sole } => self.open(*foreign_keys, *sole),
            Command::Entry { term, foreign_keys, limit } => {
                self.add_entry(term.unwrap_or(1), *foreign_keys);
                self.limit = *limit;
                Ok(String::new())
            }
            Command::Barrier => self.add(LogWork::Barrier),
            Command::Membership(text) => self.add(LogWork::Membership(text.clone().into_bytes())),
            Command::Apply { from, to } => self.apply(*from, *to),
            Command::Sync => {
                let synced = block_on(self.database()?.sync())?;
                Ok(format!("durable: {}", progress_text(&synced)))
            }
            Command::Crash => self.crash(),
            Command::Close => {
                let database = self.database()?;
                self.database = None;
                block_on(database.close())?;
                Ok(String::new())
            }
            Command::Fault(fault) => set_fault(&self.disk, fault),
            Command::Read(sql) => self.read(sql),
            Command::Sql(command) => {
                let batch = Arc::new(batch(&command.name, &context.tags));
                let exclusive = context.tags.contains("exclusive");
                self.add(LogWork::Batch { batch, exclusive, steps_max: self.limit })
            }
        }
    }
}

fn progress_text(progress: &Progress) -> String {
    let Progress { term, index, operations, steps, command_index, write_index, membership, .. } = progress;
    let part = if (*operations, *steps) == (0, 0) {
        String::new()
    } else {
        format!(" and {operations} operations, {steps} steps of the next")
    };
    let membership = String::from_utf8_lossy(membership);
    let membership = if membership.is_empty() { String::new() } else { format!(", membership '{membership}'") };
    format!("progress: {index}@{term}{part}, last command {command_index}, last write {write_index}{membership}\n")
}
