//! The command lines of `sqlhttp-load` and `sqlhttp-bench`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::RangedU64ValueParser;
use clap::{ArgGroup, Parser, ValueEnum};

use crate::Error;
use crate::http::Endpoint;
use crate::launch::{CommandLineStyle, ServerProgram};
use crate::options::RunOptions;
use crate::plan::{CONNECTIONS_MAX, Plan, Target};
use crate::protocol::{Auth, ProtocolName, ReadLevel};
use crate::schedule::Rate;
use crate::series::{REPEAT_MAX, Series};
use crate::workload::Workload;

const LOAD_NOTES: &str = "\
A TIME is a number with the unit ms, s or m; without a unit, seconds.

Exit status: 0 if every request got a good answer and every acknowledged row is in the table; 1 if not, or if the
measurement could not be made; 2 if the command line is wrong.";

const BENCH_NOTES: &str = "\
A PROGRAM is the path of a program, or NAME=PATH; NAME is then used in the tables instead of the name of the file. Each
cell of the tables is the median of several runs. All programs are measured in turn, the servers before the nodes.

A TIME is a number with the unit ms, s or m; without a unit, seconds.

Exit status: 0 if in every run each request got a good answer and each acknowledged row is in the table; 1 if not, or
if the measurement could not be made; 2 if the command line is wrong.";

/// Measures a running server of this machine with one workload.
#[derive(Debug, Parser)]
#[command(name = "sqlhttp-load", after_help = LOAD_NOTES)]
#[command(group = ArgGroup::new("action").args(["prepare", "workload"]).required(true).multiple(true))]
pub struct LoadArgs {
    /// Server, on a loopback address [default: http://127.0.0.1:12321; for rqlite, port 4001]
    #[arg(long)]
    url: Option<Endpoint>,

    /// Database (ws4sqlite only)
    #[arg(long, value_name = "NAME", default_value = "bench")]
    db: String,

    /// Protocol of the server
    #[arg(long, value_name = "NAME", default_value = "ws4sqlite")]
    protocol: ProtocolName,

    /// Consistency of reads (rqlite only)
    #[arg(long, value_name = "LEVEL", default_value = "weak")]
    level: ReadLevel,

    /// User to authenticate as [default: no authentication]
    #[arg(long)]
    user: Option<String>,

    /// Password of the user
    #[arg(long, default_value = "", hide_default_value = true)]
    password: String,

    /// Place of the credentials in a request
    #[arg(long, value_name = "PLACE", default_value = "basic")]
    auth: AuthPlace,

    /// Create and fill the tables first; without --workload, do only that
    #[arg(long)]
    prepare: bool,

    /// Workload to run
    #[arg(long, value_name = "NAME")]
    workload: Option<Workload>,

    /// Connections that are kept busy
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = connections())]
    connections: usize,

    /// Open loop: send N requests per second in total, whether or not the server keeps up
    #[arg(long, value_name = "N")]
    rate: Option<Rate>,

    /// Processes of the server, separated by commas; the sums of their processor times and memory are measured
    #[arg(long = "pid", value_name = "PIDS", value_delimiter = ',')]
    pids: Vec<u32>,

    /// Print the report as JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    run: RunOptions,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum AuthPlace {
    /// The Authorization header
    Basic,
    /// The body (ws4sqlite only)
    Inline,
}

/// The request of a command line of `sqlhttp-load`.
#[derive(Debug)]
pub struct LoadCommand {
    /// The server to measure.
    pub target: Target,
    /// The number of rows in `load_items` after the table has been filled. `None` if the tables are not prepared.
    pub prepare: Option<u64>,
    /// The parameters of the run. `None` if the tables are only prepared.
    pub plan: Option<Plan>,
    /// Whether the report is printed as JSON.
    pub json: bool,
}

impl LoadArgs {
    /// Converts the command line to a command. Returns an error if options contradict each other.
    pub fn into_command(self) -> Result<LoadCommand, Error> {
        let auth = self.credentials();
        let endpoint = self.url.unwrap_or(Endpoint::local(self.protocol.default_port()));
        let target = Target { endpoint, protocol: self.protocol.for_database(&self.db, &auth, self.level)?, auth };
        let plan = self.workload.map(|workload| Plan {
            rate: self.rate,
            ..self.run.plan(target.clone(), workload, self.connections, self.pids)
        });
        plan.as_ref().map_or(Ok(()), Plan::check)?;
        Ok(LoadCommand { target, prepare: self.prepare.then_some(self.run.items), plan, json: self.json })
    }

