//! A database that reads its behaviour from the SQL text.
//!
//! * `hang`: does not answer.
//! * `wait`: answers once the gate is opened.
//! * `blocks N`: answers with N blocks of rows, in parts. `blocks N then fail` ends with a timeout, `blocks N then
//!   abort` with
//!   a failed statement.
//! * `overloaded`, `closed`: the error of this name. `panic`: a panic.
//! * `login`: a row if the parameter `password` is the parameter `user` backwards. `login overloaded`, `login broken`:
//!   an error.
//! * anything else: one row with the text.

use std::sync::{Arc, Condvar, Mutex};

use sqlhttp_core::{
    Action, Answer, Backend, Batch, Block, BoxFuture, Changed, Column, Columns, Deadline, Ending, Error, Failure,
    Outcome, Part, PartStream, ReadLevel, Rows, SqlError, Status, StepOutcome, Value, ValueRef,
};
use tokio::sync::Semaphore;

/// The simulated database.
pub struct Simulated {
    /// Requests that have reached it.
    pub started: Count,
    /// Requests (or their streams) that were dropped before their end.
    pub dropped: Arc<Count>,
    /// Each `wait` takes one permit.
    pub gate: Semaphore,
    pub deadlines: Mutex<Vec<Deadline>>,
    pub poisoned: Arc<Mutex<Option<String>>>,
}

/// A counter that a test can wait for.
#[derive(Default)]
pub struct Count {
    value: Mutex<usize>,
    changed: Condvar,
}

impl Count {
    pub fn get(&self) -> usize {
        *self.value.lock().unwrap()
    }

    fn add_one(&self) {
        *self.value.lock().unwrap() += 1;
        self.changed.notify_all();
    }

    /// Waits until the count is at least this.
    pub fn reaches(&self, value: usize) {
        let count = self.value.lock().unwrap();
        let (count, _) = self.changed.wait_timeout_while(count, super::PATIENCE, |count| *count < value).unwrap();
        assert!(*count >= value, "the count is {} and does not reach {value}", *count);
    }
}

/// Counts itself if it is dropped before its end.
struct Unfinished(Option<Arc<Count>>);

impl Drop for Unfinished {
    fn drop(&mut self) {
        if let Some(dropped) = &self.0 {
            dropped.add_one();
        }
    }
}

impl Default for Simulated {
    fn default() -> Self {
        Simulated {
            started: Count::default(),
            dropped: Arc::default(),
            gate: Semaphore::new(0),
            deadlines: Mutex::default(),
            poisoned: Arc::default(),
        }
    }
}

impl Simulated {
    pub fn status_fn(&self) -> sqlhttp_server::process::StatusFn {
        let poisoned = Arc::clone(&self.poisoned);
        Arc::new(move || {
            let mut status = Status::default();
            status.poisoned = poisoned.lock().unwrap().clone();
            status
        })
    }

    async fn run(&self, batch: Batch, deadline: Deadline) -> Result<Answer, Error> {
        let mut unfinished = Unfinished(Some(Arc::clone(&self.dropped)));
        self.deadlines.lock().unwrap().push(deadline);
        self.started.add_one();
        let sql = batch.steps[0].sql().unwrap_or_default().to_owned();
        let answer = match sql.as_str() {
            "hang" => std::future::pending().await,
            "wait" => {
                self.gate.acquire().await.unwrap().forget();
                Ok(Answer::Whole(one_row("wait")))
            }
            "overloaded" | "login overloaded" => Err(Error::Overloaded("the queue is full")),
            "closed" => Err(Error::Closed),
            "panic" => panic!("this panic is part of a test"),
            "login" => Ok(Answer::Whole(login(&batch))),
            "login broken" => Ok(Answer::Whole(failed())),
            text if text.starts_with("blocks ") => {
                let parts = Blocks::new(text, Unfinished(Some(Arc::clone(&self.dropped))));
                Ok(Answer::Parts(Box::new(parts)))
            }
            text => Ok(Answer::Whole(one_row(text))),
        };
        unfinished.0 = None;
        answer
    }
}

