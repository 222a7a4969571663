//! A server without a database, whose faults are known. It answers in ws4sqlite's protocol.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

/// The number of rows in the table that is read, according to the answers.
pub(crate) const ITEMS: u64 = 100_000;

/// A fault of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The server is correct.
    None,
    /// The server acknowledges every row, but loses each tenth.
    LosesRows,
    /// The server refuses each fifth insert with status 503.
    Overloaded,
    /// The server closes the connection after each answer, with `Connection: close`.
    ClosesConnections,
    /// The server returns the first two requested rows, and none after them.
    FindsNothing,
    /// The server answers the first two inserts, and none after them.
    Hangs,
}

struct FakeServer {
    fault: Fault,
    inserted: AtomicU64,
    inserts: AtomicU64,
    points: AtomicU64,
}

/// Starts the server on a thread; it serves until the test process ends.
pub(crate) fn start(fault: Fault) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let server = FakeServer { fault, inserted: 0.into(), inserts: 0.into(), points: 0.into() };
    let server = Arc::new(server);
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let server = Arc::clone(&server);
            // The only expected error is that the client has closed the connection.
            thread::spawn(move || serve(stream, &server));
        }
    });
    address
}

fn serve(stream: TcpStream, server: &FakeServer) -> std::io::Result<()> {
    let mut writer = stream.try_clone()?;
    let mut reader = BufReader::new(stream);
    while let Some(request) = read_request(&mut reader)? {
        let Some((status, body)) = server.answer(&request) else {
            thread::park();
            continue;
        };
        let close = server.fault == Fault::ClosesConnections;
        let connection = if close { "Connection: close\r\n" } else { "" };
        let response = format!("HTTP/1.1 {status} X\r\n{connection}Content-Length: {}\r\n\r\n{body}", body.len());
        // In one write: with Nagle's algorithm, the second of two waits for the client's delayed ACK.
        writer.write_all(response.as_bytes())?;
        if close {
            return Ok(());
        }
    }
    Ok(())
}

fn read_request(reader: &mut BufReader<TcpStream>) -> std::io::Result<Option<serde_json::Value>> {
    let mut len = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        if let Some(value) = line.strip_prefix("Content-Length: ") {
            len = value.trim().parse().unwrap();
        }
        if line == "\r\n" {
            break;
        }
    }
    let mut body = vec![0; len];
    reader.read_exact(&mut body)?;
    Ok(Some(serde_json::from_slice(&body)?))
}

impl FakeServer {
    fn answer(&self, request: &serde_json::Value) -> Option<(u16, String)> {
        let item = &request["transaction"][0];
        let sql = item["statement"].as_str().or(item["query"].as_str()).unwrap();
        if sql.starts_with("INSERT INTO load_inserts") {
            return self.insert();
        }
        if sql.contains("count(*)") {
            let count = self.inserted.load(Ordering::SeqCst);
            return Some((200, rows(&format!(r#"["n"],"resultSet":[{{"n":{count}}}]"#))));
        }
        let id = item["values"][0].as_u64().unwrap();
        let found =
            format!(r#"{{"id":{id},"name":"name-{id:08}","amount":1.5,"note":"a note of some length, to be found"}}"#);
        let probed = self.points.fetch_add(1, Ordering::SeqCst) < 2;
        let missing = id > ITEMS || (self.fault == Fault::FindsNothing && !probed);
        let found = if missing { String::new() } else { found };
        Some((200, rows(&format!(r#"["id","name","amount","note"],"resultSet":[{found}]"#))))
    }

    fn insert(&self) -> Option<(u16, String)> {
        let number = self.inserts.fetch_add(1, Ordering::SeqCst);
        match self.fault {
            Fault::Hangs if number > 1 => return None,
            Fault::Overloaded if number % 5 == 4 => return Some((503, r#"{"reqIdx":-1,"error":"Overloaded"}"#.into())),
            Fault::LosesRows if number % 10 == 9 => {}
            _ => {
                self.inserted.fetch_add(1, Ordering::SeqCst);
            }
        }
        Some((200, r#"{"results":[{"success":true,"rowsUpdated":1}]}"#.into()))
    }
}

fn rows(rest: &str) -> String {
    format!(r#"{{"results":[{{"success":true,"resultHeaders":{rest}}}]}}"#)
}
