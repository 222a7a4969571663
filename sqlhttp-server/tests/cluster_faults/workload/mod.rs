//! The clients: operations on registers, inserts of unique serials, and transfers between accounts. Each client is a
//! thread with a connection of its own.

pub mod accounts;
pub mod appends;
pub mod registers;

use std::sync::PoisonError;
use std::time::Duration;

use serde_json::{Value, json};

use super::common::Random;
use super::connection::{Connection, Reply};
use super::network;
use super::run::Run;
use appends::Appends;
use registers::Registers;

/// The tables of all workloads. The defaults of `log` are values that replicas must not compute on their own.
const SCHEMA: [&str; 5] = [
    "CREATE TABLE registers(k TEXT PRIMARY KEY, v INTEGER)",
    "CREATE TABLE log(serial INTEGER, pad TEXT, at TEXT DEFAULT (datetime('now', 'subsec')), \
     noise INTEGER DEFAULT (random()))",
    "CREATE INDEX log_noise ON log(noise)",
    "CREATE TABLE accounts(id INTEGER PRIMARY KEY, balance INTEGER)",
    "INSERT INTO accounts VALUES(1, 100), (2, 100), (3, 100), (4, 100)",
];
/// The time limit of an operation on the node, and that of the client.
const TIMEOUT: &str = "timeout=4s";
const PATIENCE: Duration = Duration::from_secs(6);
/// A client waits up to this many milliseconds after each operation, and longer after an error.
const PAUSE_MS: u64 = 25;

/// Which clients run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    Registers,
    Appends,
    /// Appends with up to 16 KiB of text that cannot be compressed.
    LargeAppends,
    /// Registers, appends, and transfers between accounts.
    All,
}

/// The statements that create the initial content.
pub fn schema() -> Value {
    json!(SCHEMA)
}

/// A client of a workload.
#[derive(Debug)]
pub struct Client<'a> {
    run: &'a Run,
    random: Random,
    connection: Connection,
    node: usize,
}

impl<'a> Client<'a> {
    fn new(run: &'a Run, number: u64) -> Client<'a> {
        let mut random = Random::new(run.seed.wrapping_mul(1000).wrapping_add(number));
        let node = random.below(run.nodes as u64) as usize;
        Client { run, random, connection: Connection::new(PATIENCE), node }
    }

    /// Sends statements to the node of this client. `target` is the endpoint with its parameters.
    fn send(&mut self, operation: &str, target: &str, statements: &Value) -> Reply {
        let reply = self.connection.statements(network::http(self.node), &format!("{target}&{TIMEOUT}"), statements);
        let pause = match &reply {
            Reply::Results(_) => PAUSE_MS,
            Reply::NoEffect(why) | Reply::Unknown(why) => {
                self.run.note_error(operation, why);
                PAUSE_MS * 8
            }
        };
        // A client goes to another node after an error, and now and then.
        if pause > PAUSE_MS || self.random.below(30) == 0 {
            self.node = self.random.below(self.run.nodes as u64) as usize;
        }
        std::thread::sleep(Duration::from_millis(self.random.below(pause)));
        reply
    }

    /// Repeats an operation until the run ends.
    fn repeat(&mut self, mut operation: impl FnMut(&mut Client<'_>)) {
        while !self.run.stops() {
            let _open = self.run.gate.read().unwrap_or_else(PoisonError::into_inner);
            operation(self);
        }
    }
}

/// The clients of a run, and what they must find at its end.
#[derive(Debug)]
pub struct Workload {
    work: Work,
    registers: Registers,
    appends: Appends,
}

impl Workload {
    pub fn new(work: Work) -> Workload {
        Workload { work, registers: Registers::default(), appends: Appends::default() }
    }

    /// Starts the clients.
    pub fn spawn<'scope>(&'scope self, scope: &'scope std::thread::Scope<'scope, '_>, run: &'scope Run) {
        let (registers, appends, accounts) = match self.work {
            Work::Registers => (8, 0, 0),
            Work::Appends => (0, 6, 0),
            Work::LargeAppends => (0, 4, 0),
            Work::All => (5, 3, 2),
        };
        for number in 0..registers {
            scope.spawn(move || self.registers.work(&mut Client::new(run, number)));
        }
        for number in 0..appends {
            let pad_max = if self.work == Work::LargeAppends { 16 << 10 } else { 0 };
            scope.spawn(move || self.appends.work(&mut Client::new(run, 100 + number), number, pad_max));
        }
        for number in 0..accounts {
            scope.spawn(move || accounts::work(&mut Client::new(run, 200 + number)));
        }
    }

    /// Reads everything on each node after all faults have ended.
    pub fn finish(&self, run: &Run) {
        for node in 0..run.nodes {
            let mut client = Client { node, ..Client::new(run, 300) };
            let level = if node % 2 == 0 { "strong" } else { "linearizable" };
            self.registers.read_all(&mut client, level);
            self.appends.check(&mut client, level);
            accounts::check(&mut client, level);
        }
    }
}
