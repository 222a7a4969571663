//! Runs simulations of a cluster, and reports violations of its invariants.
//!
//! `cargo run -p sqlhttp-raft --features sim --example simulate -- FIRST [LAST [MUTATION]]` runs the seeds from FIRST
//! to LAST. With a single seed, prints the trace. With a mutation, stops at the first violation.
//!
//! `… -- cut SCENARIO OPERATION EFFECT [MUTATION]` repeats a power cut of the test `power_cuts`. Prints the operations
//! on the disks of the machine, and the trace.

use std::time::Instant;

use sqlhttp_raft::sim::{self, Effect, Mutation, PowerCut, Scenario};

/// The seed of the test `power_cuts`.
const CUT_SEED: u64 = 1;

/// Returns the value with this name.
fn named<T: std::fmt::Debug + Copy>(all: &[T], name: Option<&String>) -> Option<T> {
    all.iter().find(|value| Some(&format!("{value:?}")) == name).copied()
}

/// Repeats a power cut.
fn cut(arguments: &[String]) -> Option<()> {
    let scenario = named(&Scenario::ALL, arguments.first())?;
    let cut = PowerCut { at: arguments.get(1)?.parse().ok()?, effect: named(&Effect::ALL, arguments.get(2))? };
    let run = sim::run_with_power_cut(scenario, CUT_SEED, named(&Mutation::ALL, arguments.get(3)), Some(cut));
    run.steps.iter().enumerate().for_each(|(at, step)| println!("{at:>4} {step}"));
    run.report.trace.iter().for_each(|line| println!("{line}"));
    std::process::exit(i32::from(run.report.violation.is_some()))
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|first| first == "cut") {
        cut(&arguments[1..]);
        eprintln!("usage: simulate cut SCENARIO OPERATION EFFECT [MUTATION]");
        eprintln!("the scenarios are {:?}, the effects {:?}", Scenario::ALL, Effect::ALL);
        std::process::exit(2);
    }
    let number = |at: usize| arguments.get(at).and_then(|text| text.parse::<u64>().ok());
    let Some(first) = number(0) else {
        eprintln!("usage: simulate FIRST [LAST [MUTATION]]");
        std::process::exit(2);
    };
    let last = number(1).unwrap_or(first);
    let name = arguments.get(2);
    let mutation = Mutation::ALL.into_iter().find(|mutation| Some(&format!("{mutation:?}")) == name);
    if name.is_some() && mutation.is_none() {
        eprintln!("the mutations are {:?}", Mutation::ALL);
        std::process::exit(2);
    }
    let (begun, mut violations) = (Instant::now(), 0);
    for seed in first..=last {
        let report = sim::run(seed, mutation);
        if first == last {
            report.trace.iter().for_each(|line| println!("{line}"));
            println!("{:?}", report.counts);
            println!("fingerprint {:016x}", report.fingerprint);
        }
        if let Some(violation) = report.violation {
            violations += 1;
            println!("seed {seed}: {violation}");
            if mutation.is_some() {
                // The fault is found.
                break;
            }
        }
    }
    let took = begun.elapsed();
    println!("{} seeds in {took:.1?}, {violations} with a violation", last - first + 1);
    std::process::exit(i32::from(violations > 0));
}
