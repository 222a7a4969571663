//! Systematic power cuts: short scenarios that run once for each operation on the disks of one machine, which loses its
//! power at that operation.

use std::collections::VecDeque;

use super::{Cluster, Crash, Later, Report, Request, SYNC_MS_MAX, Violation, check_history};
use crate::log::simulated;
use crate::sim::Mutation;
use crate::sim::power::{DiskStep, NextCut};

/// The machine that loses its power.
const VICTIM: usize = 1;
const MACHINES: usize = 3;
/// The length of a segment of the log, in bytes. The logs of the scenarios are short.
const SEGMENT_BYTES: u32 = 2 << 10;
/// The time without power.
const DOWN_MS: u64 = 30;
/// The time that a scenario waits for something that a power cut may prevent.
const PATIENCE_MS: u64 = 4000;
/// A request that a power cut may have ended is sent again, after this time.
const ATTEMPT_MS: u64 = 400;
const ATTEMPTS: usize = 4;

/// A short scenario.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scenario {
    /// The machine creates the cluster, which the others join.
    Creation,
    /// The machine joins the cluster.
    Joining,
    /// The machine votes, is elected, appends, and truncates entries that conflict with those of the leader.
    Leadership,
    /// The machine takes snapshots and purges its log.
    Purge,
    /// The machine was down while the others have purged their logs. It installs a snapshot.
    Install,
}

impl Scenario {
    /// All scenarios.
    pub const ALL: [Scenario; 5] =
        [Scenario::Creation, Scenario::Joining, Scenario::Leadership, Scenario::Purge, Scenario::Install];

    fn victim(self) -> usize {
        if self == Scenario::Creation { 0 } else { VICTIM }
    }
}

/// The effect of a power cut at an operation, and on everything that was not synced before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// The operation does not take place, and everything that was not synced is lost.
    Lost,
    /// The operation takes place in part. Of everything that was not synced, a random part remains.
    Torn,
    /// The operation does not take place. Everything before it remains.
    Kept,
    /// The operation does not take place. On the disk of the log, everything that was not synced is lost. On the disk
    /// of the database, everything before the operation remains.
    LogLost,
    /// Like [`Effect::Lost`]. The power fails a second time soon after the restart, as with [`Effect::Torn`].
    Twice,
}

impl Effect {
    /// All effects.
    pub const ALL: [Effect; 5] = [Effect::Lost, Effect::Torn, Effect::Kept, Effect::LogLost, Effect::Twice];
}

/// A power cut at an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PowerCut {
    /// The index of the operation in the sequence of a run without a power cut.
    pub at: usize,
    /// The effect on the disks.
    pub effect: Effect,
}

impl PowerCut {
    fn cuts(self) -> VecDeque<NextCut> {
        let (at, seed) = (self.at as u64, self.at as u64 + 1);
        let lost =
            NextCut { after: at, is_torn: false, log: simulated::Loss::All, database: sqlhttp_core::Loss::Unsynced };
        let torn =
            NextCut { after: at, is_torn: true, log: simulated::Loss::Part(seed), database: sqlhttp_core::Loss::Torn };
        let kept = sqlhttp_core::Loss::Nothing;
        match self.effect {
            Effect::Lost => [lost].into(),
            Effect::Torn => [torn].into(),
            Effect::Kept => [NextCut { log: simulated::Loss::Nothing, database: kept, ..lost }].into(),
            Effect::LogLost => [NextCut { database: kept, ..lost }].into(),
            Effect::Twice => [lost, NextCut { after: seed.wrapping_mul(7) % SECOND_WITHIN, ..torn }].into(),
        }
    }
}

/// A second power cut happens within this number of operations after the restart. A restart has fewer.
const SECOND_WITHIN: u64 = 20;

/// The result of a scenario.
#[derive(Debug, Clone)]
pub struct CutReport {
    /// The operations on the disks of the machine.
    pub steps: Vec<DiskStep>,
    /// The violation, the trace and the counts.
    pub report: Report,
}

