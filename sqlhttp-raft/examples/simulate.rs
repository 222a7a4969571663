//! Runs simulations of a cluster, and reports violations of its invariants.
//!
//! `cargo run -p sqlhttp-raft --features sim --example simulate -- FIRST [LAST [MUTATION]]` runs the seeds from FIRST
//! to LAST. With a single seed, prints the trace. With a mutation, stops at the first violation.

use std::time::Instant;

use sqlhttp_raft::sim::{self, Mutation};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
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
