//! Shared parts of the runners: the statements on the writer's connection, and outcomes as text.

pub(crate) mod replicated;
pub(crate) mod writer;

use std::collections::HashMap;
use std::error::Error as StdError;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, LazyLock, Mutex};

use sqlhttp_core::{
    Atomicity, Batch, Changed, DiskFault, Ending, Error, Expect, Failure, FaultyDisk, Outcome, Rows, Stamp, Step,
    StepOutcome, ValueRef, observe_statements,
};

/// The output of a command.
pub(crate) type Output = Result<String, Box<dyn StdError>>;

/// Runs each script of a directory with a runner of its own.
pub(crate) fn run_all<R: goldenscript::Runner>(directory: &str, runner: fn() -> R) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts").join(directory);
    let mut scripts: Vec<_> = std::fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    scripts.sort();
    let failed: Vec<_> = scripts
        .iter()
        .filter(|script| catch_unwind(AssertUnwindSafe(|| goldenscript::run(&mut runner(), script).unwrap())).is_err())
        .collect();
    assert!(failed.is_empty(), "{failed:#?}");
}

/// Waits for a future on this thread.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(future)
}

/// The text of a script's step in which the writer waits. It is not recorded.
pub(crate) const HOLD: &str = "SELECT 'hold'";
/// A statement behind everything else that the writer does. It is not recorded.
pub(crate) const FLUSH: &str = "SELECT 'flush'";

/// The engine looks after each script of the owner's whether it has changed the journal mode. It is not recorded.
const AFTER_SCRIPT: &str = "PRAGMA journal_mode";

/// The statements that begin on the writer's connections of one database.
#[derive(Default)]
pub(crate) struct Trace {
    state: Mutex<TraceState>,
    changed: Condvar,
}

#[derive(Default)]
struct TraceState {
    statements: Vec<String>,
    /// A new connection is being configured.
    configuring: bool,
    held: bool,
    /// The writer waits in [`HOLD`].
    waits: bool,
}

static TRACES: LazyLock<Mutex<HashMap<String, Arc<Trace>>>> = LazyLock::new(Mutex::default);

impl Trace {
    /// The trace of the database in this file.
    pub(crate) fn of(file: &str) -> Arc<Trace> {
        observe_statements(|file, sql| {
            let trace = TRACES.lock().unwrap().get(file).cloned();
            if let Some(trace) = trace {
                trace.begins(sql);
            }
        });
        let trace = Arc::new(Trace::default());
        TRACES.lock().unwrap().insert(file.to_owned(), trace.clone());
        trace
    }

    fn begins(&self, sql: &str) {
        let mut state = self.state.lock().unwrap();
        if sql == HOLD {
            state.waits = true;
            self.changed.notify_all();
            while state.held {
                state = self.changed.wait(state).unwrap();
            }
            state.waits = false;
        } else if sql.starts_with("PRAGMA journal_mode=") {
            state.configuring = true;
            state.statements.push("(a new connection)".to_owned());
        } else if state.configuring {
            state.configuring = !sql.starts_with("SELECT count(*) FROM sqlite_schema");
        } else if ![FLUSH, AFTER_SCRIPT].contains(&sql) {
            state.statements.push(shortened(sql));
        }
    }

    /// Makes [`HOLD`] wait.
    pub(crate) fn hold(&self) {
        self.state.lock().unwrap().held = true;
    }

    /// Blocks until the writer waits in [`HOLD`].
    pub(crate) fn wait_until_held(&self) {
        let mut state = self.state.lock().unwrap();
        while !state.waits {
            state = self.changed.wait(state).unwrap();
        }
    }

    pub(crate) fn release(&self) {
        self.state.lock().unwrap().held = false;
        self.changed.notify_all();
    }

    /// The statements since the last call, a line each.
    pub(crate) fn take(&self) -> String {
        let statements = std::mem::take(&mut self.state.lock().unwrap().statements);
        statements.iter().map(|sql| format!("writer: {sql}\n")).collect()
    }
}

