//! Replays all conversations recorded from rqlite (`fixtures/rqlite`) against one node; see `common::replay`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::path::Path;

use common::replay::{Conversation, Replay};
use common::{Node, Server};

const REPLAY: Replay = Replay { folder: "rqlite", server: "rqlite", start, differs: DIFFERS };

const DIFFERS: &[(&str, &str)] = &[
    ("level-11", "a queued write has happened when it is answered, and so comes before the next one"),
    ("stmt-25", "of a text that fails, nothing remains; the original keeps the statements before the failure"),
];

fn start(conversation: &Conversation, dir: &Path) -> Server {
    conversation.write_files(dir);
    let flags = conversation.flags.iter().map(|flag| flag.replace("{dir}", &dir.to_string_lossy()));
    Node::new(&dir.join("data")).flags(flags).start()
}

macro_rules! replayed {
    ($($test:ident: $file:literal,)*) => {
        $(#[test] fn $test() { REPLAY.file($file); })*

        #[test]
        fn every_fixture_is_replayed() {
            let mut replayed = vec![$($file),*];
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
    auth: "auth.case",
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
