//! Starts servers, puts all workloads on them, and prints tables.

use std::path::Path;
use std::process::ExitCode;

use sqlhttp_benches::Error;
use sqlhttp_benches::args::{BENCH_USAGE, BenchCommand, parse_bench};
use sqlhttp_benches::report::Report;
use sqlhttp_benches::series::SeriesReport;

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("sqlhttp-bench: {error}");
            ExitCode::from(if matches!(error, Error::Usage(_)) { 2 } else { 1 })
        }
    }
}

/// Does what the command line says; whether all went well.
fn run() -> Result<bool, Error> {
    let BenchCommand::Run { series, json } = parse_bench(lexopt::Parser::from_env())? else {
        print!("{BENCH_USAGE}");
        return Ok(true);
    };
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