/// The engine's own long statements under short names.
fn shortened(sql: &str) -> String {
    if sql.starts_with("INSERT INTO main.sqlite_sqlhttp(") {
        return "(write progress)".to_owned();
    }
    sql.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A simulated disk, and a file on it that no other script uses.
pub(crate) fn disk_and_file() -> (FaultyDisk, String) {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let file = format!("/script-{}.db", NUMBER.fetch_add(1, Ordering::Relaxed));
    (FaultyDisk::new(1).unwrap(), file)
}

/// Sets the disk's fault: `none`, `full`, `io`.
pub(crate) fn set_fault(disk: &FaultyDisk, fault: &str) -> Output {
    match fault {
        "none" => disk.heal(),
        "full" => disk.fail_after(0, DiskFault::Full),
        "io" => disk.fail_after(0, DiskFault::Io),
        other => return Err(format!("there is no fault '{other}'").into()),
    }
    Ok(String::new())
}

/// A batch whose steps are separated by `;;`. Tags: `each` (each step is a transaction), `continue` (the batch goes on
/// after a step that fails), `count` (rows are not wanted).
pub(crate) fn batch(text: &str, tags: &std::collections::BTreeSet<String>) -> Batch {
    let has = |tag: &str| tags.contains(tag);
    let step = |sql: &str| {
        let step = Step::query(sql.trim(), ());
        let step = Step { expect: if has("count") { Expect::Count } else { Expect::Either }, ..step };
        if has("continue") { step.or_continue() } else { step }
    };
    let atomicity = if has("each") { Atomicity::Each } else { Atomicity::All };
    let stamp = Some(Stamp { unix_ms: 1_700_000_000_000, seed: 7 });
    Batch { atomicity, stamp, ..Batch::transaction(text.split(";;").map(step).collect()) }
}

/// The outcome of a batch, a line for each step, and a line if the batch as a whole has failed.
pub(crate) fn outcome_lines(name: &str, result: &Result<Outcome, Error>) -> String {
    let outcome = match result {
        Ok(outcome) => outcome,
        Err(error) => return format!("{name}: error {}: {error}\n", variant(error)),
    };
    let single = outcome.steps.len() == 1;
    let mut lines = String::new();
    for (number, step) in outcome.steps.iter().enumerate() {
        let number = if single { String::new() } else { format!("step {number}: ") };
        lines.push_str(&format!("{name}: {number}{}\n", step_text(step)));
    }
    match &outcome.ending {
        Ending::Done if outcome.steps.is_empty() => lines.push_str(&format!("{name}: done\n")),
        Ending::Done => {}
        Ending::Aborted(step) => lines.push_str(&format!("{name}: aborted by step {step}\n")),
        Ending::NotCommitted(failure) => lines.push_str(&format!("{name}: not committed: {}\n", failure_text(failure))),
    }
    lines
}

/// The name of a variant of an enum.
fn variant(value: &impl std::fmt::Debug) -> String {
    format!("{value:?}").chars().take_while(|char| char.is_alphanumeric()).collect()
}

fn step_text(step: &StepOutcome) -> String {
    match step {
        StepOutcome::Rows(rows) => rows_text(rows),
        StepOutcome::Changed(changed) => changed_text(changed),
        StepOutcome::ChangedEach(each) => each.iter().map(changed_text).collect::<Vec<_>>().join("; "),
        StepOutcome::Failed(failure) => format!("failed: {}", failure_text(failure)),
    }
}

fn changed_text(changed: &Changed) -> String {
    let rowid = changed.last_insert_id.map_or(String::new(), |rowid| format!(", rowid {rowid}"));
    format!("changed {}{rowid}", changed.rows)
}

fn failure_text(failure: &Failure) -> String {
    match failure {
        Failure::Sql(error) => format!("{} ({})", error.message, error.code),
        other => format!("{other} ({})", variant(other)),
    }
}

fn rows_text(rows: &Rows) -> String {
    let columns: Vec<&str> = rows.columns.iter().map(|column| &*column.name).collect();
    let row = |values: Vec<String>| format!("({})", values.join(", "));
    let lines: Vec<String> = rows.iter().map(|one| row(one.values().map(value_text).collect())).collect();
    let mut text =
        format!("{}: {}", columns.join(", "), if lines.is_empty() { "none".to_owned() } else { lines.join(" ") });
    if rows.changed.rows > 0 {
        text.push_str(&format!("; {}", changed_text(&rows.changed)));
    }
    text
}

fn value_text(value: ValueRef<'_>) -> String {
    match value {
        ValueRef::Null => "NULL".to_owned(),
        ValueRef::Integer(integer) => integer.to_string(),
        ValueRef::Real(real) => format!("{real:?}"),
        ValueRef::Text(text) => format!("'{}'", String::from_utf8_lossy(text)),
        ValueRef::Blob(bytes) => format!("{} bytes", bytes.len()),
    }
}