/// Runs a scenario. `mutation` is a fault that the code has.
///
/// # Panics
/// The thread of the simulation cannot be started, or the simulation itself fails.
pub fn run_with_power_cut(
    scenario: Scenario,
    seed: u64,
    mutation: Option<Mutation>,
    cut: Option<PowerCut>,
) -> CutReport {
    super::on_thread(mutation, move || {
        let mut cluster = Cluster::of(MACHINES, crate::sim::random::Random::new(seed), seed, mutation)?;
        cluster.hosts.iter().for_each(|host| host.machine.set_segment_bytes(SEGMENT_BYTES));
        let ended = cluster.run_scenario(scenario, cut);
        let steps = cluster.hosts[scenario.victim()].machine.power().steps();
        let missed = cut.filter(|cut| steps.len() <= cut.at).map(|_| "the operation was not reached".to_owned());
        Ok(CutReport { steps, report: cluster.report(ended.err().or(missed)) })
    })
}

impl Cluster {
    fn run_scenario(&mut self, scenario: Scenario, cut: Option<PowerCut>) -> Result<(), Violation> {
        let cuts = cut.map(PowerCut::cuts).unwrap_or_default();
        let begin = |cluster: &Cluster| cluster.hosts[scenario.victim()].machine.power().begin(cuts);
        if matches!(scenario, Scenario::Creation | Scenario::Joining) {
            begin(self);
            self.form()?;
            self.write_at_all(1)?;
        } else {
            self.form()?;
            match scenario {
                Scenario::Install => {
                    self.fall_behind()?;
                    begin(self);
                    self.catch_up()?;
                }
                Scenario::Purge => {
                    begin(self);
                    self.purge()?;
                }
                _ => {
                    begin(self);
                    self.change_leaders()?;
                }
            }
        }
        self.hosts[scenario.victim()].machine.power().end();
        let content = self.heal()?;
        check_history(&self.history, &content)
    }

    /// The victim is leader, then votes for another leader, is leader with a slow disk, and then has entries that are
    /// truncated.
    fn change_leaders(&mut self) -> Result<(), Violation> {
        self.write_at_all(1)?;
        self.elect(VICTIM)?;
        self.write_at_all(1)?;
        self.elect(2)?;
        self.write_at_all(1)?;
        self.elect(VICTIM)?;
        // The others commit entries before this machine has synced them.
        self.hosts[VICTIM].machine.set_sync_time(60);
        self.write_at_all(1)?;
        self.hosts[VICTIM].machine.set_sync_time(SYNC_MS_MAX);
        let links: Vec<_> = [0, 2].into_iter().flat_map(|other| [(other, VICTIM), (VICTIM, other)]).collect();
        links.iter().for_each(|(from, to)| self.network.set_cut(*from, *to, true));
        for client in 0..2 {
            self.begin(client, VICTIM, Request::Write);
            self.run_for(20)?;
        }
        self.wait(|cluster| [0, 2].into_iter().any(|number| cluster.leads(number)))?;
        self.write(0)?;
        links.iter().for_each(|(from, to)| self.network.set_cut(*from, *to, false));
        self.write_at_all(1)
    }

    /// The victim takes two snapshots, as a follower and as a leader.
    fn purge(&mut self) -> Result<(), Violation> {
        self.write_at_all(2)?;
        self.snapshot(VICTIM, 0)?;
        self.write_at_all(1)?;
        self.elect(VICTIM)?;
        self.write_at_all(2)?;
        self.snapshot(VICTIM, 2)?;
        self.write_at_all(1)
    }

    /// The victim is down while the others write and purge their logs.
    fn fall_behind(&mut self) -> Result<(), Violation> {
        self.write_at_all(1)?;
        self.crash(VICTIM, Crash::PowerAll, u64::MAX / 2);
        for _ in 0..3 {
            self.write(0)?;
        }
        self.act(Later::PurgeFor(VICTIM));
        // The leader purges its log only when it has given up its connection to the victim.
        self.run_for(PATIENCE_MS)
    }

