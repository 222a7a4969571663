//! Replays conversations recorded from rqlite (`fixtures/rqlite`) against the data API of this server, which serves one
//! database in a file; see `common::replay`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::path::Path;

use common::replay::{Conversation, Replay};
use common::{Launch, Server};

const REPLAY: Replay = Replay { folder: "rqlite", server: "rqlite", start, differs: DIFFERS };

const NO_CLUSTER: &str = "there is no cluster to ask or change";
const OWN_PATHS_ONLY: &str = "paths that are not of the data API are answered as ws4sqlite does";
const NOTHING_LEFT: &str =
    "of a text that fails, nothing remains; the original keeps the statements before the failure";
const QUEUED_IS_WRITTEN: &str =
    "a queued write has happened when it is answered, and so comes before the next one; and no log, no index";
const NO_LOG: &str = "no log carries the writes of a single database, so there is no index to tell";

const DIFFERS: &[(&str, &str)] = &[
    ("adm-08", NO_CLUSTER),
    ("adm-09", NO_CLUSTER),
    ("adm-13", NO_CLUSTER),
    ("adm-17", NO_CLUSTER),
    ("adm-18", NO_CLUSTER),
    ("adm-21", NO_CLUSTER),
    ("adm-22", NO_CLUSTER),
    ("adm-23", NO_CLUSTER),
    ("adm-24", NO_CLUSTER),
    ("adm-25", NO_CLUSTER),
    ("adm-26", NO_CLUSTER),
    ("adm-27", NO_CLUSTER),
    ("bk-13", NO_CLUSTER),
    ("level-11", QUEUED_IS_WRITTEN),
    ("stmt-25", NOTHING_LEFT),
    ("unified-18", NO_LOG),
    ("unified-19", NO_LOG),
    ("url-10", OWN_PATHS_ONLY),
    ("url-14", OWN_PATHS_ONLY),
    ("url-37", NO_CLUSTER),
];

fn start(conversation: &Conversation, dir: &Path) -> Server {
    assert!(conversation.flags.is_empty() && conversation.files.is_empty(), "for another program");
    Launch::new().dir(dir).args(["--db", "n1.db"]).start()
}

macro_rules! replayed {
    ($($test:ident: $file:literal,)*) => {
        $(#[test] fn $test() { REPLAY.file($file); })*

        #[test]
        fn every_fixture_is_replayed() {
            // The users of a cluster have a file of their own.
            let mut replayed = vec!["auth.case", $($file),*];
            replayed.sort();
            assert_eq!(common::names(&REPLAY.fixtures()), replayed);
        }

        #[test]
        fn every_difference_is_of_an_exchange() {
            let titles: Vec<String> = [$($file),*].into_iter().flat_map(|file| REPLAY.titles(file)).collect();
            for (name, why) in DIFFERS {
                assert!(titles.iter().any(|title| title.split(' ').next() == Some(name)), "{name}: {why}");
            }
        }
    };
}

replayed! {
    admin: "admin.case",
    backup: "backup.case",
    basic: "basic.case",
    blobs: "blobs.case",
    malformed: "malformed.case",
    parameters: "parameters.case",
    pragmas: "pragmas.case",
    queue: "queue.case",
    statements: "statements.case",
    timeouts: "timeouts.case",
    transactions: "transactions.case",
    types: "types.case",
    unified: "unified.case",
    urls: "urls.case",
}
