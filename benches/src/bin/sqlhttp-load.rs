//! Puts one workload on a running server and says how it did.

use std::process::ExitCode;

use sqlhttp_benches::args::{LOAD_USAGE, LoadCommand, parse_load};
use sqlhttp_benches::setup::Session;
use sqlhttp_benches::{Error, load};

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("sqlhttp-load: {error}");
            ExitCode::from(if matches!(error, Error::Usage(_)) { 2 } else { 1 })
        }
    }
}

/// Does what the command line says; whether all went well.
fn run() -> Result<bool, Error> {
    let LoadCommand::Run { plan, prepare, measure, json } = parse_load(lexopt::Parser::from_env())? else {
        print!("{LOAD_USAGE}");
        return Ok(true);
    };
    if prepare {
        Session::open(&plan.target)?.prepare(plan.items)?;
    }
    if !measure {
        return Ok(true);
    }
    let report = load::run(*plan)?;
    if json {
        let text = serde_json::to_string_pretty(&report).map_err(|e| Error::Server(format!("write JSON: {e}")))?;
        println!("{text}");
    } else {
        print!("{report}");
    }
    Ok(report.is_clean())
}
