//! Starts servers, runs all workloads on each of them, and prints tables.

use std::path::Path;
use std::process::ExitCode;

use clap::Parser as _;
use sqlhttp_benches::args::{BenchArgs, BenchCommand};
use sqlhttp_benches::report::Report;
use sqlhttp_benches::series::SeriesReport;
use sqlhttp_benches::{Error, exit_code};

fn main() -> ExitCode {
    exit_code("sqlhttp-bench", run())
}

/// Does what the command line asks for. Returns whether every run was clean ([`Report::is_clean`]).
fn run() -> Result<bool, Error> {
    let BenchCommand { series, json } = BenchArgs::parse().into_command()?;
    let report = series.run(&mut |server, run| eprintln!("{}", progress(server, run)))?;
    print!("{report}");
    if let Some(file) = json {
        write_json(&file, &report)?;
    }
    Ok(report.is_clean())
}

fn progress(server: &str, run: &Report) -> String {
    let Report { workload, connections, requests_per_second, errors, .. } = run;
    format!("{server:<20} {workload:<10} {connections:>5} {requests_per_second:>10.0}/s  {} errors", errors.total())
}

fn write_json(file: &Path, report: &SeriesReport) -> Result<(), Error> {
    let text = serde_json::to_string_pretty(report).map_err(|e| Error::Server(format!("write JSON: {e}")))?;
    std::fs::write(file, text).map_err(Error::io(format!("write {}", file.display())))
}
