//! Runs one workload on a running server and prints a report.

use std::process::ExitCode;

use clap::Parser as _;
use sqlhttp_benches::args::{LoadArgs, LoadCommand};
use sqlhttp_benches::setup::BlockingClient;
use sqlhttp_benches::{Error, exit_code, load};

fn main() -> ExitCode {
    exit_code("sqlhttp-load", run())
}

/// Does what the command line asks for. Returns whether the run was clean: no failed request, no missing row.
fn run() -> Result<bool, Error> {
    let LoadCommand { target, prepare, plan, json } = LoadArgs::parse().into_command()?;
    if let Some(items) = prepare {
        BlockingClient::open(&target)?.prepare(items)?;
    }
    let Some(plan) = plan else {
        return Ok(true);
    };
    let report = load::run(plan)?;
    if json {
        let text = serde_json::to_string_pretty(&report).map_err(|e| Error::Server(format!("write JSON: {e}")))?;
        println!("{text}");
    } else {
        print!("{report}");
    }
    Ok(report.is_clean())
}
