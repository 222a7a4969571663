//! A series of runs: all workloads at several numbers of connections, several times, on one or more servers. A cell of
//! the printed tables stands for one workload at one number of connections.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

use serde::Serialize;

use crate::launch::{CommandLineStyle, Server, ServerProgram};
use crate::options::RunOptions;
use crate::report::Report;
use crate::setup::BlockingClient;
use crate::workload::Workload;
use crate::{Error, load, procfs};

/// The maximum number of runs of a cell.
pub const REPEAT_MAX: u64 = 1_000;

/// The parameters of a series of runs.
#[derive(Debug)]
pub struct Series {
    /// The programs that are measured.
    pub programs: Vec<ServerProgram>,
    /// The workloads, in the order in which they are run.
    pub workloads: Vec<Workload>,
    /// The numbers of connections at which each workload is run.
    pub connections: Vec<usize>,
    /// The number of runs of each cell, a cell being one workload at one number of connections.
    pub repeat: usize,
    /// The directory in which a directory is created for each server.
    pub dir: PathBuf,
    /// Additional arguments with which each server is started.
    pub server_args: Vec<OsString>,
    /// The options that all runs have in common.
    pub run_options: RunOptions,
}

/// The results of a series of runs. The fields are those of the JSON report.
#[derive(Debug, Serialize)]
pub struct SeriesReport {
    /// The type of the file system that contains the databases. `None` if it is not known.
    pub filesystem: Option<String>,
    /// The number of rows in `load_items`, the table that is read.
    pub items: u64,
    /// The number of runs of each cell, a cell being one workload at one number of connections.
    pub repeat: usize,
    /// The results of each server program.
    pub servers: Vec<ServerResults>,
}

/// The results of one server program in a series.
#[derive(Debug, Serialize)]
pub struct ServerResults {
    /// The name of the program in the tables.
    pub name: String,
    /// The path of the program's executable.
    pub program: String,
    /// The additional arguments with which the program was started.
    pub arguments: Vec<String>,
    /// The time between the start of the process and its first successful response on an empty database, in
    /// milliseconds. The list contains one value for each round.
    pub start_to_answer_ms: Vec<f64>,
    /// The resident memory after the first successful response, in bytes. The list contains one value for each round.
    pub idle_rss_bytes: Vec<u64>,
    /// The cells: one for each workload and number of connections.
    pub cells: Vec<Cell>,
}

/// All runs of one workload at one number of connections on one server.
#[derive(Debug, Serialize)]
pub struct Cell {
    /// The workload of the runs.
    pub workload: Workload,
    /// The number of connections of each run.
    pub connections: usize,
    /// The reports of the runs, in ascending order of throughput.
    pub runs: Vec<Report>,
}

impl Series {
    /// Returns an error if the protocol of one of the programs does not support one of the workloads.
    pub fn check(&self) -> Result<(), Error> {
        let speaks_ws4sqlite = |program: &ServerProgram| program.command_line == CommandLineStyle::Ws4sqlite;
        if self.workloads.contains(&Workload::Queued) && self.programs.iter().any(speaks_ws4sqlite) {
            return Err(Error::Usage(
                "ws4sqlite has no queued writes: leave out --server or the workload queued".into(),
            ));
        }
        Ok(())
    }

    /// Makes all runs of the series. After each run, calls `progress` with the name of the server and the report.
    pub fn run(&self, progress: &mut dyn FnMut(&str, &Report)) -> Result<SeriesReport, Error> {
        let mut servers: Vec<_> = self.programs.iter().map(|program| self.empty_results(program)).collect();
        for _ in 0..self.repeat {
            // The programs are measured in turn, so that a disturbance of the machine affects all of them.
            for (program, results) in self.programs.iter().zip(&mut servers) {
                self.round(program, results, progress)?;
            }
        }
        servers.iter_mut().flat_map(|server| &mut server.cells).for_each(Cell::sort_runs);
        let filesystem = procfs::filesystem(&self.dir);
        Ok(SeriesReport { filesystem, items: self.run_options.items, repeat: self.repeat, servers })
    }

    fn empty_results(&self, program: &ServerProgram) -> ServerResults {
        let cells_of = |workload| self.connections.iter().map(move |&connections| Cell::empty(workload, connections));
        ServerResults {
            name: program.name.clone(),
            program: program.file.display().to_string(),
            arguments: self.server_args.iter().map(|argument| argument.to_string_lossy().into_owned()).collect(),
            start_to_answer_ms: Vec::new(),
            idle_rss_bytes: Vec::new(),
            cells: self.workloads.iter().copied().flat_map(cells_of).collect(),
        }
    }

