//! Goldenscripts of a node (`scripts/`). They show which operations share an entry of the Raft log, what each caller
//! receives, and what a node finds after a restart.
//!
//! A script consists of commands, `---`, and the output of the commands. The name of a script is the rule that it
//! tests. `UPDATE_GOLDENFILES=1 cargo test` replaces the output with the actual one; read the difference before you
//! commit it.
//!
//! * `start [foreign_keys=BOOL] [steps=N]`: Starts a node that is a cluster of its own, and waits until it is leader.
//!   `steps`: the maximum number of SQLite virtual machine steps that a write may execute.
//! * `> SQL`, `NAME: > SQL`: Runs a batch through the Raft log and prints its outcome. `;;` separates the steps of the
//!   batch. While the database is locked, the outcome is not awaited, and `NAME` names the caller.
//! * `read LEVEL SQL`: Runs a query with a read level: `none`, `weak`, `linearizable` or `strong`.
//! * `barrier`: Appends an entry that changes nothing, and waits until it has been applied.
//! * `lock`: Locks the database with another connection, so that entries are appended to the Raft log but not applied.
//! * `gone NAME`: Drops the caller `NAME`, as when its client disconnects.
//! * `unlock`: Unlocks the database, waits for all callers, and prints their outcomes.
//! * `log`: Prints the entries of the Raft log.
//! * `progress`: Prints the last entry that the database has applied, and the cluster membership that it has stored.
//! * `snapshot [trailing=N]`: Takes a snapshot, and purges the entries before it from the Raft log, except for the last
//!   N.
//! * `image SQL`: Creates a database file with the content that the SQL creates. `load` loads it. `begin`,
//!   `chunk LOAD FROM TO`, `commit LOAD [checksum=N]` and `abort LOAD` propose the single operations of a load, with
//!   the bytes FROM to TO of the file.
//! * `clean_up`: Ends a load that is open although no leader replicates it. Without this command, `load` or `stop`, the
//!   node behaves as if a load were running.
//! * `open`, `close`: Opens the database with another connection, as another process may do, or closes that connection.
//! * `export`: Makes a copy of the database for a follower.
//! * `skip INDEX [digest=HEX]`: Writes `raft/skip.json`, which names an entry to skip. By default the digest is that of
//!   the entry.
//! * `stop`: Stops the node.
//! * `save NAME`, `restore NAME`: While the node is stopped, copies a part of its directory aside, or puts the copy
//!   back. `NAME` is the part: `database` or `raft`.
//! * `delete database`, `delete raft`: While the node is stopped, removes a part of its directory.
//!
//! Tags of a batch: with `[each]`, each step is a transaction; with `[continue]`, the batch continues after a step that
//! fails; with `[late]`, the deadline of the batch has already passed.
//!
//! In the output, an entry is written `INDEX@TERM`. `[N]` after an outcome is the index of the entry that contained the
//! batch.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;
use std::error::Error as StdError;
use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant};

use goldenscript::{Context, Runner};
use openraft::entry::EntryPayload;
use openraft::storage::RaftLogReader as _;
use rusqlite::Connection;
use sqlhttp_core::{
    Answer, Atomicity, Backend as _, Batch, Deadline, Ending, Error, Failure, Outcome, ReadLevel, Rows, Step,
    StepOutcome, ValueRef,
};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

use crate::command::Operation;
use crate::types::{Entry, Membership, index_of};
use crate::{Node, NodeOptions, membership};

#[test]
fn scripts() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/scripts");
    let mut scripts: Vec<_> = std::fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    scripts.sort();
    let failed: Vec<_> = scripts
        .iter()
        .filter(|script| {
            catch_unwind(AssertUnwindSafe(|| goldenscript::run(&mut NodeRunner::new(), script).unwrap())).is_err()
        })
        .collect();
    assert!(failed.is_empty(), "{failed:#?}");
}

/// A command of a script. The description of the module explains the commands.
#[derive(goldenscript::Command)]
enum Command {
    Start {
        #[arg(key, optional)]
        foreign_keys: bool,
        #[arg(key)]
        steps: Option<u64>,
    },
    Read {
        level: String,
        sql: String,
    },
    Barrier,
    Lock,
    Gone(String),
    Unlock,
    Log,
    Progress,
    Snapshot {
        #[arg(key, optional)]
        trailing: u64,
    },
    Image(String),
    Load,
    Begin,
    Chunk {
        load: u64,
        from: usize,
        to: usize,
    },
    Commit {
        load: u64,
        #[arg(key)]
        checksum: Option<u32>,
    },
    Abort(u64),
    #[command(name = "clean_up")]
    CleanUp,
    Export,
    Open,
    Close,
    Skip {
        index: u64,
        #[arg(key)]
        digest: Option<String>,
    },
    Stop,
    Save(String),
    Restore(String),
    Delete(String),
    #[command(other)]
    Sql(goldenscript::Command),
}

