//! Simulations without random faults: each shows a fault that the code has had. Without the check that prevents the
//! fault ([`Mutation`]), an invariant is violated.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;

/// The seeds with which a scenario runs. They determine the delays of messages.
const SEEDS: std::ops::RangeInclusive<u64> = 1..=8;

/// Checks that a scenario violates no invariant, and that it does for some seed if the code has the fault.
fn shows(fault: Mutation, scenario: fn(&mut Cluster) -> Result<(), Violation>) {
    // The fault of the engine is a setting of the process.
    static ALONE: Mutex<()> = Mutex::new(());
    let _alone = lock(&ALONE);
    let run = |seed, mutation| {
        simulate(seed, mutation, move |cluster| {
            cluster.form().expect("the cluster is formed");
            scenario(cluster)
        })
    };
    for seed in SEEDS {
        assert_eq!(run(seed, None), Ok(()), "seed {seed}");
    }
    assert!(
        SEEDS.map(|seed| run(seed, Some(fault))).any(|ended| ended.is_err()),
        "the scenario does not show the fault"
    );
}

fn tick(cluster: &mut Cluster, ms: u64) -> Result<(), Violation> {
    (0..ms).try_for_each(|_| cluster.tick())
}

fn is_ready(cluster: &Cluster, machine: usize) -> bool {
    cluster.hosts[machine].inside(|node| node.is_ready_leader()) == Some(true)
}

fn leader(cluster: &Cluster) -> usize {
    (0..cluster.hosts.len()).find(|machine| is_ready(cluster, *machine)).expect("there is a leader")
}

fn others(cluster: &Cluster, machine: usize) -> Vec<usize> {
    (0..cluster.hosts.len()).filter(|other| *other != machine).collect()
}

/// Sends a write to the node of a machine, and does not wait for its end.
fn write(cluster: &Cluster, machine: usize) {
    cluster.spawn(machine, |node| async move { drop(clients::perform(&node, Request::Write, 1, 1).await) });
}

/// Waits until another machine leads, and has applied a write.
fn wait_for_write(cluster: &mut Cluster, former: usize) -> Result<(), Violation> {
    for _ in 0..3000 {
        cluster.tick()?;
        if let Some(next) = others(cluster, former).into_iter().find(|other| is_ready(cluster, *other)) {
            write(cluster, next);
            return tick(cluster, 20);
        }
    }
    panic!("no other leader was elected");
}

/// The former leader receives nothing, so it does not notice the election, and holds its lease.
#[test]
fn a_leader_that_has_transferred_its_leadership_serves_no_reads() {
    shows(Mutation::ReadyAfterTransfer, |cluster| {
        let former = leader(cluster);
        others(cluster, former).iter().for_each(|other| cluster.network.set_cut(*other, former, true));
        cluster.spawn(former, |node| async move { drop(node.transfer_leadership(None, None).await) });
        wait_for_write(cluster, former)?;
        tick(cluster, 500)
    });
}

/// After its removal is committed, the former leader leads for a time in which the others may elect the next leader.
#[test]
fn a_leader_that_has_removed_itself_serves_no_reads() {
    shows(Mutation::ReadyWithoutVote, |cluster| {
        let former = leader(cluster);
        let name = cluster.hosts[former].name.clone();
        cluster.spawn(former, move |node| async move { drop(node.remove_member(&name, None).await) });
        for _ in 0..1000 {
            cluster.tick()?;
            let is_voter = |node: &Node| {
                let own = node.inner.leadership.own_id();
                node.inner.raft.voter_ids().any(|voter| voter == own)
            };
            if cluster.hosts[former].inside(is_voter) == Some(false) && is_ready(cluster, former) {
                return Err("a leader that does not vote serves reads".to_owned());
            }
        }
        Ok(())
    });
}

/// The followers receive an entry, and their responses arrive when another leader has been elected. The former leader
/// then commits the entry, and tells the followers so, before the second response arrives.
#[test]
fn a_late_response_does_not_renew_the_lease_of_a_former_leader() {
    shows(Mutation::SharedResponse, |cluster| {
        let former = leader(cluster);
        let cut = |cluster: &Cluster, cut, both| {
            for other in others(cluster, former) {
                cluster.network.set_cut(other, former, cut);
                cluster.network.set_cut(former, other, cut && both);
            }
        };
        cut(cluster, true, false);
        write(cluster, former);
        tick(cluster, 8)?;
        cut(cluster, true, true);
        wait_for_write(cluster, former)?;
        cut(cluster, false, false);
        tick(cluster, 200)
    });
}

/// A follower has confirmed the leader, and is started again. The other follower has no contact with the leader.
#[test]
fn a_node_that_was_started_again_does_not_end_the_lease_of_the_leader() {
    shows(Mutation::VoteAfterStart, |cluster| {
        let former = leader(cluster);
        let (restarted, candidate) = (others(cluster, former)[0], others(cluster, former)[1]);
        cluster.network.set_cut(former, candidate, true);
        cluster.network.set_cut(candidate, former, true);
        tick(cluster, 1500)?;
        for _ in 0..10 {
            cluster.crash(restarted, Crash::Kill, 1);
            tick(cluster, 370)?;
        }
        Ok(())
    });
}

/// The responses to the first step of the removal of the leader arrive when its lease has ended, so openraft refuses
/// the second step. The next change is another removal.
#[test]
fn a_change_of_the_membership_completes_an_unfinished_one_first() {
    let removals = |cluster: &mut Cluster| {
        let former = leader(cluster);
        let (own, other) = (cluster.hosts[former].name.clone(), cluster.hosts[others(cluster, former)[0]].name.clone());
        let cut = |cluster: &Cluster, cut| {
            others(cluster, former).iter().for_each(|other| cluster.network.set_cut(*other, former, cut));
        };
        let remove = |cluster: &Cluster, name: &str| {
            let name = name.to_owned();
            // Once, not until it succeeds.
            cluster.spawn(former, move |node| async move { drop(node.inner.members.remove(&name).await) });
        };
        cut(cluster, true);
        remove(cluster, &own);
        tick(cluster, 700)?;
        cut(cluster, false);
        for _ in 0..300 {
            remove(cluster, &other);
            cluster.tick()?;
        }
        tick(cluster, 1000)
    };
    for seed in SEEDS {
        let ended = simulate(seed, None, move |cluster| {
            cluster.form().expect("the cluster is formed");
            removals(cluster)
        });
        assert_eq!(ended, Ok(()), "seed {seed}");
    }
}
