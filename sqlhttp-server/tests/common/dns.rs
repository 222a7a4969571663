//! A name server with SRV and A records, on a UDP port of its own.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const A: u16 = 1;
const SRV: u16 = 33;
const HEADER_BYTES: usize = 12;

/// The data of a record.
#[derive(Debug, Clone)]
pub enum Record {
    Address(Ipv4Addr),
    Service { port: u16, target: &'static str },
}

/// The records by name. The names are lower case and do not end with a period.
type Records = Arc<Mutex<HashMap<String, Vec<Record>>>>;

/// A name server that runs until it is dropped.
pub struct NameServer {
    address: SocketAddr,
    records: Records,
    socket: Arc<UdpSocket>,
}

impl NameServer {
    /// Starts a name server without records: it responds that no name exists.
    pub fn start() -> NameServer {
        let socket = Arc::new(UdpSocket::bind("127.0.0.1:0").expect("a UDP port"));
        // The thread ends when the server has been dropped.
        socket.set_read_timeout(Some(Duration::from_millis(200))).expect("a timeout");
        let (address, records) = (socket.local_addr().expect("its address"), Records::default());
        let (weak, known) = (Arc::downgrade(&socket), records.clone());
        std::thread::spawn(move || {
            let mut query = [0; 1500];
            while let Some(socket) = weak.upgrade() {
                let Ok((length, from)) = socket.recv_from(&mut query) else { continue };
                if let Some(response) = respond(&query[..length], &known) {
                    socket.send_to(&response, from).expect("a response");
                }
            }
        });
        NameServer { address, records, socket }
    }

    /// The address of the name server.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sets the records of a name.
    pub fn set(&self, name: &str, records: impl IntoIterator<Item = Record>) {
        self.records.lock().expect("the records").insert(name.to_owned(), records.into_iter().collect());
    }
}

/// Encodes the response to a query (RFC 1035); `None` if the query is malformed.
fn respond(query: &[u8], records: &Records) -> Option<Vec<u8>> {
    let (name, end) = question(query)?;
    let kind = u16::from_be_bytes([*query.get(end)?, *query.get(end + 1)?]);
    let records = records.lock().expect("the records");
    let known = records.get(&name);
    let answers: Vec<Vec<u8>> = known.into_iter().flatten().filter_map(|record| data(record, kind)).collect();
    let mut response = query.get(..2)?.to_vec();
    // A response that is authoritative, with the code "no error", or "no such name" for an unknown name.
    response.extend([0x85, if known.is_some() { 0x80 } else { 0x83 }]);
    let count = u16::try_from(answers.len()).ok()?;
    for count in [1, count, 0, 0] {
        response.extend(count.to_be_bytes());
    }
    response.extend(query.get(HEADER_BYTES..end + 4)?);
    for answer in answers {
        // The name is that at offset 12. The class is "Internet", and the time to live an hour.
        response.extend([0xC0, 0x0C]);
        response.extend(kind.to_be_bytes());
        response.extend([0, 1, 0, 0, 0x0E, 0x10]);
        response.extend(u16::try_from(answer.len()).ok()?.to_be_bytes());
        response.extend(answer);
    }
    Some(response)
}

/// Returns the name in the question of a query, and the offset after the name.
fn question(query: &[u8]) -> Option<(String, usize)> {
    let (mut labels, mut at) = (Vec::new(), HEADER_BYTES);
    loop {
        let length = usize::from(*query.get(at)?);
        at += 1;
        if length == 0 {
            return Some((labels.join("."), at));
        }
        labels.push(String::from_utf8_lossy(query.get(at..at + length)?).to_lowercase());
        at += length;
    }
}

/// Encodes the data of a record, if it is of this kind.
fn data(record: &Record, kind: u16) -> Option<Vec<u8>> {
    match record {
        Record::Address(address) if kind == A => Some(address.octets().to_vec()),
        Record::Service { port, target } if kind == SRV => {
            let mut data = vec![0, 10, 0, 5];
            data.extend(port.to_be_bytes());
            for label in target.split('.') {
                data.push(u8::try_from(label.len()).ok()?);
                data.extend(label.as_bytes());
            }
            data.push(0);
            Some(data)
        }
        Record::Address(_) | Record::Service { .. } => None,
    }
}
