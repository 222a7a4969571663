//! The command lines of both programs.

use std::ffi::OsString;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use lexopt::Arg::{Long, Short};
use lexopt::{Parser, ValueExt as _};

use crate::Error;
use crate::http::Endpoint;
use crate::launch::CommandLine;
use crate::plan::{Plan, Target};
use crate::protocol::{self, Auth, Rqlite, Ws4sqlite};
use crate::series::{Contestant, Series};
use crate::workload::Workload;

const SEED: u64 = 20_260_101;

/// The help of `sqlhttp-load`.
pub const LOAD_USAGE: &str = "\
Usage: sqlhttp-load [options]

Puts one workload on a server of this machine and says how it did.

  --url URL            the server [http://127.0.0.1:12321, for rqlite http://127.0.0.1:4001]; only loopback addresses
  --db NAME            the database [bench]; rqlite's protocol names none
  --protocol NAME      ws4sqlite or rqlite [ws4sqlite]
  --user U             authenticate as this user ...
  --password P         ... with this password ...
  --auth basic|inline  ... in the Authorization header or in the body [basic]
  --prepare            create and fill the tables first; without --workload, that is all
  --rows N             rows of the table that is read [100000]
  --workload NAME      insert, point, rows1000, batch100, mixed or (rqlite) queued
  --write-percent N    share of inserts in the mixed workload [10]
  --connections N      connections that are kept busy [64]
  --threads N          threads that keep them busy [one per core]
  --warmup TIME        before the measurement [1s]
  --duration TIME      measurement [3s]
  --grace TIME         how long to wait for the last answers [10s]
  --rate N             open loop: N requests per second in total, whatever the server does
  --pid PID            measure processor time and memory of this process
  --seed N             where the random numbers begin
  --json               write the report as JSON

Times are numbers with the unit ms, s or m; without a unit, seconds. The exit status is 0 if every request was answered
well and every acknowledged row is there, 1 if not or if the server cannot be reached, 2 if the command line is wrong.
";

/// The help of `sqlhttp-bench`.
pub const BENCH_USAGE: &str = "\
Usage: sqlhttp-bench --server|--node [NAME=]PROGRAM [options] [-- ARGUMENTS FOR THE SERVER]

Starts a server on a fresh directory, puts all workloads on it, and prints tables. Each cell is the median of several runs.

  --server [NAME=]PROGRAM  repeatable: a server with the command line and the protocol of ws4sqlite
  --node [NAME=]PROGRAM    repeatable: one node with the command line and the protocol of rqlited
                           servers and nodes are measured in turn
  --workloads LIST         [point,rows1000,insert,batch100,mixed]; nodes know queued too
  --connections LIST       [1,8,64,256]
  --repeat N               runs of each cell [3]
  --dir DIR                where the fresh directories are made [the current directory]; must be on a real disk
  --json FILE              write all reports to this file

  --rows, --write-percent, --threads, --warmup, --duration, --grace, --seed as for sqlhttp-load
";

/// What `sqlhttp-load` is told to do.
#[derive(Debug)]
pub enum LoadCommand {
    /// Show the help.
    Help,
    /// Prepare, measure, or both.
    Run {
        /// The run.
        plan: Box<Plan>,
        /// Whether to create and fill the tables.
        prepare: bool,
        /// Whether to make the run.
        measure: bool,
        /// Whether to report in JSON.
        json: bool,
    },
}

/// What `sqlhttp-bench` is told to do.
#[derive(Debug)]
pub enum BenchCommand {
    /// Show the help.
    Help,
    /// Measure.
    Run {
        /// What.
        series: Box<Series>,
        /// The file for the JSON.
        json: Option<PathBuf>,
    },
}

/// The options that both programs have.
#[derive(Debug, Clone, PartialEq)]
pub struct Common {
    /// See [`Plan::items`].
    pub items: u64,
    /// See [`Plan::write_percent`].
    pub write_percent: u8,
    /// See [`Plan::threads`].
    pub threads: usize,
    /// See [`Plan::warmup`].
    pub warmup: Duration,
    /// See [`Plan::duration`].
    pub duration: Duration,
    /// See [`Plan::grace`].
    pub grace: Duration,
    /// See [`Plan::seed`].
    pub seed: u64,
}

impl Default for Common {
    fn default() -> Self {
        Common {
            items: 100_000,
            write_percent: 10,
            threads: thread::available_parallelism().map_or(1, usize::from),
            warmup: Duration::from_secs(1),
            duration: Duration::from_secs(3),
            grace: Duration::from_secs(10),
            seed: SEED,
        }
    }
}

impl Common {
    /// Takes the option if it is one of these.
    fn take(&mut self, option: &str, parser: &mut Parser) -> Result<bool, Error> {
        match option {
            "rows" => self.items = number(parser, option)?,
            "write-percent" => self.write_percent = number(parser, option)?,
            "threads" => self.threads = number(parser, option)?,
            "warmup" => self.warmup = time(&text(parser)?)?,
            "duration" => self.duration = time(&text(parser)?)?,
            "grace" => self.grace = time(&text(parser)?)?,
            "seed" => self.seed = number(parser, option)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// The plan for a closed loop with these options.
    pub fn plan(&self, target: Target, workload: Workload, connections: usize, pid: Option<u32>) -> Plan {
        Plan {
            target,
            workload,
            write_percent: self.write_percent,
            items: self.items,
            connections,
            threads: self.threads,
            warmup: self.warmup,
            duration: self.duration,
            grace: self.grace,
            rate: None,
            pid,
            seed: self.seed,
        }
    }
}

#[derive(Debug)]
struct LoadOptions {
    common: Common,
    url: Option<String>,
    db: String,
    protocol: String,
    auth: String,
    user: Option<String>,
    password: String,
    workload: Option<Workload>,
    connections: usize,
    rate: Option<f64>,
    pid: Option<u32>,
    prepare: bool,
    json: bool,
}

impl Default for LoadOptions {
    fn default() -> Self {
        LoadOptions {
            common: Common::default(),
            url: None,
            db: "bench".into(),
            protocol: Ws4sqlite::NAME.into(),
            auth: "basic".into(),
            user: None,
            password: String::new(),
            workload: None,
            connections: 64,
            rate: None,
            pid: None,
            prepare: false,
            json: false,
        }
    }
}

/// Understands the command line of `sqlhttp-load`.
pub fn parse_load(mut parser: Parser) -> Result<LoadCommand, Error> {
    let mut options = LoadOptions::default();
    while let Some(option) = next_option(&mut parser)? {
        match option.as_str() {
            "help" => return Ok(LoadCommand::Help),
            "url" => options.url = Some(text(&mut parser)?),
            "db" => options.db = text(&mut parser)?,
            "protocol" => options.protocol = text(&mut parser)?,
            "auth" => options.auth = text(&mut parser)?,
            "user" => options.user = Some(text(&mut parser)?),
            "password" => options.password = text(&mut parser)?,
            "workload" => options.workload = Some(text(&mut parser)?.parse()?),
            "connections" => options.connections = number(&mut parser, "connections")?,
            "rate" => options.rate = Some(number(&mut parser, "rate")?),
            "pid" => options.pid = Some(number(&mut parser, "pid")?),
            "prepare" => options.prepare = true,
            "json" => options.json = true,
            other if options.common.take(other, &mut parser)? => {}
            other => return Err(unknown(other)),
        }
    }
    options.command()
}

impl LoadOptions {
    fn command(self) -> Result<LoadCommand, Error> {
        let measure = self.workload.is_some();
        if !measure && !self.prepare {
            return Err(Error::Usage("nothing to do: give --workload, --prepare or both (--help tells more)".into()));
        }
        let auth = self.credentials()?;
        let protocol = Arc::from(protocol::by_name(&self.protocol, &self.db, &auth)?);
        let target = Target { endpoint: Endpoint::parse(self.url())?, protocol, auth };
        let workload = self.workload.unwrap_or(Workload::Point);
        let plan = Plan { rate: self.rate, ..self.common.plan(target, workload, self.connections, self.pid) };
        plan.check()?;
        Ok(LoadCommand::Run { plan: Box::new(plan), prepare: self.prepare, measure, json: self.json })
    }

    /// The address, or else the usual one of the servers that speak the protocol.
    fn url(&self) -> &str {
        let usual = if self.protocol == Rqlite::NAME { "http://127.0.0.1:4001" } else { "http://127.0.0.1:12321" };
        self.url.as_deref().unwrap_or(usual)
    }

    fn credentials(&self) -> Result<Auth, Error> {
        let Some(user) = self.user.clone() else {
            return Ok(Auth::None);
        };
        let password = self.password.clone();
        match self.auth.as_str() {
            "basic" => Ok(Auth::Basic { user, password }),
            "inline" => Ok(Auth::Inline { user, password }),
            other => Err(Error::Usage(format!("--auth {other}: must be basic or inline"))),
        }
    }
}

/// Understands the command line of `sqlhttp-bench`.
pub fn parse_bench(mut parser: Parser) -> Result<BenchCommand, Error> {
    let mut series = Series::default();
    let mut json = None;
    loop {
        if let Some(rest) = after_dashes(&mut parser) {
            series.server_args = rest;
            break;
        }
        let Some(option) = next_option(&mut parser)? else { break };
        match option.as_str() {
            "help" => return Ok(BenchCommand::Help),
            "server" => series.contestants.push(Contestant::parse(&text(&mut parser)?, CommandLine::Ws4sqlite)),
            "node" => series.contestants.push(Contestant::parse(&text(&mut parser)?, CommandLine::Rqlited)),
            "workloads" => series.workloads = list(&text(&mut parser)?, str::parse::<Workload>)?,
            "connections" => series.connections = list(&text(&mut parser)?, |item| parsed("connections", item))?,
            "repeat" => series.repeat = number(&mut parser, "repeat")?,
            "dir" => series.dir = value(&mut parser)?.into(),
            "json" => json = Some(value(&mut parser)?.into()),
            other if series.common.take(other, &mut parser)? => {}
            other => return Err(unknown(other)),
        }
    }
    series.check()?;
    Ok(BenchCommand::Run { series: Box::new(series), json })
}

/// What follows `--`, if that comes next.
fn after_dashes(parser: &mut Parser) -> Option<Vec<OsString>> {
    let mut raw = parser.try_raw_args()?;
    raw.next_if(|argument| argument == "--")?;
    Some(raw.collect())
}

fn next_option(parser: &mut Parser) -> Result<Option<String>, Error> {
    match parser.next().map_err(usage)? {
        None => Ok(None),
        Some(Short('h')) => Ok(Some("help".into())),
        Some(Long(name)) => Ok(Some(name.to_owned())),
        Some(other) => Err(usage(other.unexpected())),
    }
}

fn usage(error: lexopt::Error) -> Error {
    Error::Usage(error.to_string())
}

fn unknown(option: &str) -> Error {
    Error::Usage(format!("unknown option --{option}"))
}

fn value(parser: &mut Parser) -> Result<OsString, Error> {
    parser.value().map_err(usage)
}

fn text(parser: &mut Parser) -> Result<String, Error> {
    value(parser)?.string().map_err(usage)
}

fn number<N: FromStr>(parser: &mut Parser, option: &str) -> Result<N, Error> {
    let text = text(parser)?;
    parsed(option, &text)
}

fn parsed<N: FromStr>(option: &str, text: &str) -> Result<N, Error> {
    text.trim().parse().map_err(|_| Error::Usage(format!("--{option} {text}: not a number that makes sense here")))
}

fn list<T>(text: &str, parse: impl Fn(&str) -> Result<T, Error>) -> Result<Vec<T>, Error> {
    text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(parse).collect()
}

/// Understands `3`, `3s`, `250ms`, `1.5m`.
fn time(text: &str) -> Result<Duration, Error> {
    let refuse = || Error::Usage(format!("'{text}' is no time: give a number and ms, s or m"));
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "ms" => 1e-3,
        "" | "s" => 1.0,
        "m" => 60.0,
        _ => return Err(refuse()),
    };
    let number: f64 = digits.parse().map_err(|_| refuse())?;
    Duration::try_from_secs_f64(number * unit).map_err(|_| refuse())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(line: &str) -> Result<LoadCommand, Error> {
        parse_load(Parser::from_args(line.split_whitespace()))
    }

    fn bench(line: &str) -> Result<BenchCommand, Error> {
        parse_bench(Parser::from_args(line.split_whitespace()))
    }

    #[test]
    fn a_load_command_with_everything() {
        let line = "--url http://127.0.0.1:1 --db d --workload mixed --connections 8 --threads 2 --duration 250ms --warmup 0 \
                    --rate 1500.5 --pid 7 --user u --password p --auth inline --prepare --json --write-percent=20 --rows 5000";
        let LoadCommand::Run { plan, prepare: true, measure: true, json: true } = load(line).unwrap() else {
            panic!("not a run")
        };
        assert_eq!((plan.workload, plan.connections, plan.threads), (Workload::Mixed, 8, 2));
        assert_eq!((plan.duration, plan.warmup), (Duration::from_millis(250), Duration::ZERO));
        assert_eq!((plan.rate, plan.pid, plan.write_percent, plan.items), (Some(1500.5), Some(7), 20, 5_000));
        assert_eq!(plan.target.auth, Auth::Inline { user: "u".into(), password: "p".into() });
    }

    #[test]
    fn each_protocol_has_its_usual_port() {
        for (line, port) in [("--workload point", 12321), ("--workload queued --protocol rqlite", 4001)] {
            let LoadCommand::Run { plan, .. } = load(line).unwrap() else { panic!("not a run") };
            assert_eq!(plan.target.endpoint.address.port(), port);
        }
    }

    #[test]
    fn preparing_alone_measures_nothing() {
        assert!(matches!(load("--prepare"), Ok(LoadCommand::Run { prepare: true, measure: false, .. })));
    }

    #[test]
    fn nonsense_is_refused() {
        for line in [
            "",
            "--workload x",
            "--workload point --connections 0",
            "--workload point --rows 10",
            "--workload point --duration 0",
            "--workload point --duration 3h",
            "--workload point --duration -1s",
            "--workload point --rate 0",
            "--workload point --write-percent 101",
            "--workload point --url http://192.0.2.1:80",
            "--workload point --user u --auth digest",
            "--workload point --protocol smtp",
            "--workload queued",
            "--workload point --protocol rqlite --user u --auth inline",
            "--workload point stray",
            "--nothing",
            "--workload",
        ] {
            assert!(matches!(load(line), Err(Error::Usage(_))), "{line}");
        }
    }

    #[test]
    fn a_series_with_arguments_for_the_server() {
        let line = "--server a=/bin/x --node /opt/y --workloads point,insert --connections 1,8 --repeat 1 -- --log-level warn --";
        let BenchCommand::Run { series, json: None } = bench(line).unwrap() else { panic!("not a run") };
        assert_eq!(series.server_args, ["--log-level", "warn", "--"]);
        let names: Vec<_> = series.contestants.iter().map(|contestant| contestant.name.as_str()).collect();
        assert_eq!(names, ["a", "y"]);
        let lines: Vec<_> = series.contestants.iter().map(|contestant| contestant.command_line).collect();
        assert_eq!(lines, [CommandLine::Ws4sqlite, CommandLine::Rqlited]);
        assert_eq!(series.workloads, [Workload::Point, Workload::Insert]);
        assert_eq!(series.connections, [1, 8]);
    }

    #[test]
    fn a_series_without_a_server_is_refused() {
        for line in [
            "",
            "--server x --connections 0",
            "--server x --repeat 0",
            "--server x --workloads ,",
            "--server x y",
            "--server x --node y --workloads queued",
        ] {
            assert!(matches!(bench(line), Err(Error::Usage(_))), "{line}");
        }
        assert!(matches!(bench("--help"), Ok(BenchCommand::Help)));
    }
}