impl Backend for Simulated {
    fn request(&self, batch: Batch, _: ReadLevel, deadline: Deadline) -> BoxFuture<'_, Result<Answer, Error>> {
        Box::pin(self.run(batch, deadline))
    }

    fn read_batch(&self, batch: Batch, _: ReadLevel, deadline: Deadline) -> BoxFuture<'_, Result<Answer, Error>> {
        Box::pin(self.run(batch, deadline))
    }
}

fn login(batch: &Batch) -> Outcome {
    let Action::Run { bindings, .. } = &batch.steps[0].action else { panic!("a login is one query") };
    let value = |name: &str| {
        let entry = bindings.entries.iter().find(|entry| entry.name.as_deref() == Some(name)).unwrap();
        let Value::Text(text) = &entry.value else { panic!("{name} should be text") };
        text.clone()
    };
    let right = value("user") == value("password").chars().rev().collect::<String>();
    if right { one_row("1") } else { outcome(rows(Vec::new())) }
}

fn failed() -> Outcome {
    let error =
        SqlError { code: 1, generic: "SQL logic error".into(), message: "no such table: secrets".into(), offset: None };
    Outcome { steps: vec![StepOutcome::Failed(Failure::Sql(error))], ending: Ending::Aborted(0), ..Outcome::default() }
}

fn one_row(text: &str) -> Outcome {
    outcome(rows(vec![block(text, 1)]))
}

fn outcome(rows: Rows) -> Outcome {
    Outcome { steps: vec![StepOutcome::Rows(rows)], ending: Ending::Done, ..Outcome::default() }
}

fn rows(blocks: Vec<Block>) -> Rows {
    Rows { columns: columns(), blocks, changed: Changed::default() }
}

fn columns() -> Arc<Columns> {
    [Column { name: "a".into(), ..Column::default() }].into()
}

fn block(text: &str, rows: usize) -> Block {
    let mut block = Block::new(1);
    for _ in 0..rows {
        block.push_row([ValueRef::Text(text.as_bytes())]);
    }
    block
}

/// The number of rows in a block of an answer in parts.
pub const ROWS_PER_BLOCK: usize = 1000;

/// An answer in parts.
struct Blocks {
    left: usize,
    begun: bool,
    end: &'static str,
    ended: bool,
    unfinished: Unfinished,
}

impl Blocks {
    fn new(sql: &str, unfinished: Unfinished) -> Self {
        let left = sql.split(' ').nth(1).unwrap().parse().unwrap();
        let end = if sql.ends_with("fail") {
            "fail"
        } else if sql.ends_with("abort") {
            "abort"
        } else {
            "done"
        };
        Blocks { left, begun: false, end, ended: false, unfinished }
    }

    fn part(&mut self) -> Option<Result<Part, Error>> {
        if !self.begun {
            self.begun = true;
            return Some(Ok(Part::Columns(columns())));
        }
        if self.left > 0 {
            self.left -= 1;
            return Some(Ok(Part::Rows(block("some text that takes up room", ROWS_PER_BLOCK))));
        }
        self.unfinished.0 = None;
        match self.end {
            "fail" => Some(Err(Error::Timeout)),
            "abort" => Some(Ok(Part::Step(failed().steps.remove(0), sqlhttp_core::StepInfo::default()))),
            _ if self.ended => Some(Ok(Part::End(Ending::Done))),
            _ => {
                self.ended = true;
                Some(Ok(Part::Step(StepOutcome::Rows(rows(Vec::new())), sqlhttp_core::StepInfo::default())))
            }
        }
    }
}

impl PartStream for Blocks {
    fn next(&mut self) -> BoxFuture<'_, Option<Result<Part, Error>>> {
        Box::pin(async { self.part() })
    }
}
