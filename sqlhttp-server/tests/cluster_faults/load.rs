//! The replacement of the database by a file, while clients read and write.

use std::time::Duration;

use super::common::Request;
use super::connection::{Connection, Reply};
use super::history::{Op, Outcome};
use super::network;
use super::run::{Load, Run};

/// The time limit of a load.
const LOAD_PATIENCE: Duration = Duration::from_secs(20);
/// Replaces the database through a node. In the history, this resets all registers.
pub fn load(run: &Run, through: usize) {
    let call = run.history.now();
    let request = Request::new("POST", "/db/load").body(run.file.clone());
    let outcome = match Connection::new(LOAD_PATIENCE).results(network::http(through), &request) {
        Reply::Results(_) => Outcome::Written,
        Reply::NoEffect(why) => {
            run.note_error("load", &why);
            Outcome::Failed
        }
        Reply::Unknown(why) => {
            run.note_error("load", &why);
            Outcome::Unknown
        }
    };
    run.history.record(run.process(), "", Op::Reset, "", call, outcome);
    if outcome != Outcome::Failed {
        let returned = (outcome == Outcome::Written).then(|| run.history.now());
        run.loads.lock().expect("the loads").push(Load { call, returned });
    }
}
