//! What a crash may not do. The process is killed at a random moment under many writers, again and again. After each
//! restart every acknowledged write must be there, none may be half there, and the file must be sound. The number of
//! rounds is 5, or what `SQLHTTP_CRASH_ROUNDS` says.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::collections::HashSet;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};

use common::{Client, Launch, Random, Request, Server, eventually, temp_dir, write};

const WRITERS: u64 = 64;

/// Bytes of filling in some rows, so that transactions span pages.
const FILLING: usize = 3000;

fn rounds() -> u64 {
    std::env::var("SQLHTTP_CRASH_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(5)
}

fn serve(dir: &Path) -> Server {
    Launch::new().dir(dir).args(["--db", "t.db"]).start()
}

/// One transaction of two rows with this id: as two items, as one item of two statements, or as a batch.
fn two_rows(id: u64) -> Value {
    let filling = "x".repeat(if id.is_multiple_of(5) { FILLING } else { 0 });
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

/// Writes until the server is gone; notes what it acknowledged.
fn write_until_gone(mut client: Client, first: u64, acknowledged: &Mutex<Vec<u64>>, count: &AtomicU64) {
    for id in first.. {
        let request = Request::json("/t", json!({ "transaction": two_rows(id) }));
        let Ok(response) = client.send(&request) else { return };
        assert_eq!(response.status, 200, "{}", response.text());
        acknowledged.lock().expect("list").push(id);
        count.fetch_add(1, Ordering::Relaxed);
    }
}

/// Kills the server after `enough` acknowledged writes.
fn crash_under_load(server: Server, round: u64, enough: u64, acknowledged: &Mutex<Vec<u64>>) {
    let count = AtomicU64::new(0);
    let clients: Vec<Client> = (0..WRITERS).map(|_| server.client()).collect();
    std::thread::scope(|scope| {
        for (writer, client) in (0..).zip(clients) {
            let count = &count;
            let first = (round * WRITERS + writer) * 1_000_000;
            scope.spawn(move || write_until_gone(client, first, acknowledged, count));
        }
        eventually("writes are acknowledged", || count.load(Ordering::Relaxed) >= enough);
        server.crash();
    });
}

fn assert_sound(server: &Server, acknowledged: &[u64]) {
    assert_eq!(server.query("t", "PRAGMA integrity_check"), json!([["ok"]]));
    let halves = server.query("t", "SELECT id, count(*) FROM W GROUP BY id HAVING count(*) <> 2 OR sum(part) <> 3");
    assert_eq!(halves, json!([]), "these transactions are half there");
    let rows = server.query("t", "SELECT DISTINCT id FROM W");
    let present: HashSet<u64> = rows.as_array().expect("rows").iter().filter_map(|row| row[0].as_u64()).collect();
    let lost: Vec<&u64> = acknowledged.iter().filter(|id| !present.contains(id)).collect();
    assert!(lost.is_empty(), "{} of {} acknowledged writes are lost: {lost:?}", lost.len(), acknowledged.len());
}

fn crash_again_and_again(companion: &str, rounds: u64) {
    let dir = temp_dir();
    write(dir.path(), "t.yaml", companion);
    serve(dir.path()).execute("t", "CREATE TABLE W(id INTEGER, part INTEGER, filling TEXT); CREATE INDEX I ON W(id)");
    let mut random = Random::from_environment();
    let acknowledged = Mutex::new(Vec::new());
    for round in 0..rounds {
        crash_under_load(serve(dir.path()), round, 1 + random.below(3000), &acknowledged);
        assert_sound(&serve(dir.path()), &acknowledged.lock().expect("list"));
    }
    let acknowledged = acknowledged.into_inner().expect("list").len();
    eprintln!("{acknowledged} acknowledged writes survived {rounds} crashes");
    assert!(acknowledged as u64 >= rounds);
}

/// A server whose table holds transaction 1 and nothing else.
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
#[should_panic(expected = "these transactions are half there")]
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
    serve(dir.path()).execute("t", "CREATE TABLE W(id INTEGER, part INTEGER, filling TEXT)");
    let acknowledged: Vec<u64> = (0..200).collect();
    let server = serve(dir.path());
    for id in &acknowledged {
        assert_eq!(server.transaction("t", two_rows(*id)).status, 200);
    }
    server.crash();
    let task = "doVacuum: true, doBackup: true, backupTemplate: bk/t_%s.db, numFiles: 2";
    write(dir.path(), "t.yaml", format!("scheduledTasks: [{{atStartup: true, {task}}}]\n"));
    let mut random = Random::from_environment();
    for _ in 0..rounds().min(5) {
        let dir = dir.path().to_owned();
        // Killed wherever it is, most likely before it listens.
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
        let server = serve(&dir);
        assert_sound(&server, &acknowledged);
        // Whatever a backup is called, it is whole.
        for name in common::names(&dir.join("bk")).iter().filter(|name| name.ends_with(".db")) {
            let rows = json!([[2 * acknowledged.len()]]);
            common::assert_backup(&dir.join("bk").join(name), "SELECT count(*) FROM W", rows);
        }
    }
}
