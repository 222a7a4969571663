//! Chooses the faults of a simulation.

use super::random::Random;

/// A fault, or a request of an operator. Machines are numbered from 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fault {
    /// The process of a machine ends, and is started again after a time.
    Crash { machine: usize, how: Crash, down_ms: u64 },
    /// All machines lose their power.
    CrashAll { how: Crash, down_ms: u64 },
    /// Links are cut, and repaired after a time.
    Cut { links: Vec<(usize, usize)>, for_ms: u64 },
    /// The links of a machine become slow, for a time.
    SlowLinks { machine: usize, delay_ms: u64, for_ms: u64 },
    /// The disk of a machine becomes slow, for a time.
    SlowDisk { machine: usize, sync_ms: u64, for_ms: u64 },
    /// The system clock of a machine jumps.
    Clock { machine: usize, skew_ms: i64 },
    /// A snapshot is taken, and the log is purged except for some entries.
    Snapshot { machine: usize, trailing: u64 },
    /// The leadership is transferred.
    Transfer { machine: usize },
    /// A member is removed, and joins again after a time.
    Remove { machine: usize, by: usize, for_ms: u64 },
}

/// How a process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Crash {
    /// The process is killed.
    Kill,
    /// The power fails, and everything that was not synced is lost.
    PowerAll,
    /// The power fails, and a part of what was not synced is lost.
    PowerPart,
}

/// The kinds of faults, and how often they occur compared with each other.
const KINDS: [(Kind, u64); 9] = [
    (Kind::Crash, 30),
    (Kind::CrashAll, 4),
    (Kind::Cut, 26),
    (Kind::SlowLinks, 5),
    (Kind::SlowDisk, 8),
    (Kind::Clock, 4),
    (Kind::Snapshot, 14),
    (Kind::Transfer, 5),
    (Kind::Remove, 4),
];

#[derive(Clone, Copy)]
enum Kind {
    Crash,
    CrashAll,
    Cut,
    SlowLinks,
    SlowDisk,
    Clock,
    Snapshot,
    Transfer,
    Remove,
}

/// How often faults of each kind occur in a simulation. That differs from seed to seed: one kind of fault may hide the
/// consequences of another (Groce et al., Swarm Testing, 2012). A crash, for example, ends the isolation of a leader.
pub(super) struct Mix {
    kinds: Vec<(Kind, u64)>,
    pause_ms_max: u64,
}

impl Mix {
    pub(super) fn new(random: &mut Random) -> Mix {
        const FACTORS: [u64; 6] = [0, 1, 2, 2, 2, 8];
        let mut kinds = KINDS.to_vec();
        kinds.iter_mut().for_each(|(_, weight)| *weight *= FACTORS[random.index(FACTORS.len())]);
        let pause_ms_max = [400, 1000, 1000, 2500][random.index(4)];
        Mix { kinds, pause_ms_max }
    }

    /// Returns the time between two faults.
    pub(super) fn pause_ms(&self, random: &mut Random) -> u64 {
        random.between(50, self.pause_ms_max)
    }

    fn kind(&self, random: &mut Random) -> Kind {
        let mut at = random.below(self.kinds.iter().map(|(_, weight)| weight).sum());
        for (kind, weight) in &self.kinds {
            match at.checked_sub(*weight) {
                Some(left) => at = left,
                None => return *kind,
            }
        }
        // No kind has a weight.
        Kind::Crash
    }

    /// Chooses the next fault in a cluster of this size. `leader` is the machine of the leader, if there is one.
    pub(super) fn choose(&self, random: &mut Random, machines: usize, leader: Option<usize>) -> Fault {
        // Most faults have consequences only if they hit the leader.
        let any = random.index(machines);
        let machine = leader.filter(|_| random.percent(50)).unwrap_or(any);
        let for_ms = random.between(200, 5000);
        match self.kind(random) {
            Kind::Crash => Fault::Crash { machine, how: crash(random), down_ms: down_ms(random) },
            Kind::CrashAll => Fault::CrashAll { how: crash(random), down_ms: down_ms(random) },
            Kind::Cut => Fault::Cut { links: links(random, machines, machine), for_ms },
            Kind::SlowLinks => Fault::SlowLinks { machine, delay_ms: random.between(20, 400), for_ms },
            Kind::SlowDisk => Fault::SlowDisk { machine, sync_ms: random.between(20, 800), for_ms },
            Kind::Clock => {
                Fault::Clock { machine, skew_ms: 60_000 - i64::try_from(random.below(120_000)).unwrap_or(0) }
            }
            Kind::Snapshot => {
                Fault::Snapshot { machine, trailing: if random.percent(70) { 0 } else { random.below(20) } }
            }
            Kind::Transfer => Fault::Transfer { machine },
            Kind::Remove => Fault::Remove { machine, by: random.index(machines), for_ms },
        }
    }
}

fn crash(random: &mut Random) -> Crash {
    match random.below(4) {
        0 => Crash::Kill,
        1 => Crash::PowerAll,
        _ => Crash::PowerPart,
    }
}

/// Often shorter than an election.
fn down_ms(random: &mut Random) -> u64 {
    if random.percent(60) { random.between(1, 500) } else { random.between(500, 6000) }
}

/// Chooses the links that are cut: a machine is isolated, or in one direction only, or cannot reach one other machine,
/// or the cluster is divided.
fn links(random: &mut Random, machines: usize, machine: usize) -> Vec<(usize, usize)> {
    let others = (0..machines).filter(|other| *other != machine);
    match random.below(6) {
        0 => others.map(|other| (machine, other)).collect(),
        1 => others.map(|other| (other, machine)).collect(),
        2..4 => others.flat_map(|other| [(machine, other), (other, machine)]).collect(),
        4 => {
            let other = (machine + 1 + random.index(machines - 1)) % machines;
            vec![(machine, other), (other, machine)]
        }
        _ => {
            let side = random.bits();
            let is_left = |machine: usize| side >> machine & 1 == 1;
            let pairs = (0..machines).flat_map(|from| (0..machines).map(move |to| (from, to)));
            pairs.filter(|(from, to)| is_left(*from) != is_left(*to)).collect()
        }
    }
}