    /// The victim starts, installs a snapshot, purges its log, and is restarted.
    fn catch_up(&mut self) -> Result<(), Violation> {
        self.hosts[VICTIM].restart_at = self.network.now();
        let installed = self.counts.installed;
        self.wait(|cluster| cluster.counts.installed > installed)?;
        self.write_at_all(1)?;
        self.snapshot(VICTIM, 0)?;
        self.crash(VICTIM, Crash::Kill, 1);
        self.write_at_all(1)
    }

    fn run_for(&mut self, ms: u64) -> Result<(), Violation> {
        (0..ms).try_for_each(|_| self.tick())
    }

    /// Waits until a condition is true, or some time has passed.
    fn wait(&mut self, is_true: impl Fn(&Cluster) -> bool) -> Result<(), Violation> {
        self.wait_for(PATIENCE_MS, is_true)
    }

    fn wait_for(&mut self, ms: u64, is_true: impl Fn(&Cluster) -> bool) -> Result<(), Violation> {
        let until = self.network.now() + ms;
        while !is_true(self) && self.network.now() < until {
            self.tick()?;
        }
        Ok(())
    }

    fn leads(&self, number: usize) -> bool {
        self.hosts[number].inside(|node| node.is_ready_leader()).unwrap_or(false)
    }

    /// Writes at one node, and waits for the end of the request.
    fn write(&mut self, machine: usize) -> Result<(), Violation> {
        self.begin(machine, machine, Request::Write);
        self.wait(|cluster| cluster.clients[machine].operation.is_none())
    }

    /// Writes at all nodes at the same time, `times` times.
    fn write_at_all(&mut self, times: usize) -> Result<(), Violation> {
        for _ in 0..times {
            (0..MACHINES).for_each(|machine| self.begin(machine, machine, Request::Write));
            self.wait(|cluster| cluster.clients.iter().all(|client| client.operation.is_none()))?;
        }
        Ok(())
    }

    /// Transfers the leadership to a node.
    fn elect(&mut self, number: usize) -> Result<(), Violation> {
        for _ in 0..ATTEMPTS {
            if self.leads(number) {
                break;
            }
            let name = self.hosts[number].name.clone();
            let other = (0..MACHINES).find(|other| *other != number && self.leads(*other)).unwrap_or(0);
            self.spawn(other, move |node| async move {
                let _ = node.transfer_leadership(Some(&name), None).await;
            });
            self.wait_for(ATTEMPT_MS, |cluster| cluster.leads(number))?;
        }
        Ok(())
    }

    /// Takes a snapshot at a node and purges its log, except for some entries.
    fn snapshot(&mut self, number: usize, trailing: u64) -> Result<(), Violation> {
        let before = self.purged(number).unwrap_or(0);
        for _ in 0..ATTEMPTS {
            self.spawn(number, move |node| async move {
                let _ = node.snapshot(Some(trailing)).await;
            });
            self.wait_for(ATTEMPT_MS, |cluster| cluster.purged(number) > Some(before))?;
            if self.purged(number) > Some(before) {
                break;
            }
        }
        self.run_for(20)
    }

    fn purged(&self, number: usize) -> Option<u64> {
        self.hosts[number].inside(|node| node.inner.log.status().purged_index)
    }
}

impl Cluster {
    /// Ends the process of a machine whose power has failed at a chosen operation. Does nothing if the machine has
    /// power.
    pub(super) fn end_without_power(&mut self, number: usize) -> bool {
        let host = &self.hosts[number];
        let Some(cut) = host.machine.power().failed() else { return false };
        self.note(&format!("n{} has no power at {}", number + 1, cut.step));
        self.network.crash(number, true);
        self.hosts[number].machine.database_disk().power_cut(cut.database);
        self.end_process(number);
        let host = &mut self.hosts[number];
        host.machine.log_disk().crash(cut.log);
        host.machine.power().restore();
        host.restart_at = self.network.now() + DOWN_MS;
        // The process has ended in the middle of its work.
        let _ = crate::sim::panics::take();
        true
    }
}
