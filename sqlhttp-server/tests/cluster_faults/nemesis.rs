//! The thread that causes faults. All choices depend on the seed only.

use std::sync::PoisonError;
use std::time::{Duration, Instant};

use super::common::{Random, Request};
use super::digest;
use super::fault::Fault;
use super::load::load;
use super::network;
use super::nodes::Nodes;
use super::proxy::Link;
use super::run::Run;

/// The time limit of requests to change or to maintain the cluster.
const PATIENCE: Duration = Duration::from_secs(8);
/// How often the nodes are asked to purge their logs.
const PURGES: usize = 4;
/// The time within which a node must end after its disk has failed.
const END_PATIENCE: Duration = Duration::from_secs(30);

/// Causes faults until the deadline, and ends them.
#[derive(Debug)]
pub struct Nemesis<'a> {
    pub nodes: &'a mut Nodes,
    pub run: &'a Run,
    pub random: Random,
}

impl Nemesis<'_> {
    /// Causes `faults` in a random order until the deadline, and begins again when all have been caused. With
    /// `overlap`, a second fault often begins before the first one has ended.
    pub fn attack(&mut self, faults: &[Fault], overlap: bool, deadline: Instant) {
        let mut rest = Vec::new();
        while Instant::now() < deadline {
            // The nodes work undisturbed for a while, so that a leader is elected.
            self.hold(deadline, 500, 2500);
            if faults.is_empty() || Instant::now() >= deadline {
                continue;
            }
            let mut causes = vec![self.draw(&mut rest, faults)];
            if overlap && self.random.below(2) == 0 {
                causes.push(self.draw(&mut rest, faults));
            }
            for fault in &causes {
                self.run.note_fault(*fault);
                self.cause(*fault, deadline);
            }
            self.nodes.heal();
            if causes.iter().any(|fault| fault.restores()) {
                self.compare();
            }
        }
        self.nodes.heal();
    }

    /// Draws a fault that has not been caused since the last time that all had been caused.
    fn draw(&mut self, rest: &mut Vec<Fault>, faults: &[Fault]) -> Fault {
        if rest.is_empty() {
            rest.extend_from_slice(faults);
        }
        rest.swap_remove(self.random.below(rest.len() as u64) as usize)
    }

    /// Stops the clients, and compares the contents of all nodes.
    fn compare(&mut self) {
        let _closed = self.run.gate.write().unwrap_or_else(PoisonError::into_inner);
        match digest::await_equal(self.nodes, false) {
            Ok(_) => self.run.note_comparison(),
            Err(why) => self.run.violation(why),
        }
    }

    fn cause(&mut self, fault: Fault, deadline: Instant) {
        match fault {
            Fault::KillLeader => self.kill(1, true),
            Fault::KillAny => self.kill(1, false),
            Fault::KillMajority => self.kill(self.nodes.count() / 2 + 1, false),
            Fault::KillAll => self.kill(self.nodes.count(), false),
            Fault::PauseLeader => self.pause(1, true),
            Fault::PauseAny => self.pause(1, false),
            Fault::PauseMajority => self.pause(self.nodes.count() / 2 + 1, false),
            Fault::Halves => self.halves(),
            Fault::IsolateLeader => self.isolate_leader(),
            Fault::OneWay => self.one_way(),
            Fault::Ring => self.ring(),
            Fault::Loss => self.loss(),
            Fault::Delay => {
                let max = if self.random.below(3) == 0 { 1500 } else { 300 };
                self.links(|random| Link { delay: Duration::from_millis(random.below(max)), ..Link::default() });
            }
            Fault::Bandwidth => {
                self.links(|random| Link { bytes_per_second: Some(8_000 << random.below(4)), ..Link::default() })
            }
            Fault::Resets => self.resets(),
            Fault::Blocked => self.blocked(),
            Fault::SlowSync => self.slow_sync(),
            Fault::FailedSync => self.failed_sync(),
            Fault::ClockJump => self.clock_jump(),
            Fault::Restart => return self.restart(),
            Fault::Wipe => self.wipe(),
            Fault::Remove => self.remove(),
            Fault::Transfer => return self.transfer(),
            Fault::Snapshot => self.snapshot(),
            Fault::Load => return self.load(),
            Fault::LoadAndKill => return self.load_and_kill(),
        }
        self.hold(deadline, 1500, 5000);
    }

    /// Waits for a random time between these milliseconds, or until the deadline.
    fn hold(&mut self, deadline: Instant, min: u64, max: u64) {
        let time = Duration::from_millis(min + self.random.below(max - min));
        std::thread::sleep(time.min(deadline.saturating_duration_since(Instant::now())));
    }

    fn any(&mut self) -> usize {
        self.random.below(self.nodes.count() as u64) as usize
    }

    fn leader_or_any(&mut self) -> usize {
        let any = self.any();
        self.nodes.leader().unwrap_or(any)
    }

    fn other_than(&mut self, node: usize) -> usize {
        let other = self.random.below(self.nodes.count() as u64 - 1) as usize;
        if other >= node { other + 1 } else { other }
    }

    /// All nodes in a random order.
    fn shuffled(&mut self) -> Vec<usize> {
        let mut nodes = self.nodes.all();
        for last in (1..nodes.len()).rev() {
            nodes.swap(last, self.random.below(last as u64 + 1) as usize);
        }
        nodes
    }

    /// Random nodes, the first of which may have to be the leader.
    fn victims(&mut self, number: usize, leader: bool) -> Vec<usize> {
        let shuffled = self.shuffled();
        if leader { vec![self.leader_or_any()] } else { shuffled.into_iter().take(number).collect() }
    }

    fn kill(&mut self, number: usize, leader: bool) {
        for node in self.victims(number, leader) {
            self.nodes.kill(node);
        }
    }

    fn pause(&mut self, number: usize, leader: bool) {
        for node in self.victims(number, leader) {
            self.nodes.pause(node);
        }
    }

    fn halves(&mut self) {
        let shuffled = self.shuffled();
        let (minority, majority) = shuffled.split_at(shuffled.len() / 2);
        for a in minority {
            for b in majority {
                self.nodes.network.cut_both(*a, *b);
            }
        }
    }

    fn isolate_leader(&mut self) {
        let leader = self.leader_or_any();
        for other in self.nodes.all().into_iter().filter(|other| *other != leader) {
            self.nodes.network.cut_both(leader, other);
        }
    }

    fn one_way(&mut self) {
        let (any, leader, sends) = (self.any(), self.random.below(3) > 0, self.random.below(2) == 0);
        let node = if leader { self.leader_or_any() } else { any };
        for other in self.nodes.all().into_iter().filter(|other| *other != node) {
            let (from, to) = if sends { (node, other) } else { (other, node) };
            self.nodes.network.cut(from, to);
        }
    }

    fn ring(&mut self) {
        let ring = self.shuffled();
        for (a, first) in ring.iter().enumerate() {
            for (b, second) in ring.iter().enumerate().skip(a + 1) {
                let distance = (b - a).min(ring.len() - (b - a));
                if distance > 1 {
                    self.nodes.network.cut_both(*first, *second);
                }
            }
        }
    }

    fn loss(&mut self) {
        for node in self.nodes.all() {
            self.nodes.network.lose_packets(node);
        }
    }

    /// Sets each direction of each link of the proxy.
    fn links(&mut self, link: impl Fn(&mut Random) -> Link) {
        let proxy = self.nodes.proxy.as_ref().expect("a combination with a proxy");
        for from in self.nodes.all() {
            for to in self.nodes.all() {
                proxy.set(from, to, link(&mut self.random));
            }
        }
    }

    fn resets(&mut self) {
        for _ in 0..5 {
            self.nodes.proxy.as_ref().expect("a combination with a proxy").reset();
            std::thread::sleep(Duration::from_millis(self.random.below(700)));
        }
    }

    fn blocked(&mut self) {
        let from = self.leader_or_any();
        let to = self.other_than(from);
        let proxy = self.nodes.proxy.as_ref().expect("a combination with a proxy");
        proxy.set(from, to, Link { blocked: true, ..Link::default() });
    }

    fn slow_sync(&mut self) {
        let milliseconds = 20 + self.random.below(380);
        let (all, any) = (self.random.below(3) == 0, self.leader_or_any());
        for node in self.nodes.all().into_iter().filter(|node| all || *node == any) {
            self.nodes.set_sync(node, milliseconds, false);
        }
    }

    /// The process must end by itself.
    fn failed_sync(&mut self) {
        let node = self.leader_or_any();
        self.nodes.set_sync(node, 0, true);
        let deadline = Instant::now() + END_PATIENCE;
        while self.nodes.runs(node) && self.nodes.end(node).is_none() {
            if Instant::now() > deadline {
                self.run.violation(format!("{} goes on after a failed fsync", network::name(node)));
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The clocks of up to three nodes jump; a clock may jump several times.
    fn clock_jump(&mut self) {
        for _ in 0..3 {
            let seconds = i64::try_from(self.random.below(4 * 86_400)).expect("small") - 2 * 86_400;
            let (any, leader) = (self.any(), self.random.below(2) == 0);
            let node = if leader { self.leader_or_any() } else { any };
            self.nodes.set_clock(node, seconds);
            std::thread::sleep(Duration::from_millis(self.random.below(800)));
        }
    }

    fn restart(&mut self) {
        for node in self.shuffled() {
            self.nodes.stop(node);
            self.nodes.start(node);
            std::thread::sleep(Duration::from_millis(self.random.below(1500)));
        }
    }

    fn wipe(&mut self) {
        let (node, purge) = (self.any(), self.random.below(2) == 0);
        self.nodes.kill(node);
        self.nodes.wipe(node);
        std::thread::sleep(Duration::from_millis(self.random.below(1500)));
        if purge {
            self.purge_logs(node);
        }
        self.nodes.start(node);
    }

    fn remove(&mut self) {
        let node = self.any();
        let (through, wipe) = (self.other_than(node), self.random.below(2) == 0);
        self.nodes.note_removed(node);
        let body = format!("{{\"id\":\"{}\"}}", network::name(node));
        // The outcome may be unknown; the node is started again in any case.
        let _ = self.nodes.ask(through, &Request::new("DELETE", "/remove").body(body), PATIENCE);
        std::thread::sleep(Duration::from_millis(self.random.below(2000)));
        if wipe {
            self.nodes.kill(node);
            self.nodes.wipe(node);
        }
    }

    fn transfer(&mut self) {
        let leader = self.leader_or_any();
        let to = self.other_than(leader);
        self.nodes.transfer(leader, to);
    }

    fn snapshot(&mut self) {
        let node = self.any();
        self.nodes.kill(node);
        std::thread::sleep(Duration::from_millis(1500 + self.random.below(1000)));
        self.purge_logs(node);
        self.nodes.start(node);
    }

    /// Purges the logs of all nodes but one, which then needs a snapshot. Raft keeps entries that are being replicated
    /// to the node that is down, so that one request may not be enough.
    fn purge_logs(&self, except: usize) {
        for _ in 0..PURGES {
            for node in self.nodes.all().into_iter().filter(|node| *node != except) {
                let request = Request::new("POST", "/snapshot?trailing_logs=1");
                let _ = self.nodes.ask(node, &request, PATIENCE);
            }
            std::thread::sleep(Duration::from_millis(300));
        }
    }

    fn load(&mut self) {
        let through = self.any();
        load(self.run, through);
    }

    fn load_and_kill(&mut self) {
        let (leader, through) = (self.leader_or_any(), self.any());
        let delay = Duration::from_millis(self.random.below(400));
        std::thread::scope(|scope| {
            scope.spawn(|| load(self.run, through));
            std::thread::sleep(delay);
            self.nodes.kill(leader);
            std::thread::sleep(Duration::from_millis(1000));
            self.nodes.start(leader);
        });
    }
}
