//! Replays conversations recorded from rqlite (`fixtures/rqlite`) against one node, and against the data API of a
//! standalone server that serves one database in a file; see `common::replay`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::replay::{Replay, replay_tests};

const QUEUED_IS_WRITTEN: &str = "a queued write is applied before it is answered, and so before the next write";
const NOTHING_LEFT: &str =
    "a text that fails leaves nothing; rqlite keeps the effects of the statements before the failure";
const NO_CLUSTER: &str = "there is no cluster";
const NO_LOG: &str = "the writes of a standalone server are in no log and have no index";
const OWN_PATHS_ONLY: &str = "paths outside the data API are answered as ws4sqlite answers them";

/// Replays the files that all servers have, and some more.
macro_rules! rqlite_tests {
    ($replay:expr; $($more:tt)*) => {
        $crate::replay_tests! {
            $replay;
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
            $($more)*
        }

        #[test]
        fn every_difference_is_of_an_exchange() {
            $replay.assert_differences_exist(FILES);
        }
    };
}

mod node {
    use std::path::Path;

    use super::common::replay::Conversation;
    use super::common::{Node, Server};
    use super::{NOTHING_LEFT, QUEUED_IS_WRITTEN, Replay};

    const REPLAY: Replay = Replay { folder: "rqlite", server: "rqlite", start, differs: DIFFERS };

    const DIFFERS: &[(&str, &str)] = &[
        ("a text of two statements with values for one", NOTHING_LEFT),
        ("the id of a row that is inserted after queued ones", QUEUED_IS_WRITTEN),
    ];

    fn start(conversation: &Conversation, dir: &Path) -> Server {
        conversation.write_files(dir);
        Node::new(&dir.join("data")).flags(conversation.flags_in(dir)).start()
    }

    rqlite_tests! { REPLAY; auth: "auth.case", }

    #[test]
    fn every_fixture_is_replayed() {
        REPLAY.assert_complete(FILES);
    }
}

mod standalone {
    use std::path::Path;

    use super::common::replay::Conversation;
    use super::common::{Launch, Server};
    use super::{NO_CLUSTER, NO_LOG, NOTHING_LEFT, OWN_PATHS_ONLY, QUEUED_IS_WRITTEN, Replay};

    const REPLAY: Replay = Replay { folder: "rqlite", server: "rqlite", start, differs: DIFFERS };

    const DIFFERS: &[(&str, &str)] = &[
        ("POST to remove", NO_CLUSTER),
        ("a node is removed", NO_CLUSTER),
        ("a parameter that is no duration on an unknown path", OWN_PATHS_ONLY),
        ("a text of two statements with values for one", NOTHING_LEFT),
        ("boot from garbage", NO_CLUSTER),
        ("the address of the leader in the status", NO_CLUSTER),
        ("the id of a row that is inserted after queued ones", QUEUED_IS_WRITTEN),
        ("the index of a strong read", NO_LOG),
        ("the index of a write", NO_LOG),
        ("the leader in the status", NO_CLUSTER),
        ("the leader steps down", NO_CLUSTER),
        ("the nodes in the status", NO_CLUSTER),
        ("trailing_logs that is no number", OWN_PATHS_ONLY),
    ];

    fn start(conversation: &Conversation, dir: &Path) -> Server {
        assert!(conversation.flags.is_empty() && conversation.files.is_empty(), "recorded with rqlite's own flags");
        Launch::new().dir(dir).args(["--db", "n1.db"]).start()
    }

    rqlite_tests! { REPLAY; }

    /// A standalone server has other users than a node, so that file is left out.
    #[test]
    fn every_fixture_but_that_of_users_is_replayed() {
        REPLAY.assert_complete(&[FILES, &["auth.case"]].concat());
    }
}