    fn credentials(&self) -> Auth {
        match (self.user.clone(), self.password.clone(), self.auth) {
            (None, _, _) => Auth::None,
            (Some(user), password, AuthPlace::Basic) => Auth::Basic { user, password },
            (Some(user), password, AuthPlace::Inline) => Auth::Inline { user, password },
        }
    }
}

/// Starts servers on fresh directories, measures them with all workloads, and prints tables.
#[derive(Debug, Parser)]
#[command(name = "sqlhttp-bench", after_help = BENCH_NOTES)]
#[command(group = ArgGroup::new("programs").args(["servers", "nodes"]).required(true).multiple(true))]
pub struct BenchArgs {
    /// Server with the command line and the protocol of ws4sqlite (repeatable)
    #[arg(long = "server", value_name = "PROGRAM", value_parser = program(CommandLineStyle::Ws4sqlite))]
    servers: Vec<ServerProgram>,

    /// Node with the command line and the protocol of rqlited, a cluster of one (repeatable)
    #[arg(long = "node", value_name = "PROGRAM", value_parser = program(CommandLineStyle::Rqlited))]
    nodes: Vec<ServerProgram>,

    /// Workloads, separated by commas; nodes also have queued
    #[arg(long, value_name = "LIST", value_delimiter = ',', hide_possible_values = true)]
    #[arg(default_value = "point,rows1000,insert,batch100,mixed")]
    workloads: Vec<Workload>,

    /// Numbers of connections, separated by commas
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "1,8,64,256", value_parser = connections())]
    connections: Vec<usize>,

    /// Runs of each cell
    #[arg(long, value_name = "N", default_value_t = 3)]
    #[arg(value_parser = RangedU64ValueParser::<usize>::new().range(1..=REPEAT_MAX))]
    repeat: usize,

    /// Directory for the servers' directories, on a real disk
    #[arg(long, default_value = ".")]
    dir: PathBuf,

    /// File for all reports, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,

    #[command(flatten)]
    run: RunOptions,

    /// Further arguments for each server
    #[arg(last = true, value_name = "ARGUMENTS")]
    server_args: Vec<OsString>,
}

/// The request of a command line of `sqlhttp-bench`.
#[derive(Debug)]
pub struct BenchCommand {
    /// The programs to measure, and how.
    pub series: Series,
    /// The file to which the reports are written as JSON. `None` if they are only printed as tables.
    pub json: Option<PathBuf>,
}

impl BenchArgs {
    /// Converts the command line to a command. Returns an error if options contradict each other.
    pub fn into_command(self) -> Result<BenchCommand, Error> {
        let series = Series {
            programs: self.servers.into_iter().chain(self.nodes).collect(),
            workloads: self.workloads,
            connections: self.connections,
            repeat: self.repeat,
            dir: self.dir,
            server_args: self.server_args,
            run_options: self.run,
        };
        series.check()?;
        Ok(BenchCommand { series, json: self.json })
    }
}

fn connections() -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(1..=CONNECTIONS_MAX)
}

