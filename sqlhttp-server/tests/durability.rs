//! Crashes of the standalone server. The process is killed at a random moment under many writers. After each restart
//! every acknowledged write must be there, none may be there in part, and the file must be sound. The number of crashes
//! is 5, or that of `SQLHTTP_CRASH_ROUNDS`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::sync::Mutex;

use serde_json::{Value, json};

use common::crash::{self, Write, assert_none_lost, filling};
use common::{Random, Request, Server, temp_dir, write};

const WRITE: Write = Write {
    request: |id| Request::json("/t", json!({ "transaction": two_rows(id) })),
    assert_acknowledged: |response| assert_eq!(response.status, 200, "{}", response.text()),
};

fn rounds() -> u64 {
    crash::rounds(5)
}

/// One transaction of two rows with this id: as two items, as one item of two statements, or as a batch.
fn two_rows(id: u64) -> Value {
    let filling = filling(id);
    let insert = "INSERT INTO W(id, part, filling) VALUES(?, ?, ?)";
    match id % 3 {
        0 => json!([
            {"statement": insert, "values": [id, 1, filling]},
            {"statement": insert, "values": [id, 2, filling]}
        ]),
        1 => json!([{
            "statement": "INSERT INTO W VALUES(:id, 1, :f); INSERT INTO W VALUES(:id, 2, :f)",
            "values": {"id": id, "f": filling}
        }]),
        _ => json!([{"statement": insert, "valuesBatch": [[id, 1, filling], [id, 2, filling]]}]),
    }
}

fn assert_sound(server: &Server, acknowledged: &[u64]) {
    assert_eq!(server.query("t", "PRAGMA integrity_check"), json!([["ok"]]));
    let halves = server.query("t", "SELECT id, count(*) FROM W GROUP BY id HAVING count(*) <> 2 OR sum(part) <> 3");
    assert_eq!(halves, json!([]), "these transactions are there in part");
    assert_none_lost(&server.query("t", "SELECT DISTINCT id FROM W"), acknowledged);
}

fn crash_again_and_again(companion: &str, rounds: u64) {
    let dir = temp_dir();
    write(dir.path(), "t.yaml", companion);
    Server::file(dir.path())
        .execute("t", "CREATE TABLE W(id INTEGER, part INTEGER, filling TEXT); CREATE INDEX I ON W(id)");
    let mut random = Random::from_environment();
    let acknowledged = Mutex::new(Vec::new());
    for round in 0..rounds {
        let enough = 1 + random.below(3000);
        WRITE.crash_under_load(Server::file(dir.path()), round, enough, &acknowledged, drop);
        assert_sound(&Server::file(dir.path()), &acknowledged.lock().expect("list"));
    }
    let acknowledged = acknowledged.into_inner().expect("list").len();
    eprintln!("{acknowledged} acknowledged writes survived {rounds} crashes");
    assert!(acknowledged as u64 >= rounds);
}

/// A server with transaction 1 and no other in its table.
fn with_one_write() -> Server {
    let server = Server::memory();
    server.execute("t", "CREATE TABLE W(id INTEGER, part INTEGER, filling TEXT)");
    assert_eq!(server.transaction("t", two_rows(1)).status, 200);
    server
}

#[test]
#[should_panic(expected = "acknowledged writes are lost: [7]")]
fn the_check_sees_a_lost_write() {
    assert_sound(&with_one_write(), &[1, 7]);
}

#[test]
#[should_panic(expected = "these transactions are there in part")]
fn the_check_sees_half_a_write() {
    let server = with_one_write();
    server.execute("t", "INSERT INTO W VALUES(2, 1, '')");
    assert_sound(&server, &[1]);
}

#[test]
fn acknowledged_writes_survive_crashes() {
    crash_again_and_again("{}\n", rounds());
}

#[test]
fn acknowledged_writes_survive_crashes_without_a_write_ahead_log() {
    crash_again_and_again("disableWALMode: true\n", rounds().div_ceil(5));
}

#[test]
fn a_crash_while_a_task_vacuums_and_backs_up_loses_nothing() {
    let dir = temp_dir();
    Server::file(dir.path()).execute("t", "CREATE TABLE W(id INTEGER, part INTEGER, filling TEXT)");
    let acknowledged: Vec<u64> = (0..200).collect();
    let server = Server::file(dir.path());
    for id in &acknowledged {
        assert_eq!(server.transaction("t", two_rows(*id)).status, 200);
    }
    server.crash();
    let task = "doVacuum: true, doBackup: true, backupTemplate: bk/t_%s.db, numFiles: 2";
    write(dir.path(), "t.yaml", format!("scheduledTasks: [{{atStartup: true, {task}}}]\n"));
    let mut random = Random::from_environment();
    for _ in 0..rounds().min(5) {
        let dir = dir.path().to_owned();
        // The moment of the kill is the input: most often the server does not listen yet.
        let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_sqlhttp-standalone"))
            .args(["-bind-host", "127.0.0.1", "-port", "0", "--db", "t.db"])
            .current_dir(&dir)
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .expect("the server binary can be started");
        std::thread::sleep(std::time::Duration::from_millis(random.below(60)));
        child.kill().expect("killed");
        child.wait().expect("ended");
        let server = Server::file(&dir);
        assert_sound(&server, &acknowledged);
        // Each file with the name of a backup is complete.
        for name in common::names(&dir.join("bk")).iter().filter(|name| name.ends_with(".db")) {
            let rows = json!([[2 * acknowledged.len()]]);
            common::assert_backup(&dir.join("bk").join(name), "SELECT count(*) FROM W", rows);
        }
    }
}
