//! The options that `sqlhttp-load` and `sqlhttp-bench` have in common, and the parsers of option values with a unit.

use std::thread;
use std::time::Duration;

use clap::{Args, value_parser};

use crate::plan::{ITEMS_MAX, Plan, TIME_MAX, Target};
use crate::workload::{ROWS_PER_QUERY, Workload};

/// The options of a run that both programs accept.
#[derive(Debug, Clone, PartialEq, Args)]
pub struct RunOptions {
    /// Rows of the table that is read
    #[arg(long = "rows", value_name = "N", default_value_t = 100_000)]
    #[arg(value_parser = value_parser!(u64).range(ROWS_PER_QUERY..=ITEMS_MAX))]
    pub items: u64,

    /// Share of inserts in the mixed workload, percent
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = value_parser!(u8).range(0..=100))]
    pub write_percent: u8,

    /// Threads that keep the connections busy [default: one per core]
    #[arg(long, value_name = "N", default_value_t = cores(), hide_default_value = true)]
    pub threads: usize,

    /// Time before the measurement, under the same load
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = time)]
    pub warmup: Duration,

    /// Measured time
    #[arg(long, value_name = "TIME", default_value = "3s", value_parser = positive_time)]
    pub duration: Duration,

    /// Longest wait for the last answers after the measurement
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = time)]
    pub grace: Duration,

    /// Seed of the random numbers
    #[arg(long, value_name = "N", default_value_t = 20_260_101)]
    pub seed: u64,
}

impl RunOptions {
    /// Returns the plan of a run in a closed loop with these options.
    pub fn plan(&self, target: Target, workload: Workload, connections: usize, pids: Vec<u32>) -> Plan {
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
            pids,
            seed: self.seed,
        }
    }
}

fn cores() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// Parses a time: a number with the unit `ms`, `s` or `m`; without a unit, seconds. The maximum is [`TIME_MAX`].
fn time(text: &str) -> Result<Duration, String> {
    let number = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let seconds_per_unit = match &text[number.len()..] {
        "ms" => 1e-3,
        "" | "s" => 1.0,
        "m" => 60.0,
        unit => return Err(format!("unknown unit '{unit}', expected ms, s or m")),
    };
    let number: f64 = number.parse().map_err(|_| format!("'{number}' is not a number"))?;
    match Duration::try_from_secs_f64(number * seconds_per_unit) {
        Ok(time) if time <= TIME_MAX => Ok(time),
        _ => Err("must be between 0 and 24 hours".into()),
    }
}

/// Parses a time that must be longer than 0.
fn positive_time(text: &str) -> Result<Duration, String> {
    let time = time(text)?;
    if time.is_zero() { Err("must be above 0".into()) } else { Ok(time) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_with_and_without_a_unit() {
        for (text, millis) in [("3", 3_000), ("3s", 3_000), ("250ms", 250), ("1.5m", 90_000), ("0", 0)] {
            assert_eq!(time(text), Ok(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn errors_name_the_part_that_is_wrong() {
        for (text, error) in [
            ("3h", "unknown unit 'h'"),
            ("inf", "unknown unit 'inf'"),
            ("", "'' is not a number"),
            ("1,5s", "'1,5' is not a number"),
            ("-1s", "must be between 0 and 24 hours"),
            ("1441m", "must be between 0 and 24 hours"),
        ] {
            assert!(time(text).unwrap_err().starts_with(error), "{text}");
        }
        assert_eq!(positive_time("0ms"), Err("must be above 0".into()));
    }
}
