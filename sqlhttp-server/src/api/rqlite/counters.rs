//! The counters that `/debug/vars` shows under `http`. Each counter has the same name as in rqlite.

use std::sync::atomic::{AtomicU64, Ordering};

/// A counter that can only be increased.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, count: usize) {
        self.0.fetch_add(count as u64, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

macro_rules! counters {
    ($($name:ident,)*) => {
        /// The counters of requests since the server started.
        #[derive(Debug, Default)]
        pub(crate) struct Counters {
            $(pub(crate) $name: Counter,)*
        }

        impl Counters {
            /// Returns the names and values of all counters, sorted by name.
            pub(crate) fn all(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name.get()),)*]
            }
        }
    };
}

counters! {
    auth_fail,
    auth_ok,
    backups,
    boot,
    execute_stmts_rx,
    executions,
    leader_not_found,
    loads,
    num_readyz,
    num_status,
    queries,
    query_stmts_rx,
    queued_executions,
    queued_executions_failed,
    queued_executions_leadership_lost,
    queued_executions_no_leader,
    queued_executions_num_stmts_rx,
    queued_executions_num_stmts_tx,
    queued_executions_ok,
    queued_executions_unknown_error,
    queued_executions_wait,
    queued_executions_wait_timeout,
    request_stmts_rx,
    requests,
    sql_analyze,
    ui,
    user_reaps,
    user_snapshots,
}