/// The number of entries that the proposer keeps in flight: see [`crate::propose`].
const ENTRIES_IN_FLIGHT: u64 = 2;

type Output = Result<String, Box<dyn StdError>>;

struct NodeRunner {
    runtime: Runtime,
    directory: tempfile::TempDir,
    aside: tempfile::TempDir,
    node: Option<Node>,
    /// The connection that locks the database; `None` while the database is not locked.
    lock: Option<Connection>,
    /// The index of the last entry of the Raft log when the database was locked.
    locked_at: u64,
    callers: Vec<(String, JoinHandle<Result<Outcome, Error>>)>,
    /// The task that holds the lock of loads, so that the periodic clean-up does not end an open load.
    loading: Option<JoinHandle<()>>,
    /// The connection of another process.
    other: Option<Connection>,
}

impl NodeRunner {
    fn new() -> NodeRunner {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let (directory, aside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        NodeRunner {
            runtime,
            directory,
            aside,
            node: None,
            lock: None,
            locked_at: 0,
            callers: Vec::new(),
            loading: None,
            other: None,
        }
    }

    fn start(&mut self, foreign_keys: bool, steps: Option<u64>) -> Output {
        let mut options = NodeOptions::new(self.directory.path(), "n1", "localhost:4002");
        options.snapshots.interval = Duration::ZERO;
        options.optimize_interval = Duration::ZERO;
        options.apply_timeout = Duration::from_secs(600);
        options.database.busy_timeout = Duration::from_secs(600);
        options.database.foreign_keys = foreign_keys;
        options.write_steps_max = steps.unwrap_or(0);
        let started = self.runtime.block_on(async {
            let node = Node::start(options).await?;
            let mut ready = node.inner.leadership.ready_term();
            // The sender of the term is dropped when the node fails.
            if ready.wait_for(|term| *term != 0).await.is_err() {
                return Err(node.failure().await.into());
            }
            Ok::<Node, Box<dyn StdError>>(node)
        });
        let masked = |error: Box<dyn StdError>| {
            let text = error.to_string().replace(&self.directory.path().display().to_string(), "DIRECTORY");
            without_offset(&text)
        };
        let node = started.map_err(masked)?;
        let inner = node.inner.clone();
        self.loading = Some(self.runtime.spawn(async move {
            let _turn = inner.loads.lock().await;
            std::future::pending().await
        }));
        self.node = Some(node);
        Ok(String::new())
    }

    fn node(&self) -> Result<Node, Box<dyn StdError>> {
        self.node.clone().ok_or_else(|| "the node does not run".into())
    }

    fn stop(&mut self) -> Output {
        self.end_loading();
        let node = self.node()?;
        self.node = None;
        self.runtime.block_on(node.close())?;
        Ok(String::new())
    }

    /// Lets the node run loads and its periodic clean-up of loads.
    fn end_loading(&mut self) {
        if let Some(loading) = self.loading.take() {
            loading.abort();
            let _ = self.runtime.block_on(loading);
        }
    }

    fn image(&self) -> std::path::PathBuf {
        self.aside.path().join("image")
    }

    fn create_image(&self, sql: &str) -> Output {
        let _ = std::fs::remove_file(self.image());
        let connection = Connection::open(self.image())?;
        connection.execute_batch(sql)?;
        connection.close().map_err(|(_, error)| error)?;
        Ok(String::new())
    }

    fn load(&mut self) -> Output {
        self.end_loading();
        let file = self.directory.path().join("sent");
        std::fs::copy(self.image(), &file)?;
        let loaded = self.runtime.block_on(self.node()?.load(file));
        Ok(loaded.map_or_else(|error| format!("error: {error}"), |index| format!("[{index}]")))
    }

    fn propose(&self, operation: Operation) -> Output {
        let node = self.node()?;
        let proposed = self.runtime.block_on(node.propose(operation, Deadline::NEVER));
        Ok(outcome_lines("outcome", &proposed))
    }

    fn chunk(&self, load: u64, from: usize, to: usize) -> Output {
        let bytes = std::fs::read(self.image())?;
        let bytes = bytes.get(from..to).ok_or("the image is shorter")?.into();
        self.propose(Operation::LoadChunk { load, offset: from as u64, bytes })
    }

    fn commit(&self, load: u64, checksum: Option<u32>) -> Output {
        let own = crc32fast::hash(&std::fs::read(self.image())?);
        self.propose(Operation::LoadCommit { load, checksum: checksum.unwrap_or(own) })
    }

    fn clean_up(&mut self) -> Output {
        self.end_loading();
        self.runtime.block_on(self.node()?.abort_stale_load());
        Ok(String::new())
    }

    fn open(&mut self) -> Output {
        let connection = Connection::open(self.directory.path().join("db.sqlite"))?;
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
        self.other = Some(connection);
        Ok(String::new())
    }

    fn export(&self) -> Output {
        let node = self.node()?;
        let exported = self.runtime.block_on(node.inner.exports.get(node.database().progress().index));
        Ok(exported.map_or_else(|error| format!("error: {error}"), |copy| format!("up to {}", copy.progress.index)))
    }

    fn run_batch(&mut self, name: &str, sql: &str, tags: &BTreeSet<String>) -> Output {
        let node = self.node()?;
        let batch = batch(sql, tags);
        let deadline = if tags.contains("late") { Deadline::at(Instant::now()) } else { Deadline::NEVER };
        let running = async move { node.write_batch(batch, deadline).await?.whole().await };
        if self.lock.is_none() {
            return Ok(outcome_lines(name, &self.runtime.block_on(running)));
        }
        let (entries, waiting) = self.queue()?;
        let caller = self.runtime.spawn(running);
        while !caller.is_finished() {
            let (entries_now, waiting_now) = self.queue()?;
            let has_place = entries_now > entries;
            let waits = waiting_now > waiting && entries >= self.locked_at + ENTRIES_IN_FLIGHT;
            if (has_place || waits) && !tags.contains("late") {
                break;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        self.callers.push((name.to_owned(), caller));
        Ok(String::new())
    }

    /// Returns the index of the last entry of the Raft log, and the number of operations that are queued to be
    /// proposed.
    fn queue(&self) -> Result<(u64, u64), Box<dyn StdError>> {
        let node = self.node()?;
        Ok((node.inner.log.status().last_index, node.inner.proposer.queued()))
    }

    fn lock(&mut self) -> Output {
        let connection = Connection::open(self.directory.path().join("db.sqlite"))?;
        connection.execute_batch("BEGIN IMMEDIATE")?;
        self.lock = Some(connection);
        self.locked_at = self.queue()?.0;
        Ok(String::new())
    }

    fn unlock(&mut self) -> Output {
        self.lock = None;
        let mut out = String::new();
        for (name, caller) in std::mem::take(&mut self.callers) {
            out.push_str(&outcome_lines(&name, &self.runtime.block_on(caller)?));
        }
        Ok(out)
    }

    fn gone(&mut self, name: &str) -> Output {
        let (gone, left): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.callers).into_iter().partition(|(caller, _)| caller == name);
        self.callers = left;
        for (_, caller) in gone {
            caller.abort();
            // The future of the caller has been dropped when `block_on` returns.
            let _ = self.runtime.block_on(caller);
        }
        Ok(String::new())
    }

    fn read(&self, level: &str, sql: &str) -> Output {
        let node = self.node()?;
        let level = match level {
            "none" => ReadLevel::None,
            "weak" => ReadLevel::Weak,
            "linearizable" => ReadLevel::Linearizable,
            "strong" => ReadLevel::Strong,
            other => return Err(format!("there is no level '{other}'").into()),
        };
        let batch = batch(sql, &BTreeSet::new());
        let rows = self
            .runtime
            .block_on(async { node.read_batch(batch, level, Deadline::NEVER).await.map(Answer::whole)?.await });
        Ok(outcome_lines("read", &rows))
    }

    fn entries(&self) -> Result<Vec<Entry>, Box<dyn StdError>> {
        let mut log = self.node()?.inner.log.clone();
        Ok(self.runtime.block_on(log.try_get_log_entries(..))?)
    }

    fn log(&self) -> Output {
        let mut out = String::new();
        let status = self.node()?.inner.log.status();
        if status.purged_index > 0 {
            writeln!(out, "purged up to {}", status.purged_index)?;
        }
        for entry in self.entries()? {
            writeln!(out, "{}@{} {}", index_of(&entry.log_id), entry.log_id.leader_id.term, content_of(&entry))?;
        }
        Ok(out)
    }

    fn progress(&self) -> Output {
        let progress = self.node()?.database().progress();
        let members = membership::decode(&progress.membership)?;
        let load = if progress.load_index > 0 { format!(", open load {}", progress.load_index) } else { String::new() };
        let stated_in = members.log_id().map_or("none".to_owned(), |id| format!("entry {}", index_of(&id)));
        Ok(format!(
            "{}@{}, last command {}, last write {}{load}, membership of {stated_in}: {}",
            progress.index,
            progress.term,
            progress.command_index,
            progress.write_index,
            members_text(members.membership()),
        ))
    }

    fn snapshot(&self, trailing: u64) -> Output {
        let node = self.node()?;
        let progress = node.database().progress();
        let before_load = progress.load_index.checked_sub(1).unwrap_or(u64::MAX);
        let cut = (progress.index - trailing).min(before_load);
        if !self.runtime.block_on(node.snapshot(Some(trailing)))? {
            return Ok("nothing to do".to_owned());
        }
        // openraft purges entries from the Raft log in the background.
        while node.inner.log.status().purged_index < cut {
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(String::new())
    }

    fn skip(&self, index: u64, digest: Option<&str>) -> Output {
        let entry = self.entries()?.into_iter().find(|entry| index_of(&entry.log_id) == index);
        let own = match entry.map(|entry| entry.payload) {
            Some(EntryPayload::Normal(command)) => command.digest(),
            _ => return Err(format!("entry {index} carries no command").into()),
        };
        let text = format!(r#"{{"index": {index}, "digest": "{}"}}"#, digest.unwrap_or(&own));
        std::fs::write(self.directory.path().join("raft").join("skip.json"), text)?;
        Ok(String::new())
    }

    fn delete(&self, part: &str) -> Output {
        for name in names_of(part)? {
            let path = self.directory.path().join(name);
            if path.is_dir() {
                std::fs::remove_dir_all(path)?;
            } else if path.exists() {
                std::fs::remove_file(path)?;
            }
        }
        Ok(String::new())
    }
}

/// Removes the offset from an error message. The offset at which the log ends is not always the same: it depends on
/// whether openraft has recorded the last committed entry before.
fn without_offset(text: &str) -> String {
    let Some((before, after)) = text.split_once("offset ") else { return text.to_owned() };
    format!("{before}offset N{}", after.trim_start_matches(|digit: char| digit.is_ascii_digit()))
}

/// Returns the names of the files and directories that make up a part of the node's directory.
fn names_of(part: &str) -> Result<&'static [&'static str], String> {
    match part {
        "database" => Ok(&["db.sqlite", "db.sqlite-wal", "db.sqlite-shm"]),
        "raft" => Ok(&["raft"]),
        other => Err(format!("there is no part '{other}'")),
    }
}

fn copy_part(part: &str, from: &Path, to: &Path) -> Output {
    for name in names_of(part)? {
        copy(&from.join(name), &to.join(name))?;
    }
    Ok(String::new())
}

/// Copies a file, or a directory with everything in it. Does nothing if it does not exist.
fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    if from.is_dir() {
        std::fs::create_dir_all(to)?;
        for entry in std::fs::read_dir(from)? {
            let entry = entry?;
            copy(&entry.path(), &to.join(entry.file_name()))?;
        }
    } else if from.exists() {
        std::fs::copy(from, to)?;
    }
    Ok(())
}

impl Runner for NodeRunner {
    type Command = Command;

    fn run(&mut self, command: &Command, context: &Context) -> Output {
        match command {
            Command::Start { foreign_keys, steps } => self.start(*foreign_keys, *steps),
            Command::Read { level, sql } => self.read(level, sql),
            Command::Barrier => Ok(format!("[{}]", self.runtime.block_on(self.node()?.barrier(Deadline::NEVER))?)),
            Command::Lock => self.lock(),
            Command::Gone(name) => self.gone(name),
            Command::Unlock => self.unlock(),
            Command::Log => self.log(),
            Command::Progress => self.progress(),
            Command::Snapshot { trailing } => self.snapshot(*trailing),
            Command::Image(sql) => self.create_image(sql),
            Command::Load => self.load(),
            Command::Begin => {
                let bytes = std::fs::metadata(self.image())?.len();
                self.propose(Operation::LoadBegin { bytes })
            }
            Command::Chunk { load, from, to } => self.chunk(*load, *from, *to),
            Command::Commit { load, checksum } => self.commit(*load, *checksum),
            Command::Abort(load) => self.propose(Operation::LoadAbort { load: *load }),
            Command::CleanUp => self.clean_up(),
            Command::Export => self.export(),
            Command::Open => self.open(),
            Command::Close => {
                self.other = None;
                Ok(String::new())
            }
            Command::Skip { index, digest } => self.skip(*index, digest.as_deref()),
            Command::Stop => self.stop(),
            Command::Save(part) => copy_part(part, self.directory.path(), self.aside.path()),
            Command::Restore(part) => {
                self.delete(part)?;
                copy_part(part, self.aside.path(), self.directory.path())
            }
            Command::Delete(part) => self.delete(part),
            // While the database is not locked, goldenscript itself prints the name before the command.
            Command::Sql(command) => {
                let name = context.prefix.as_deref().filter(|_| self.lock.is_some()).unwrap_or("outcome");
                self.run_batch(name, &command.name, &context.tags)
            }
        }
    }
}

fn batch(text: &str, tags: &BTreeSet<String>) -> Batch {
    let step = |sql: &str| {
        let step = Step::query(sql.trim(), ());
        let step = Step { expect: sqlhttp_core::Expect::Either, ..step };
        if tags.contains("continue") { step.or_continue() } else { step }
    };
    let atomicity = if tags.contains("each") { Atomicity::Each } else { Atomicity::All };
    Batch { atomicity, ..Batch::transaction(text.split(";;").map(step).collect()) }
}

fn content_of(entry: &Entry) -> String {
    match &entry.payload {
        EntryPayload::Blank => "blank".to_owned(),
        EntryPayload::Membership(members) => format!("membership: {}", members_text(members)),
        EntryPayload::Normal(command) => {
            let foreign_keys = command.conditions().is_some_and(|conditions| conditions.foreign_keys);
            let mut text = format!("command, foreign keys {}", if foreign_keys { "on" } else { "off" });
            for operation in command.operations() {
                text.push_str("\n    ");
                text.push_str(&operation_text(operation));
            }
            text
        }
    }
}

fn operation_text(operation: &Operation) -> String {
    match operation {
        Operation::Batch { batch, exclusive, steps_max } => {
            let alone = if *exclusive { ", exclusive" } else { "" };
            let limit = if *steps_max > 0 { format!(", {steps_max} steps") } else { String::new() };
            let stamp = if batch.stamp.is_some() { "" } else { ", no stamp" };
            let steps: Vec<&str> = batch.steps.iter().filter_map(Step::sql).collect();
            format!("batch{alone}{limit}{stamp}: {}", steps.join(" ;; "))
        }
        Operation::Barrier => "barrier".to_owned(),
        Operation::Replace(bytes) => format!("replace by {} bytes", bytes.len()),
        Operation::LoadBegin { bytes } => format!("begin load of {bytes} bytes"),
        Operation::LoadChunk { load, offset, bytes } => {
            format!("bytes {offset} to {} of load {load}", offset + bytes.len() as u64)
        }
        Operation::LoadCommit { load, .. } => format!("commit load {load}"),
        Operation::LoadAbort { load } => format!("abort load {load}"),
    }
}

fn members_text(members: &Membership) -> String {
    let nodes: Vec<String> =
        members.nodes().map(|(id, peer)| format!("{id} = {} at {}", peer.name, peer.raft_address)).collect();
    format!("voters {:?}, nodes {}", members.get_joint_config(), nodes.join(", "))
}

fn outcome_lines(name: &str, result: &Result<Outcome, Error>) -> String {
    let outcome = match result {
        Ok(outcome) => outcome,
        Err(error) => return format!("{name}: error: {error}\n"),
    };
    let index = outcome.log_index;
    let steps: Vec<String> = outcome.steps.iter().map(step_text).collect();
    let ending = match &outcome.ending {
        Ending::Done => String::new(),
        Ending::Aborted(step) => format!("; aborted by step {step}"),
        Ending::NotCommitted(failure) => format!("; not committed: {}", failure_text(failure)),
    };
    format!("{name}: {}{ending} [{index}]\n", steps.join("; "))
}

fn step_text(step: &StepOutcome) -> String {
    match step {
        StepOutcome::Rows(rows) => rows_text(rows),
        StepOutcome::Changed(changed) => format!("changed {}", changed.rows),
        StepOutcome::ChangedEach(each) => format!("changed in {} runs", each.len()),
        StepOutcome::Failed(failure) => format!("failed: {}", failure_text(failure)),
    }
}

fn failure_text(failure: &Failure) -> String {
    match failure {
        Failure::Sql(error) => format!("{} ({})", error.message, error.code),
        other => other.to_string(),
    }
}

fn rows_text(rows: &Rows) -> String {
    let value = |value: ValueRef<'_>| match value {
        ValueRef::Integer(integer) => integer.to_string(),
        other => format!("{:?}", other.to_value()),
    };
    let row = |row: sqlhttp_core::RowRef<'_>| row.values().map(value).collect::<Vec<_>>().join(", ");
    let rows: Vec<String> = rows.iter().map(|one| format!("({})", row(one))).collect();
    format!("rows {}", if rows.is_empty() { "none".to_owned() } else { rows.join(" ") })
}
