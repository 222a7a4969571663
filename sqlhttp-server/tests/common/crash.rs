//! A server that is killed under many writers, and the check that no acknowledged write is lost.

use std::collections::HashSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::Value;

use super::{Client, Request, Response, Server, eventually};

const WRITERS: u64 = 64;

/// The number of bytes of filling in some rows, so that a write spans pages.
const FILLING: usize = 3000;

/// The number of crashes: that of `SQLHTTP_CRASH_ROUNDS`, or else `default`.
pub fn rounds(default: u64) -> u64 {
    std::env::var("SQLHTTP_CRASH_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// The filling of the rows with this id.
pub fn filling(id: u64) -> String {
    "x".repeat(if id.is_multiple_of(5) { FILLING } else { 0 })
}

/// A write that its server acknowledges.
#[derive(Debug, Clone, Copy)]
pub struct Write {
    /// The request of the write with this id.
    pub request: fn(u64) -> Request,
    /// Panics unless the response acknowledges the write.
    pub assert_acknowledged: fn(&Response),
}

impl Write {
    /// Writes one id after the other until the server is gone, and notes the acknowledged ones.
    fn until_gone(self, mut client: Client, first: u64, acknowledged: &Mutex<Vec<u64>>, count: &AtomicU64) {
        for id in first.. {
            let Ok(response) = client.send(&(self.request)(id)) else { return };
            (self.assert_acknowledged)(&response);
            acknowledged.lock().expect("list").push(id);
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Kills the server after `enough` acknowledged writes of many clients, and adds their ids to `acknowledged`.
    /// Another client runs `beside` meanwhile, which must return when the server is gone.
    pub fn crash_under_load(
        self,
        server: Server,
        round: u64,
        enough: u64,
        acknowledged: &Mutex<Vec<u64>>,
        beside: fn(Client),
    ) {
        let count = AtomicU64::new(0);
        let clients: Vec<Client> = (0..WRITERS).map(|_| server.client()).collect();
        std::thread::scope(|scope| {
            for (writer, client) in (0..).zip(clients) {
                let count = &count;
                let first = (round * WRITERS + writer) * 1_000_000;
                scope.spawn(move || self.until_gone(client, first, acknowledged, count));
            }
            let client = server.client();
            scope.spawn(move || beside(client));
            eventually("writes are acknowledged", || count.load(Ordering::Relaxed) >= enough);
            server.crash();
        });
    }
}

/// Asserts that each acknowledged id is in the first column of these rows.
pub fn assert_none_lost(rows: &Value, acknowledged: &[u64]) {
    let present: HashSet<u64> = rows.as_array().expect("rows").iter().filter_map(|row| row[0].as_u64()).collect();
    let lost: Vec<&u64> = acknowledged.iter().filter(|id| !present.contains(id)).collect();
    assert!(lost.is_empty(), "{} of {} acknowledged writes are lost: {lost:?}", lost.len(), acknowledged.len());
}