fn program(command_line: CommandLineStyle) -> impl Fn(&str) -> Result<ServerProgram, String> + Clone {
    move |text| ServerProgram::parse(text, command_line)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use clap::CommandFactory as _;

    use super::*;

    fn parse<P: Parser>(line: &str) -> Result<P, String> {
        let words = std::iter::once("program").chain(line.split_whitespace());
        P::try_parse_from(words).map_err(|error| error.to_string())
    }

    fn load(line: &str) -> Result<LoadCommand, String> {
        parse::<LoadArgs>(line)?.into_command().map_err(|error| error.to_string())
    }

    fn bench(line: &str) -> Result<BenchCommand, String> {
        parse::<BenchArgs>(line)?.into_command().map_err(|error| error.to_string())
    }

    #[test]
    fn the_definitions_are_consistent() {
        LoadArgs::command().debug_assert();
        BenchArgs::command().debug_assert();
    }

    #[test]
    fn a_load_command_with_everything() {
        let line = "--url http://127.0.0.1:1 --db d --workload mixed --connections 8 --threads 2 --duration 250ms --warmup 0 \
                    --rate 1500.5 --pid 7,8 --user u --password p --auth inline --prepare --json --write-percent=20 --rows 5000";
        let LoadCommand { target, prepare, plan, json } = load(line).unwrap();
        assert_eq!((target.endpoint.address.port(), prepare, json), (1, Some(5_000), true));
        assert_eq!(target.auth, Auth::Inline { user: "u".into(), password: "p".into() });
        let plan = plan.unwrap();
        assert_eq!((plan.workload, plan.connections, plan.threads), (Workload::Mixed, 8, 2));
        assert_eq!((plan.duration, plan.warmup), (Duration::from_millis(250), Duration::ZERO));
        assert_eq!(plan.rate.map(Rate::per_second), Some(1500.5));
        assert_eq!((plan.pids, plan.write_percent, plan.items), (vec![7, 8], 20, 5_000));
    }

    #[test]
    fn the_defaults_of_a_load_command() {
        let plan = load("--workload insert").unwrap().plan.unwrap();
        assert_eq!((plan.connections, plan.items, plan.write_percent), (64, 100_000, 10));
        assert_eq!([plan.warmup, plan.duration, plan.grace], [1, 3, 10].map(Duration::from_secs));
        assert_eq!((plan.rate, plan.pids, plan.target.auth), (None, vec![], Auth::None));
    }

    #[test]
    fn each_protocol_has_a_default_port() {
        for (line, port) in [("--workload point", 12321), ("--workload queued --protocol rqlite", 4001)] {
            assert_eq!(load(line).unwrap().target.endpoint.address.port(), port);
        }
    }

    #[test]
    fn prepare_alone_measures_nothing() {
        let command = load("--prepare").unwrap();
        assert!(command.prepare == Some(100_000) && command.plan.is_none());
    }

    #[test]
    fn invalid_load_commands_are_refused_with_the_reason() {
        for (line, reason) in [
            ("", "--workload <NAME>"),
            ("--workload x", "[possible values: insert, point, rows1000, batch100, mixed, queued]"),
            ("--workload point --connections 0", "0 is not in 1..=10000"),
            ("--workload point --rows 10", "10 is not in 1000..=100000000"),
            ("--workload point --duration 0", "must be above 0"),
            ("--workload point --duration 3h", "unknown unit 'h', expected ms, s or m"),
            ("--workload point --duration=-1s", "must be between 0 and 24 hours"),
            ("--workload point --rate 0", "must be above 0 and at most 10000000"),
            ("--workload point --write-percent 101", "101 is not in 0..=100"),
            ("--workload point --url http://192.0.2.1:80", "not a loopback address"),
            ("--workload point --user u --auth digest", "[possible values: basic, inline]"),
            ("--workload point --protocol smtp", "[possible values: ws4sqlite, rqlite]"),
            ("--workload queued", "ws4sqlite has no queued writes"),
            ("--workload point --protocol rqlite --user u --auth inline", "use --auth basic"),
            ("--workload point stray", "unexpected argument 'stray'"),
            ("--nothing", "unexpected argument '--nothing'"),
            ("--workload", "a value is required"),
        ] {
            let error = load(line).unwrap_err();
            assert!(error.contains(reason), "{line}: {error}");
        }
    }

    #[test]
    fn a_series_with_arguments_for_the_server() {
        let line = "--server a=/bin/x --node /opt/y --workloads point,insert --connections 1,8 --repeat 1 -- --log-level warn --";
        let BenchCommand { series, json: None } = bench(line).unwrap() else { panic!("a JSON file") };
        assert_eq!(series.server_args, ["--log-level", "warn", "--"]);
        let names: Vec<_> = series.programs.iter().map(|program| program.name.as_str()).collect();
        assert_eq!(names, ["a", "y"]);
        let lines: Vec<_> = series.programs.iter().map(|program| program.command_line).collect();
        assert_eq!(lines, [CommandLineStyle::Ws4sqlite, CommandLineStyle::Rqlited]);
        assert_eq!(series.workloads, [Workload::Point, Workload::Insert]);
        assert_eq!(series.connections, [1, 8]);
    }

    #[test]
    fn the_defaults_of_a_series() {
        let series = bench("--server x").unwrap().series;
        let names: Vec<_> = series.workloads.iter().map(|workload| workload.name()).collect();
        assert_eq!(names, ["point", "rows1000", "insert", "batch100", "mixed"]);
        assert_eq!((series.connections, series.repeat, series.dir), (vec![1, 8, 64, 256], 3, PathBuf::from(".")));
        assert!(series.server_args.is_empty());
    }

    #[test]
    fn invalid_series_are_refused_with_the_reason() {
        for (line, reason) in [
            ("", "--server <PROGRAM>"),
            ("--server x --connections 0", "0 is not in 1..=10000"),
            ("--server x --repeat 0", "0 is not in 1..=1000"),
            ("--server x --workloads ,", "a value is required"),
            ("--server x y", "unexpected argument 'y'"),
            ("--server name=", "names no program"),
            ("--server x --node y --workloads queued", "leave out --server or the workload queued"),
        ] {
            let error = bench(line).err().unwrap_or_default();
            assert!(error.contains(reason), "{line}: {error}");
        }
    }
}