    /// Starts a server, makes one run for each cell, and stops the server.
    fn round(
        &self,
        program: &ServerProgram,
        results: &mut ServerResults,
        progress: &mut dyn FnMut(&str, &Report),
    ) -> Result<(), Error> {
        let server = Server::start(program, &self.server_args, &self.dir)?;
        results.start_to_answer_ms.push(server.start_to_answer().as_secs_f64() * 1e3);
        results.idle_rss_bytes.push(procfs::usage(server.pid())?.rss_bytes);
        BlockingClient::open(server.target())?.prepare(self.run_options.items)?;
        for cell in &mut results.cells {
            let target = server.target().clone();
            let plan = self.run_options.plan(target, cell.workload, cell.connections, vec![server.pid()]);
            let run = load::run(plan)?;
            progress(&program.name, &run);
            cell.runs.push(run);
        }
        server.stop()
    }
}

impl ServerResults {
    fn table(&self, f: &mut fmt::Formatter<'_>, title: &str, show: &dyn Fn(&Report) -> String) -> fmt::Result {
        writeln!(f, "\n{}: {title}", self.name)?;
        for (row, cells) in self.cells.chunk_by(|a, b| a.workload == b.workload).enumerate() {
            if row == 0 {
                write!(f, "{:<10}", "")?;
                cells.iter().try_for_each(|cell| write!(f, "{:>12}", cell.connections))?;
                writeln!(f)?;
            }
            write!(f, "{:<10}", cells.first().map_or("", |cell| cell.workload.name()))?;
            for cell in cells {
                write!(f, "{:>12}", cell.median_run().map_or("-".into(), show))?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

impl Cell {
    fn empty(workload: Workload, connections: usize) -> Self {
        Cell { workload, connections, runs: Vec::new() }
    }

    fn sort_runs(&mut self) {
        self.runs.sort_by(|a, b| a.requests_per_second.total_cmp(&b.requests_per_second));
    }

    /// Returns the run with the median throughput, which is shown in the tables. If the number of runs is even, it is
    /// the slower one of the two runs in the middle. `None` if there are no runs.
    pub fn median_run(&self) -> Option<&Report> {
        self.runs.get(self.runs.len().checked_sub(1)? / 2)
    }
}

impl SeriesReport {
    /// Returns whether all runs were clean ([`Report::is_clean`]).
    pub fn is_clean(&self) -> bool {
        self.runs().all(|(_, run)| run.is_clean())
    }

    fn runs(&self) -> impl Iterator<Item = (&str, &Report)> {
        let cells = self.servers.iter().flat_map(|server| server.cells.iter().map(|cell| (server.name.as_str(), cell)));
        cells.flat_map(|(name, cell)| cell.runs.iter().map(move |run| (name, run)))
    }
}

impl fmt::Display for SeriesReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let filesystem = self.filesystem.as_deref().unwrap_or("unknown");
        writeln!(f, "median of {}, {} rows, file system {filesystem}; columns: connections", self.repeat, self.items)?;
        if filesystem == "tmpfs" {
            writeln!(f, "warning: nothing is durable on tmpfs; use --dir with a directory on a disk")?;
        }
        for server in &self.servers {
            server.table(f, "requests per second", &|run| format!("{:.0}", run.requests_per_second))?;
            server.table(f, "latency p50 / p99, ms", &|run| {
                format!("{:.2}/{:.2}", run.latency_us.p50 / 1e3, run.latency_us.p99 / 1e3)
            })?;
            server.table(f, "server's CPU per request, µs", &|run| {
                run.server.as_ref().map_or("-".into(), |server| format!("{:.1}", server.cpu_us_per_request))
            })?;
            server.table(f, "server's peak memory in the run, MiB", &|run| {
                let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
                run.server.as_ref().map_or("-".into(), |server| format!("{:.1}", mib(server.rss_window_peak_bytes)))
            })?;
            writeln!(f, "start to first answer, ms: {:.0?}", server.start_to_answer_ms)?;
            let kib: Vec<u64> = server.idle_rss_bytes.iter().map(|bytes| bytes / 1024).collect();
            writeln!(f, "idle memory, KiB: {kib:?}")?;
        }
        for (name, run) in self.runs().filter(|(_, run)| !run.is_clean() || !run.warnings().is_empty()) {
            write!(f, "\nrun of {name} with errors or warnings: {run}")?;
        }
        Ok(())
    }
}
